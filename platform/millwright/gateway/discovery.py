"""Who is there: Modbus unit ids with their identification (function 43/14), OPC UA endpoints and nodes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import struct
from typing import Any

from asyncua import Client, ua

from .errors import BadRequest, TargetFailed
from .limits import in_time
from .modbus import Framing
from .opcua import plain, session
from .secured import Protection

#: Unit ids in one request, and how long each may take: the whole stays below a page's patience.
MOST_UNITS, UNIT_S = 32, 0.3
MOST_CHILDREN = 500
#: Objects of function 43/14 (Modbus Application Protocol 1.1b3, section 6.21).
OBJECTS = {
    0: "vendor",
    1: "product_code",
    2: "revision",
    3: "vendor_url",
    4: "product_name",
    5: "model_name",
    6: "application_name",
}
#: Answers of a bridge for a unit behind it that is not there.
_ABSENT = (10, 11)


class _Broken(Exception):
    """What came is no Modbus."""


async def modbus_units(
    host: str, port: int, first: int, last: int, timeout_s: float, framing: Framing = "tcp"
) -> list[dict[str, Any]]:
    """Unit ids from `first` to `last` that answer: `{"unit", "identification", "note"}`.

    Raises:
        BadRequest: too many of them.
        TargetFailed: no connection, or what answers speaks no Modbus.
        TargetTimeout: the connection takes too long.
    """
    if not 0 <= first <= last <= 255 or last - first >= MOST_UNITS:
        raise BadRequest(
            f"first, last: {first} to {last}; expected 0 <= first <= last <= 255 and at most {MOST_UNITS} of them"
        )
    target = f"{host}:{port}"
    try:
        reader, writer = await in_time(asyncio.open_connection(host, port), target, timeout_s)
    except OSError as error:
        raise TargetFailed(f"{target}: no connection ({error.strerror or error})") from None
    found = []
    try:
        for unit in range(first, last + 1):
            answer = await _identify(reader, writer, unit, framing)
            if answer is not None:
                found.append({"unit": unit, **answer})
    except (_Broken, OSError, asyncio.IncompleteReadError) as error:
        if not found:
            why = str(error) if isinstance(error, _Broken) else "the connection broke"
            raise TargetFailed(f"{target}: {why}") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1.0)
    return found


async def _identify(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unit: int, framing: Framing
) -> dict[str, Any] | None:
    """A unit's identification; None where nobody answers for it."""
    objects: dict[str, str] = {}
    number = 0
    for _round in range(8):
        question = struct.pack(">BBBBB", unit, 43, 14, 2, number)
        if framing == "rtu":
            writer.write(question + crc(question).to_bytes(2, "little"))
        else:
            # The unit is the transaction: a late answer of an earlier one is known by it.
            writer.write(struct.pack(">HHH", unit + 1, 0, len(question)) + question)
        try:
            async with asyncio.timeout(UNIT_S):
                await writer.drain()
                if framing == "rtu":
                    body = await _rtu_answer(reader, unit)
                else:
                    body = await _answer(reader, unit + 1)
        except TimeoutError:
            return None
        if body[0] & 0x80:
            if len(body) > 1 and body[1] in _ABSENT:
                return None
            return {"identification": {}, "note": "answers, and does not identify itself"}
        more, number = _objects(body, objects)
        if not more:
            break
    return {"identification": objects, "note": ""}


async def _answer(reader: asyncio.StreamReader, transaction: int) -> bytes:
    while True:
        head = await reader.readexactly(7)
        came, protocol, length, _unit = struct.unpack(">HHHB", head)
        if protocol != 0 or not 3 <= length <= 254:
            raise _Broken("what answers speaks no Modbus")
        body = await reader.readexactly(length - 1)
        if came == transaction:
            return body


async def _rtu_answer(reader: asyncio.StreamReader, unit: int) -> bytes:
    """A frame tells no length: it is as long as what it holds. A late answer of another unit is passed over."""
    while True:
        frame = await reader.readexactly(2)
        if frame[1] & 0x80:
            frame += await reader.readexactly(1)
        elif frame[1] == 43:
            frame += await reader.readexactly(6)
            for _each in range(frame[7]):
                frame += (head := await reader.readexactly(2))
                frame += await reader.readexactly(head[1])
        else:
            raise _Broken("what answers speaks no Modbus RTU")
        if crc(frame) != int.from_bytes(await reader.readexactly(2), "little"):
            raise _Broken("the checksum of an answer is wrong: it is no Modbus RTU, or the line is disturbed")  # fmt: skip
        if frame[0] == unit:
            return frame[1:]


