"""Asking at the desk, from a web process."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

#: One line of either direction: a project's sources with the JSON's escapes, or the traces of its suites.
MOST_LINE_BYTES = 16 * 2**20


class DeskError(RuntimeError):
    """The desk refused, or nobody is there; the text is for people. `busy`: ask again in a moment."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


def _answer(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise DeskError("the orchestrator ended the conversation")
    answer = json.loads(line)
    if not answer.get("ok"):
        raise DeskError(str(answer.get("error", "refused")), busy=bool(answer.get("busy")))
    return dict(answer["result"])


def ask(path: Path, do: str, *, timeout_s: float = 120.0, **words: Any) -> dict[str, Any]:
    """Ask for one thing and wait for it.

    Raises:
        DeskError: refused, or no active orchestrator.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(json.dumps({"do": do, **words}).encode() + b"\n")
            parts: list[bytes] = []
            size = 0
            while not (parts and parts[-1].endswith(b"\n")):
                part = connection.recv(1 << 18)
                size += len(part)
                if not part or size > MOST_LINE_BYTES:
                    break
                parts.append(part)
    except OSError as error:
        raise DeskError(_absent(error)) from None
    return _answer(b"".join(parts))


async def open_console(
    path: Path, **words: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, Any]]:
    """Open a console with a ticket: its bytes, and what the orchestrator says of it.

    Raises:
        DeskError: the ticket is not good, or the console cannot be had.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=MOST_LINE_BYTES)
        writer.write(json.dumps({"do": "console", **words}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    except (OSError, ValueError) as error:
        raise DeskError(_absent(error)) from None
    try:
        return reader, writer, _answer(line)
    except DeskError:
        writer.close()
        raise


def _absent(error: Exception) -> str:
    return f"no orchestrator is active here ({type(error).__name__})"
