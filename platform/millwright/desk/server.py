"""The desk itself. What it offers is handed in; it knows sockets, limits and lines."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from .client import MOST_LINE_BYTES

log = logging.getLogger(__name__)

#: Works at once, and people who may wait for them; more are told to ask again.
AT_ONCE, WAITING = 2, 8
#: Consoles at once, in all.
CONSOLES = 32

Work = Callable[[dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    """Words for the one who asked."""


class Stream(Protocol):
    """A console's bytes. `read` returns nothing when there is nothing yet, and raises when it ended."""

    def read(self, *, timeout_s: float) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


Console = Callable[[dict[str, Any]], tuple[Stream, dict[str, Any]]]


class Desk:
    """Serves a socket of mode 0600 in a thread of its own until told to stop."""

    def __init__(
        self,
        path: Path,
        works: Mapping[str, Work],
        console: Console | None = None,
    ) -> None:
        self._path = path
        self._works = dict(works)
        self._console = console
        self._waiting = 0
        self._consoles = 0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Serve until `stopped` says so."""
        asyncio.run(self._serve(stopped))

    async def _serve(self, stopped: Callable[[], bool]) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        # Each console waits in two threads, to read and to write; works must find one beside them.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(2 * CONSOLES + AT_ONCE + 2, thread_name_prefix="desk")
        )
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Beside, then renamed: a standby that took over replaces the other one's socket.
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(fresh))
            # The socket's mode is the whole access control: only this user may ask.
            fresh.chmod(0o600)
            fresh.rename(self._path)
            server = await asyncio.start_unix_server(
                self._meet, sock=listener, limit=MOST_LINE_BYTES
            )
        except BaseException:
            listener.close()
            raise
        mine = self._path.stat().st_ino
        async with server:
            while not stopped():
                await asyncio.sleep(0.3)
        try:
            if self._path.stat().st_ino == mine:
                self._path.unlink()
        except FileNotFoundError:
            pass

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            try:
                words = json.loads(await asyncio.wait_for(reader.readline(), 30))
                do = words["do"]
            except (ValueError, KeyError, TypeError, TimeoutError):
                await _say(writer, {"ok": False, "error": "one line of JSON with `do` is expected"})
                return
            if do == "console" and self._console is not None:
                await self._carry(self._console, words, reader, writer)
            else:
                await _say(writer, await self._work(do, words))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _work(self, do: str, words: dict[str, Any]) -> dict[str, Any]:
        work = self._works.get(do)
        if work is None:
            return {"ok": False, "error": f"nothing called {do!r} is done here"}
        if self._waiting >= WAITING:
            return {
                "ok": False,
                "busy": True,
                "error": "too many at once; ask again in a few seconds",
            }
        self._waiting += 1
        try:
            async with self._slots:
                return {"ok": True, "result": await asyncio.to_thread(work, words)}
        except Refused as error:
            return {"ok": False, "error": str(error)}
        except Exception:
            log.exception("desk: %s", do)
            return {"ok": False, "error": "the orchestrator failed; its log says why"}
        finally:
            self._waiting -= 1

    async def _carry(
        self,
        console: Console,
        words: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if self._consoles >= CONSOLES:
            await _say(writer, {"ok": False, "busy": True, "error": "too many consoles are open"})
            return
        self._consoles += 1
        try:
            try:
                stream, about = await asyncio.to_thread(console, words)
            except Refused as error:
                await _say(writer, {"ok": False, "error": str(error)})
                return
            except Exception:
                log.exception("desk: console")
                await _say(writer, {"ok": False, "error": "the console cannot be opened"})
                return
            try:
                await _say(writer, {"ok": True, "result": about})
                await _pump(stream, reader, writer)
            finally:
                await asyncio.to_thread(stream.close)
        finally:
            self._consoles -= 1


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()


async def _pump(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until either side ends."""

    async def outward() -> None:
        while True:
            try:
                data = await asyncio.to_thread(stream.read, timeout_s=0.5)
            except Exception:
                # The console's end is told by closing; its reason is in the machine's state.
                return
            if data:
                writer.write(data)
                await writer.drain()

    async def inward() -> None:
        while data := await reader.read(4096):
            await asyncio.to_thread(stream.write, data)

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        _done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