def crc(data: bytes) -> int:
    """The checksum of a frame (Modbus over Serial Line 1.02, appendix B)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _bit in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


def _objects(body: bytes, into: dict[str, str]) -> tuple[bool, int]:
    """Take an answer's objects; whether more follow, and from which on."""
    if len(body) < 7 or body[0] != 43 or body[1] != 14:
        raise _Broken("the identification cannot be read")
    more, following, count = body[4] == 0xFF, body[5], body[6]
    place = 7
    for _each in range(count):
        if place + 2 > len(body) or place + 2 + body[place + 1] > len(body):
            raise _Broken("the identification is cut off")
        number, length = body[place], body[place + 1]
        text = body[place + 2 : place + 2 + length].decode("utf-8", "replace")
        if name := OBJECTS.get(number):
            into[name] = "".join(each if each.isprintable() else "?" for each in text)
        place += 2 + length
    return more, following


async def opcua_endpoints(url: str, timeout_s: float) -> list[dict[str, Any]]:
    """What the server offers: `{"url", "mode", "policy", "users", "fingerprint", "certificate"}` of each endpoint.

    Raises:
        TargetFailed: it refused, or it is no OPC UA server.
        TargetTimeout: no answer in time.
    """

    async def ask() -> list[Any]:
        try:
            return list(await Client(url, timeout=timeout_s).connect_and_get_server_endpoints())
        except (ua.UaError, OSError, asyncio.IncompleteReadError) as error:
            raise TargetFailed(f"{url}: {str(error) or type(error).__name__}") from None

    return [
        {
            "url": str(row.EndpointUrl),
            "mode": row.SecurityMode.name.rstrip("_"),
            "policy": str(row.SecurityPolicyUri).rpartition("#")[2],
            "users": sorted(
                {token.TokenType.name.rstrip("_") for token in row.UserIdentityTokens or []}
            ),
            "fingerprint": hashlib.sha256(row.ServerCertificate).hexdigest()
            if row.ServerCertificate
            else "",
            "certificate": ssl.DER_cert_to_PEM_cert(row.ServerCertificate)
            if row.ServerCertificate
            else "",
        }
        for row in await in_time(ask(), url, timeout_s)
    ]


async def opcua_children(
    url: str, node: str, timeout_s: float, protection: Protection | None = None
) -> dict[str, Any]:
    """What hangs below a node: `{"nodes": [{"node", "name", "kind", "type", "value"}], "more"}`.

    `protection`: how to speak with a server that only talks encrypted.

    Raises:
        BadRequest: the node id cannot be read.
        TargetFailed: no session, or the server refused.
        TargetTimeout: no answer in time.
    """
    try:
        parent = ua.NodeId.from_string(node)
    except (ua.UaError, ValueError) as error:
        raise BadRequest(f"node: {error}") from None
    return await in_time(_children(url, parent, timeout_s, protection), url, timeout_s)


async def _children(
    url: str, parent: ua.NodeId, timeout_s: float, protection: Protection | None
) -> dict[str, Any]:
    try:
        async with session(url, timeout_s, protection) as client:
            rows = await client.get_node(parent).get_references(
                refs=ua.ObjectIds.HierarchicalReferences,
                direction=ua.BrowseDirection.Forward,
                nodeclassmask=ua.NodeClass.Object | ua.NodeClass.Variable,
            )
            more, rows = len(rows) > MOST_CHILDREN, rows[:MOST_CHILDREN]
            variables = [row.NodeId for row in rows if row.NodeClass == ua.NodeClass.Variable]
            values = await _values(client, variables) if variables else {}
    except (ua.UaError, OSError, asyncio.IncompleteReadError) as error:
        raise TargetFailed(f"{url}: {str(error) or type(error).__name__}") from None
    nodes = []
    for row in rows:
        answer = values.get(row.NodeId)
        known = answer is not None and answer.Value is not None and answer.StatusCode.is_good()
        nodes.append(
            {
                "node": row.NodeId.to_string(),
                "name": str(row.DisplayName.Text or row.BrowseName.Name),
                "kind": "variable" if row.NodeClass == ua.NodeClass.Variable else "object",
                "type": answer.Value.VariantType.name if known else "",
                "value": plain(answer.Value.Value) if known else None,
            }
        )
    return {"nodes": nodes, "more": more}


async def _values(client: Client, ids: list[ua.NodeId]) -> dict[ua.NodeId, Any]:
    asked = ua.ReadParameters()
    for node in ids:
        wanted = ua.ReadValueId()
        wanted.NodeId = node
        wanted.AttributeId = ua.AttributeIds.Value
        asked.NodesToRead.append(wanted)
    return dict(zip(ids, await client.uaclient.read(asked), strict=True))
