"""OPC UA towards devices and vPLCs: a session per question, within one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from asyncua import Client, ua

from .errors import BadRequest, TargetFailed
from .limits import in_time

MOST_NODES = 200


def split_url(url: str) -> tuple[str, int]:
    """Host and port of `opc.tcp://host:port[/path]`.

    Raises:
        BadRequest: anything else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 4840
    except ValueError:
        raise BadRequest(f"url: {url!r} has no usable port") from None
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise BadRequest(f"url: {url!r}; expected opc.tcp://address:port")
    return parts.hostname, port


def plain(value: Any) -> Any:
    """An OPC UA value as JSON can carry it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)


async def read(url: str, nodes: list[str], timeout_s: float) -> list[dict[str, Any]]:
    """Read nodes by id (`ns=2;s=Main.level`): value and status of each.

    Raises:
        BadRequest: too many nodes, or an id that cannot be read.
        TargetFailed: no session, or the server refused.
        TargetTimeout: no answer in time.
    """
    if not 1 <= len(nodes) <= MOST_NODES:
        raise BadRequest(f"nodes: {len(nodes)} given; 1 to {MOST_NODES} in one request")
    try:
        ids = [ua.NodeId.from_string(node) for node in nodes]
    except (ua.UaError, ValueError) as error:
        raise BadRequest(f"nodes: {error}") from None
    return await in_time(_read(url, ids, timeout_s), url, timeout_s)


async def _read(url: str, ids: list[ua.NodeId], timeout_s: float) -> list[dict[str, Any]]:
    client = Client(url, timeout=timeout_s)
    try:
        async with _session(client):
            asked = ua.ReadParameters()
            for node in ids:
                wanted = ua.ReadValueId()
                wanted.NodeId = node
                wanted.AttributeId = ua.AttributeIds.Value
                asked.NodesToRead.append(wanted)
            answers = await client.uaclient.read(asked)
    except (ua.UaError, OSError, asyncio.IncompleteReadError) as error:
        raise TargetFailed(f"{url}: {str(error) or type(error).__name__}") from None
    return [
        {
            "node": node.to_string(),
            "value": plain(answer.Value.Value) if answer.Value is not None else None,
            "status": answer.StatusCode.name,
            "good": answer.StatusCode.is_good(),
        }
        for node, answer in zip(ids, answers, strict=True)
    ]


class _session:
    """Connect and part. The address that the client dialled counts, not what the server names itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Client:
        await self._client.connect()
        return self._client

    async def __aexit__(self, *_error: object) -> None:
        # What was read stands; at worst the server ends the session by its own timeout.
        with contextlib.suppress(ua.UaError, OSError, TimeoutError):
            await asyncio.wait_for(self._client.disconnect(), 2.0)


def url_of(host: str, port: int) -> str:
    """The endpoint's address."""
    address = ipaddress.ip_address(host)
    return f"opc.tcp://[{address}]:{port}" if address.version == 6 else f"opc.tcp://{host}:{port}"


async def server_state(host: str, port: int, timeout_s: float) -> str:
    """Ask the server's state (node i=2259); words for people."""
    rows = await read(url_of(host, port), ["i=2259"], timeout_s)
    if not rows[0]["good"]:
        raise TargetFailed(f"{url_of(host, port)}: server state is {rows[0]['status']}")
    number = rows[0]["value"]
    return f"server state {number}" if number else "server is running"
