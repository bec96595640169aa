"""The conformance cases as data, compiled in one go: each case is a program with a task of its own."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from industrial.st import Config, TaskConfig, compile_project
from tests.support.st_harness import Plc

HERE = Path(__file__).resolve().parent
#: Groups without a dialect are checked in the standard's.
STANDARD = "iec"


@dataclass(frozen=True)
class Row:
    """One expression and what it gives."""

    program: str
    variable: str
    kind: str
    expression: str
    expected: Any
    dialect: str
    clause: str


def load(name: str) -> list[dict[str, Any]]:
    """A table of cases."""
    found: list[dict[str, Any]] = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return found


def rows() -> Iterator[Row]:
    """All expression cases."""
    for number, group in enumerate(load("expressions.yaml")):
        for position, (kind, expression, expected) in enumerate(group["rows"]):
            yield Row(
                f"G{number}",
                f"v{position}",
                kind,
                expression,
                expected,
                group.get("dialect", STANDARD),
                group["clause"],
            )


def _group_source(number: int, group: dict[str, Any]) -> str:
    variables = "\n".join(f"v{n} : {kind};" for n, (kind, _, _) in enumerate(group["rows"]))
    body = "\n".join(f"v{n} := {text};" for n, (_, text, _) in enumerate(group["rows"]))
    return (
        f"{group.get('pous', '')}\nPROGRAM G{number}\nVAR\n{group.get('declare', '')}\n{variables}\nEND_VAR\n"
        f"{body}\nEND_PROGRAM\n"
    )


def _case_source(number: int, case: dict[str, Any]) -> str:
    return (
        f"{case.get('pous', '')}\nPROGRAM C{number}\nVAR\n{case.get('declare', '')}\nEND_VAR\n{case['body']}\nEND_PROGRAM\n"
        if "body" in case
        else case["source"].replace("PROGRAM Main", f"PROGRAM C{number}")
    )


@cache
def compiled(kind: str, dialect: str, compiler: str) -> Plc:
    """All cases of a dialect, loaded."""
    table = load("expressions.yaml" if kind == "G" else "sequences.yaml")
    chosen = [(n, row) for n, row in enumerate(table) if row.get("dialect", STANDARD) == dialect]
    make = _group_source if kind == "G" else _case_source
    sources = {f"{kind}{n}.st": make(n, row) for n, row in chosen}
    tasks = tuple(
        TaskConfig(f"t{n}", row.get("interval_us", 10_000), programs=(f"{kind}{n}",))
        for n, row in chosen
    )
    result = compile_project(sources, Config(dialect=dialect, tasks=tasks))
    assert result.ok, "\n".join(item.render() for item in result.diagnostics)
    return Plc(result, compiler)


def task_of(kind: str, number: int, dialect: str) -> int:
    """The number of the task that runs a case."""
    table = load("expressions.yaml" if kind == "G" else "sequences.yaml")
    return sum(1 for row in table[:number] if row.get("dialect", STANDARD) == dialect)


@cache
def evaluated(dialect: str, compiler: str) -> dict[tuple[str, str], Any]:
    """Every row's value after one scan of every group."""
    plc = compiled("G", dialect, compiler)
    values: dict[tuple[str, str], Any] = {}
    for number, group in enumerate(load("expressions.yaml")):
        if group.get("dialect", STANDARD) != dialect:
            continue
        fault = plc.scan(task=task_of("G", number, dialect))
        assert fault == "", f"{group['clause']}: {fault} at line {plc.line}"
        for position in range(len(group["rows"])):
            values[f"G{number}", f"v{position}"] = plc.get(f"G{number}.v{position}")
    return values


def same(kind: str, got: Any, expected: Any) -> bool:
    """Equal; reals within the last digits that their width has."""
    if kind in ("REAL", "LREAL"):
        if kind == "REAL":
            expected = struct.unpack("<f", struct.pack("<f", expected))[0]
        return math.isclose(got, expected, rel_tol=2e-7 if kind == "REAL" else 1e-14)
    return bool(type(got) is type(expected) and got == expected)
