"""Probes: does a machine or device answer, and what."""

from __future__ import annotations

import asyncio
import os
from typing import Literal

import httpx

from . import opcua
from .errors import TargetFailed
from .limits import in_time
from .modbus import Framing, ModbusDoor

Kind = Literal["modbus", "opcua", "tcp", "http"]


async def probe(
    kind: Kind,
    host: str,
    port: int,
    *,
    modbus: ModbusDoor,
    path: str,
    unit: int,
    timeout_s: float,
    framing: Framing = "tcp",
) -> str:
    """Ask; return what answered, in words.

    Raises:
        TargetFailed, TargetTimeout: it does not, with the reason.
    """
    if kind == "modbus":
        values = await modbus.read(host, port, unit, "holding", 0, 1, framing)
        return f"holding register 0 is {values[0]}"
    if kind == "opcua":
        return await opcua.server_state(host, port, timeout_s)
    if kind == "http":
        return await in_time(_http(host, port, path, timeout_s), f"{host}:{port}", timeout_s)
    return await in_time(_tcp(host, port), f"{host}:{port}", timeout_s)


async def _tcp(host: str, port: int) -> str:
    try:
        _reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise TargetFailed(f"{host}:{port}: {words}") from None
    writer.close()
    return "the port is open"


async def _http(host: str, port: int, path: str, timeout_s: float) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        # trust_env: a proxy of this machine must not be asked for a cell's address.
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        raise TargetFailed(f"{url}: {str(error) or type(error).__name__}") from None
    if answer.status_code >= 400:
        said = " ".join(answer.text[:300].split())
        raise TargetFailed(f"{url}: HTTP {answer.status_code}{': ' if said else ''}{said}")
    return f"HTTP {answer.status_code}, {len(answer.content)} bytes"
