"""OPC UA towards devices and vPLCs: a session per question, within one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from asyncua import Client, ua

from .errors import BadRequest, TargetFailed
from .limits import in_time
from .secured import Protection, connect

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


async def read(
    url: str, nodes: list[str], timeout_s: float, protection: Protection | None = None
) -> list[dict[str, Any]]:
    """Read nodes by id (`ns=2;s=Main.level`): value and status of each.

    `protection`: how to speak with a server that only talks encrypted; without it, it is asked in the open.

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
    return await in_time(_read(url, ids, timeout_s, protection), url, timeout_s)


async def _read(
    url: str, ids: list[ua.NodeId], timeout_s: float, protection: Protection | None
) -> list[dict[str, Any]]:
    try:
        async with session(url, timeout_s, protection) as client:
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


@contextlib.asynccontextmanager
async def session(
    url: str, timeout_s: float, protection: Protection | None
) -> AsyncIterator[Client]:
    """Connect and part. The address that was dialled counts, not what the server names itself."""
    if protection is None:
        client = Client(url, timeout=timeout_s)
        await client.connect()
    else:
        client = await connect(url, protection, timeout_s)
    try:
        yield client
    finally:
        # What was read stands; at worst the server ends the session by its own timeout.
        with contextlib.suppress(ua.UaError, OSError, TimeoutError):
            await asyncio.wait_for(client.disconnect(), 2.0)


def url_of(host: str, port: int) -> str:
    """The endpoint's address."""
    address = ipaddress.ip_address(host)
    return f"opc.tcp://[{address}]:{port}" if address.version == 6 else f"opc.tcp://{host}:{port}"


async def server_state(host: str, port: int, timeout_s: float) -> str:
    """Ask the server's state (node i=2259); words for people. One that only talks encrypted is asked what it offers."""
    url = url_of(host, port)
    try:
        rows = await read(url, ["i=2259"], timeout_s)
    except TargetFailed as failed:
        modes = await in_time(_modes(url, timeout_s), url, timeout_s)
        if not modes or "None" in modes:
            raise failed from None
        return f"server answers; it only talks encrypted ({', '.join(sorted(modes))})"
    if not rows[0]["good"]:
        raise TargetFailed(f"{url}: server state is {rows[0]['status']}")
    number = rows[0]["value"]
    return f"server state {number}" if number else "server is running"


async def _modes(url: str, timeout_s: float) -> set[str]:
    try:
        rows = await Client(url, timeout=timeout_s).connect_and_get_server_endpoints()
    except (ua.UaError, OSError, asyncio.IncompleteReadError):
        return set()
    return {row.SecurityMode.name.rstrip("_") for row in rows}
