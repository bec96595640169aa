"""Probes on a schedule: what the orchestrator lists in a file is asked again and again, with nobody waiting for it.

The file holds the targets, so that a gateway that is started again goes on without the orchestrator. Answers stand
in the metrics, and each change of an answer in a short history that the orchestrator fetches for the ledger.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from industrial.tasks import ending

from .errors import GatewayError

log = structlog.get_logger("millwright.gateway")

#: A session of OPC UA takes several exchanges: it is asked less often than a register.
EVERY_S: dict[str, float] = {"modbus": 5.0, "opcua": 15.0, "http": 15.0}

#: Probes under way at once, and changes that are kept for whoever fetches them.
AT_ONCE, KEPT = 32, 4096


class Target(BaseModel):
    """One thing to ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: uuid.UUID
    environment: str = Field(min_length=1, max_length=40)
    name: str = Field(min_length=1, max_length=32)
    kind: Literal["modbus", "opcua", "http"]
    host: str
    port: int = Field(ge=1, le=65535)

    @property
    def key(self) -> tuple[uuid.UUID, str]:
        return self.machine, self.kind

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.environment, self.name, self.kind


class Targets(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[Target, ...] = Field(max_length=10_000)


@dataclass(frozen=True, slots=True)
class Answer:
    """`at`: when it was seen; of a question without an answer, when it was asked (seconds since the epoch)."""

    at: float
    ok: bool
    seconds: float
    detail: str

    def document(self, target: Target) -> dict[str, Any]:
        return {
            "machine": str(target.machine),
            "kind": target.kind,
            "at": self.at,
            "ok": self.ok,
            "seconds": round(self.seconds, 4),
            "detail": self.detail[:300],
        }


def write_targets(path: Path, targets: Sequence[Target]) -> bool:
    """Write the file, whole or not at all; True if it changed."""
    text = Targets(targets=tuple(targets)).model_dump_json()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    return True


Ask = Callable[[Target], Awaitable[str]]


class Schedule:
    """Asks every target at its own rate, spread over the interval so that they do not ask in step.

    Args:
        ask: returns what answered in words; raises GatewayError when nothing did.
        show: told of every answer, and with None of a target that is gone.
    """

    def __init__(
        self,
        path: Path,
        ask: Ask,
        show: Callable[[Target, Answer | None], None],
        *,
        every_s: dict[str, float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._ask, self._show, self._clock = path, ask, show, clock
        self._every_s = every_s or EVERY_S
        self._stamp: tuple[int, int] | None = None
        self._tasks: dict[tuple[uuid.UUID, str], tuple[Target, asyncio.Task[None]]] = {}
        self._extra: dict[tuple[uuid.UUID, str], asyncio.Task[None]] = {}
        self._latest: dict[tuple[uuid.UUID, str], tuple[Target, Answer]] = {}
        self._changes: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self._number = 0
        #: tells whoever fetches that a new process counts from the beginning
        self.life = uuid.uuid4().hex
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Follow the file until cancelled."""
        try:
            while True:
                self.take_over()
                await asyncio.sleep(1.0)
        finally:
            tasks = [*(task for _t, task in self._tasks.values()), *self._extra.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def take_over(self) -> None:
        """Read the file if it changed; one that cannot be read leaves what was known."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            wanted = Targets.model_validate_json(self._path.read_bytes()).targets
        except FileNotFoundError:
            stamp, wanted = None, ()
            if self._stamp is None:
                return
        except (OSError, ValidationError) as error:
            log.warning(
                "probe targets cannot be read", path=str(self._path), error=str(error)[:300]
            )
            return
        self._stamp = stamp
        listed = {target.key: target for target in wanted}
        for key, (target, task) in list(self._tasks.items()):
            if listed.get(key) != target:
                task.cancel()
                del self._tasks[key]
                if (extra := self._extra.pop(key, None)) is not None:
                    extra.cancel()
                self._show(target, None)
                if key not in listed:
                    self._latest.pop(key, None)
        for number, (key, target) in enumerate(listed.items()):
            if key not in self._tasks:
                every_s = self._every_s[target.kind]
                delay_s = every_s * (number % 64) / 64
                task = asyncio.create_task(self._follow(target, every_s, delay_s))
                self._tasks[key] = (target, task)

    async def _follow(self, target: Target, every_s: float, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        due = asyncio.get_running_loop().time()
        while not ending():
            await self._once(target)
            # On its own grid; what took longer than the interval leaves a gap, never a queue.
            now = asyncio.get_running_loop().time()
            due = max(due + every_s, now)
            await asyncio.sleep(due - now)

    def ask_now(self, machines: Sequence[uuid.UUID]) -> int:
        """Ask all there is to ask of these machines out of turn, once; returns how many questions go out.

        The answers are told as changes even where they are as before: whoever asks wants to know. Their turns stay as they are. One whose question of this kind is still out is not asked twice.
        """
        wanted, asked = set(machines), 0
        for key, (target, _task) in self._tasks.items():
            if key[0] in wanted and key not in self._extra:
                self._extra[key] = asyncio.create_task(self._out_of_turn(target))
                asked += 1
        return asked

    async def _out_of_turn(self, target: Target) -> None:
        try:
            await self._once(target, news=True)
        finally:
            self._extra.pop(target.key, None)

    async def _once(self, target: Target, *, news: bool = False) -> None:
        """`news`: the answer is told even if it is as before."""
        async with self._slots:
            begun, asked = time.monotonic(), self._clock()
            try:
                ok, detail = True, await self._ask(target)
            except GatewayError as error:
                ok, detail = False, str(error)
            except Exception as error:
                # A probe that breaks is an answer too; the next one is asked all the same.
                log.exception("probe failed", target=target.host, kind=target.kind)
                ok, detail = False, f"{type(error).__name__}: {error}"
        if ending():
            # Nobody wants to know any more: what is shown of a target that is gone would stay for ever.
            return
        before = self._latest.get(target.key)
        # What does not answer was gone when it was asked, not only when the wait was over; unless it answered
        # another question meanwhile, asked out of turn.
        at = self._clock() if ok else max(asked, before[1].at if before else 0.0)
        answer = Answer(at, ok, time.monotonic() - begun, detail)
        self._latest[target.key] = (target, answer)
        self._show(target, answer)
        if news or before is None or before[1].ok != ok:
            self._number += 1
            self._changes.append((self._number, answer.document(target)))

    def report(self, after: int = 0) -> dict[str, Any]:
        """Changes after a number, in order, and the last answer of each target.

        `missed`: changes between `after` and the oldest one that is kept are lost; what is latest still holds.
        """
        oldest = self._changes[0][0] if self._changes else self._number + 1
        return {
            "life": self.life,
            "number": self._number,
            "missed": max(0, oldest - after - 1),
            "changes": [document for number, document in self._changes if number > after],
            "latest": [answer.document(target) for target, answer in self._latest.values()],
        }


def parse_after(query: bytes) -> int:
    """`after=7` of a query string; anything else is from the beginning."""
    for part in query.decode("ascii", "replace").split("&"):
        name, _, value = part.partition("=")
        if name == "after" and value.isdecimal():
            return int(value)
    return 0
