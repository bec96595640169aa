"""What an engineer does to a running program: read any variable, force, trace, single cycles."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .paths import Paths
from .shm import Area, SharedMemory, Write
from .variables import Place, VariableError, Variables

_AREAS = {"I": Area.IN, "Q": Area.OUT, "M": Area.MEM, "arena": Area.ARENA}
#: A force is one value of at most eight bytes.
_MOST = 8


class Tools:
    """A view of one running controller."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.shm = SharedMemory(paths.shm)
        try:
            data = json.loads((paths.active / "symbols.json").read_text())
        except FileNotFoundError:
            data = {"symbols": []}
        self.variables = Variables(data["symbols"])
        # Beside the memory and not beside the program: forces end with the scan process, and so does this list.
        self._names = paths.run / "forces.json"

    def read(self, paths: list[str]) -> dict[str, Any]:
        """Values of variables, all of one scan.

        Raises:
            VariableError: one of them is not there.
        """
        places = {path: self.variables.find(path) for path in paths}
        images = self.shm.snapshot(arena=True)
        found = {}
        for path, place in places.items():
            data = images.area(_AREAS[place.area])
            found[path] = place.decode(
                data[place.offset : place.offset + place.width * place.count]
            )
        return found

    def quality(self, paths: list[str]) -> dict[str, dict[str, Any]]:
        """Of those that are inputs: `quality` (good, bad, unknown: no device has answered yet) and `age_s`, None for never.

        Raises:
            VariableError: one of them is not there.
        """
        found: dict[str, dict[str, Any]] = {}
        for path in paths:
            place = self.variables.find(path)
            if place.area == "I":
                word, age_s = self.shm.quality(place.offset, place.width * place.count)
                found[path] = {
                    "quality": word.name.lower(),
                    "age_s": None if age_s is None else round(age_s, 3),
                }
        return found

    def _entry(self, place: Place, value: int = 0) -> Write:
        if place.dims or (place.bit is None and (place.width > _MOST or "STRING" in place.type)):
            raise VariableError(f"{place.path}: a single value of at most {_MOST} bytes is wanted")
        size = 0 if place.bit is not None else place.width
        return Write(_AREAS[place.area], place.offset, size, value, place.bit or 0)

    def forced(self) -> dict[str, Any]:
        """What is forced, by path."""
        named = self._load_names()
        found = {}
        for entry in self.shm.forces():
            key = f"{int(entry.area)}:{entry.offset}:{entry.size}:{entry.bit}"
            path = named[key]["path"] if key in named else key
            try:
                place = self.variables.find(path)
                found[path] = place.decode(_bytes(place, entry.value))
            except VariableError:
                found[path] = entry.value
        return found

    def force(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Force variables; those that are forced already stay. Returns the whole list.

        Raises:
            VariableError: no such variable, or a value that it cannot hold.
        """
        entries = {(e.area, e.offset, e.size, e.bit): e for e in self.shm.forces()}
        named = self._load_names()
        for path, value in values.items():
            place = self.variables.find(path)
            number = int.from_bytes(place.encode(value)[:_MOST], "little")
            entry = self._entry(place, number)
            entries[entry.area, entry.offset, entry.size, entry.bit] = entry
            named[f"{int(entry.area)}:{entry.offset}:{entry.size}:{entry.bit}"] = {
                "path": place.path,
                "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "by": _user(),
            }
        self._names.write_text(json.dumps(named))
        self.shm.set_forces(entries.values())
        return self.forced()

    def unforce(self, paths: list[str] | None = None) -> dict[str, Any]:
        """End forces; all of them without paths. Returns what is left.

        Raises:
            VariableError: one of them is not forced.
        """
        entries = {(e.area, e.offset, e.size, e.bit): e for e in self.shm.forces()}
        if paths is None:
            entries.clear()
        for path in paths or []:
            entry = self._entry(self.variables.find(path))
            if entries.pop((entry.area, entry.offset, entry.size, entry.bit), None) is None:
                raise VariableError(f"{path} is not forced")
        self.shm.set_forces(entries.values())
        return self.forced()

    def _load_names(self) -> dict[str, dict[str, str]]:
        """Where a force is → its variable, and when and by whom it was set."""
        try:
            return dict(json.loads(self._names.read_text()))
        except (OSError, ValueError):
            return {}

    def trace(
        self, paths: list[str], scans: int, *, task: int = 0, limit_s: float = 60.0
    ) -> Iterator[tuple[int, int, list[Any]]]:
        """After each of so many scans of a task: number of the scan, time in microseconds, values.

        Raises:
            VariableError: a variable is not there, or is no single value.
            TimeoutError: the scans did not come in time.
        """
        places = [self.variables.find(path) for path in paths]
        known = [row.name for row in self.shm.tasks()]
        if task >= len(known):
            raise VariableError(f"task = {task}: there are {', '.join(f'{n} ({name})' for n, name in enumerate(known)) or 'none'}")  # fmt: skip
        number = self.shm.start_trace([self._entry(place) for place in places], task)
        end = time.monotonic() + limit_s
        left = scans
        try:
            while left > 0:
                for row, scan, now_ns, values in self.shm.trace(number):
                    number = row + 1
                    left -= 1
                    yield (
                        scan,
                        now_ns // 1000,
                        [
                            place.decode(_bytes(place, value)) if place.bit is None else bool(value)
                            for place, value in zip(places, values, strict=False)
                        ],
                    )
                    if left == 0:
                        return
                if time.monotonic() > end:
                    raise TimeoutError(f"{left} of {scans} scans did not come within {limit_s:g} s")
                time.sleep(0.005)
        finally:
            self.shm.start_trace([])


def _bytes(place: Place, value: int) -> bytes:
    data = value.to_bytes(_MOST, "little")
    return bytes([data[0] << (place.bit or 0)]) if place.bit is not None else data[: place.width]


def _user() -> str:
    """Who asks: whoever became root for it, or the user of this process; "" where he has no name."""
    if name := os.environ.get("SUDO_USER"):
        return name
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""
