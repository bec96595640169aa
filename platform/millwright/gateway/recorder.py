"""Tags that are recorded: read again and again with nobody looking, and shown as metrics for Prometheus to keep.

Which ones is in a file that the orchestrator writes, so that a gateway that is started again goes on by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from industrial.tasks import ending

from .errors import GatewayError
from .limits import Cells
from .modbus import ModbusDoor
from .requests import WatchedTag
from .tags import Tag, batches, read_all

log = structlog.get_logger("millwright.gateway")

#: As often as Prometheus asks; machines read at once; tags of one machine.
EVERY_S, AT_ONCE, MOST_TAGS = 15.0, 16, 16


class Recorded(BaseModel):
    """A machine's recorded tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: uuid.UUID
    environment: str = Field(min_length=1, max_length=40)
    name: str = Field(min_length=1, max_length=32)
    host: str
    port: int = Field(502, ge=1, le=65535)
    unit: int = Field(1, ge=0, le=255)
    tags: tuple[WatchedTag, ...] = Field(min_length=1, max_length=MOST_TAGS)


class RecordedFile(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: tuple[Recorded, ...] = Field(max_length=5000)


def write_recorded(path: Path, machines: Sequence[Recorded]) -> bool:
    """Write the file, whole or not at all; True if it changed."""
    text = RecordedFile(machines=tuple(machines)).model_dump_json()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    return True


class Recorder:
    """Reads every machine of the file at its own point of the interval.

    Args:
        show: told of a tag's value (environment, machine, tag, value), and with None when it is not known now.
    """

    def __init__(
        self,
        path: Path,
        cells: Cells,
        modbus: ModbusDoor,
        show: Callable[[str, str, str, float | None], None],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._path, self._cells, self._modbus, self._show = path, cells, modbus, show
        self._every_s = every_s
        self._text: bytes | None = None
        self._tasks: dict[uuid.UUID, tuple[Recorded, asyncio.Task[None]]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Follow the file until cancelled."""
        try:
            while True:
                self.take_over()
                await asyncio.sleep(min(2.0, self._every_s))
        finally:
            tasks = [task for _recorded, task in self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def take_over(self) -> None:
        """Read the file if it changed; one that cannot be read leaves what was known."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return
        if text == self._text:
            return
        try:
            wanted = RecordedFile.model_validate_json(text).machines
        except ValidationError as error:
            log.warning("recorded tags cannot be read", error=str(error)[:300])
            return
        self._text = text
        listed = {recorded.machine: recorded for recorded in wanted}
        for key, (recorded, task) in list(self._tasks.items()):
            if listed.get(key) != recorded:
                task.cancel()
                del self._tasks[key]
                self._forget(recorded)
        for number, (key, recorded) in enumerate(listed.items()):
            if key not in self._tasks:
                delay_s = self._every_s * (number % 64) / 64
                self._tasks[key] = (recorded, asyncio.create_task(self._follow(recorded, delay_s)))

    async def _follow(self, recorded: Recorded, delay_s: float) -> None:
        tags = [Tag(tag.path, tag.area, tag.address, tag.type) for tag in recorded.tags]
        requests = batches(tags)
        await asyncio.sleep(delay_s)
        while not ending():
            try:
                host = self._cells.check(recorded.host)
                async with self._slots:
                    values = await read_all(
                        self._modbus, host, recorded.port, recorded.unit, tags, requests
                    )
            except GatewayError:
                # A gap in the trend says it; the health of the machine is told elsewhere.
                self._forget(recorded)
            except Exception:
                log.exception("recording failed", host=recorded.host)
                self._forget(recorded)
            else:
                if ending():
                    return
                for tag in tags:
                    value = values.get(tag.path)
                    self._show(
                        recorded.environment,
                        recorded.name,
                        tag.path,
                        None if value is None else float(value),
                    )
            await asyncio.sleep(self._every_s)

    def _forget(self, recorded: Recorded) -> None:
        for tag in recorded.tags:
            self._show(recorded.environment, recorded.name, tag.path, None)
