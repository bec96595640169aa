"""The compiler's door: check files, compile a project."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import tree as t
from .compiler import Compiler
from .diagnostics import Diagnostic, Place, StopError
from .parser import Parser
from .prelude import STANDARD_BLOCKS

_PRELUDE = "standard blocks"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came out: C and symbols, or diagnostics."""

    ok: bool
    diagnostics: tuple[Diagnostic, ...] = ()
    c_source: str = ""
    symbols: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """The verdict on one POU or type."""

    pou: str
    kind: str
    file: str
    errors: tuple[Diagnostic, ...]

    def as_dict(self) -> dict[str, object]:
        errors = [error.as_dict() for error in self.errors]
        return {
            "pou": self.pou,
            "kind": self.kind,
            "file": self.file,
            "ok": not self.errors,
            "errors": errors,
        }


def _parse(sources: Mapping[str, str]) -> tuple[t.Unit, list[Diagnostic]]:
    unit = t.Unit()
    errors: list[Diagnostic] = []
    for file, text in {_PRELUDE: STANDARD_BLOCKS, **sources}.items():
        parser = Parser(file, text)
        part = parser.unit()
        unit.pous += part.pous
        unit.types += part.types
        unit.globals += part.globals
        errors += parser.errors
    seen: dict[str, t.Pou] = {}
    for row in unit.pous:
        if (other := seen.get(row.name.lower())) is not None:
            errors.append(
                Diagnostic(
                    row.place, "E024", f"{row.name} is declared twice (also in {other.place.file})"
                )
            )
        seen[row.name.lower()] = row
    unit.pous = list(seen.values())
    return unit, errors


def _compile(unit: t.Unit, files: list[str]) -> Compiler:
    compiler = Compiler(unit, [_PRELUDE, *files])
    compiler.declare()
    compiler.bodies()
    return compiler


def _sorted(errors: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(
        sorted(set(errors), key=lambda row: (row.place.file, row.place.line, row.place.column))
    )


def compile_project(files: Mapping[str, str]) -> Compiled:
    """Compile a project's files (path → text; vplc.toml among them)."""
    try:
        manifest = tomllib.loads(files.get("vplc.toml", ""))
    except tomllib.TOMLDecodeError as error:
        return Compiled(False, (Diagnostic(Place("vplc.toml", 1, 1), "E060", str(error)),))
    tasks, wrong = _tasks(manifest)
    sources = {path: text for path, text in sorted(files.items()) if path.lower().endswith(".st")}
    unit, errors = _parse(sources)
    compiler = _compile(unit, list(sources))
    errors += [*compiler.errors, *wrong]
    if errors:
        return Compiled(False, _sorted(errors))
    name, version = str(manifest.get("name", "program")), str(manifest.get("version", "0"))
    try:
        source = compiler.source(name, version, tasks)
    except StopError as found:
        return Compiled(False, (found.diagnostic,))
    if compiler.errors:
        return Compiled(False, _sorted(compiler.errors))
    symbols = {
        "format": 1,
        "program": name,
        "layout_hash": compiler.layout_hash(),
        "tasks": tasks,
        "symbols": compiler.symbols(),
    }
    return Compiled(True, (), source, json.loads(json.dumps(symbols)))


def _tasks(manifest: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
    errors: list[Diagnostic] = []
    place = Place("vplc.toml", 1, 1)
    tasks = []
    for number, row in enumerate(manifest.get("task", []), 1):
        where = f"task[{number}]"
        interval, programs = row.get("interval_us"), row.get("programs")
        if not isinstance(row.get("name"), str):
            errors.append(Diagnostic(place, "E060", f"{where}.name is missing"))
        elif not isinstance(interval, int) or not 100 <= interval <= 3_600_000_000:
            errors.append(
                Diagnostic(place, "E060", f"{where}.interval_us = {interval!r}: 100 to 3600000000")
            )
        elif (
            not isinstance(programs, list)
            or not programs
            or not all(isinstance(name, str) for name in programs)
        ):
            errors.append(
                Diagnostic(
                    place, "E060", f"{where}.programs = {programs!r}: a list of names of PROGRAMs"
                )
            )
        else:
            tasks.append(
                {
                    "name": row["name"],
                    "interval_us": interval,
                    "priority": int(row.get("priority", 1)),
                    "watchdog_us": int(row.get("watchdog_us", 0)),
                    "programs": programs,
                }
            )
    if not tasks and not errors:
        errors.append(
            Diagnostic(
                place,
                "E060",
                "no [[task]] says what is to run",
                "add name, interval_us and programs",
            )
        )
    return tasks, errors


def check_paths(sources: Mapping[str, str]) -> tuple[list[CheckRow], list[Diagnostic]]:
    """A verdict for each POU and type, and the errors that belong to none of them."""
    unit, errors = _parse(sources)
    errors += _compile(unit, list(sources)).errors
    rows: list[tuple[str, str, Place]] = [
        (row.name, row.kind.lower(), row.place) for row in unit.pous if row.place.file != _PRELUDE
    ]
    rows += [(row.name, "type", row.place) for row in unit.types]
    rows.sort(key=lambda row: (row[2].file, row[2].line))
    by_row: dict[int, list[Diagnostic]] = {}
    loose: list[Diagnostic] = []
    for error in _sorted(errors):
        owners = [
            n
            for n, row in enumerate(rows)
            if row[2].file == error.place.file and row[2].line <= error.place.line
        ]
        if owners:
            by_row.setdefault(owners[-1], []).append(error)
        else:
            loose.append(error)
    found = [
        CheckRow(name, kind, place.file, tuple(by_row.get(n, [])))
        for n, (name, kind, place) in enumerate(rows)
    ]
    return found, loose
