"""The bodies of requests, validated."""

from __future__ import annotations

import uuid
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import BadRequest

Port = Annotated[int, Field(ge=1, le=65535)]
Unit = Annotated[int, Field(ge=0, le=255)]
Register = Annotated[int, Field(ge=0, le=65535)]
AreaName = Literal["holding", "input", "coil", "discrete"]
Framing = Literal["tcp", "rtu"]
#: SHA-256 of the certificate that a server must show which only talks encrypted.
Fingerprint = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModbusRead(_Body):
    host: str
    port: Port = 502
    unit: Unit = 1
    area: AreaName
    address: Register
    count: int = 1
    framing: Framing = "tcp"


class ModbusWrite(_Body):
    host: str
    port: Port = 502
    unit: Unit = 1
    area: AreaName
    address: Register
    values: list[int]
    framing: Framing = "tcp"


class OpcuaRead(_Body):
    url: str
    nodes: list[str]
    fingerprint: Fingerprint = ""


class Units(_Body):
    host: str
    port: Port = 502
    first: Unit = 1
    last: Unit = 1
    framing: Framing = "tcp"


class Search(_Body):
    first: IPv4Address
    last: IPv4Address


class OpcuaServer(_Body):
    url: str = Field(max_length=300)


class OpcuaNode(OpcuaServer):
    node: str = Field("i=85", max_length=300)
    fingerprint: Fingerprint = ""


class Probe(_Body):
    kind: Literal["modbus", "opcua", "tcp", "http"]
    host: str
    port: Port
    path: str = Field("/metrics", pattern=r"^/[\x21-\x7e]*$")
    unit: Unit = 1
    framing: Framing = "tcp"


class AskNow(_Body):
    machines: list[uuid.UUID] = Field(max_length=10_000)


class WatchedTag(_Body):
    path: str = Field(max_length=300)
    area: AreaName
    address: Register
    type: str = Field("UINT", max_length=16)


class Watch(_Body):
    host: str
    port: Port = 502
    unit: Unit = 1
    tags: list[WatchedTag]


class Look(_Body):
    """Machine → how to begin watching it, or nothing where that is going on."""

    machines: dict[str, Watch | None] = Field(max_length=5000)


def parse(kind: type[_Body], raw: bytes) -> _Body:
    """Read a body.

    Raises:
        BadRequest: field, value and rule of everything that is wrong.
    """
    try:
        return kind.model_validate_json(raw or b"{}")
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, row['loc'])) or 'body'}: {row['msg']}"
            + ("" if row["type"] == "missing" else f" (got {str(row['input'])[:60]!r})")
            for row in error.errors()
        ]
        raise BadRequest("; ".join(lines)) from None
