"""Scenarios: what is done to a program, step by step, as JSON.

    {"program": "Main", "interval_us": 10000, "steps": [{"set": {"Main.start": true}}, {"scan": 3},
     {"advance_us": 1000000}, {"get": ["Main.motor", "Main.t1.ET"]}]}

`set` takes effect at the next input latch; `scan` n runs n scans, each at the next interval; `advance_us` runs
the scans due in that time, or with `"scans": false` only moves the clock; the first scan sees t = 0; each `get`
adds one object to the trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ScenarioError

#: Scans of one step, and of time: more is a mistake of a unit.
MAX_SCANS, MAX_US = 10_000_000, 10**13
_KEYS = frozenset(["program", "interval_us", "steps", "dialect", "name", "wall_start_s", "format"])
_VERBS = ("set", "scan", "advance_us", "get")


@dataclass(frozen=True, slots=True)
class Step:
    """One step; a step with several verbs does them in the order set, scan, advance_us, get."""

    number: int
    set: Mapping[str, Any]
    scan: int
    advance_us: int
    scans: bool
    get: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario as read. Without a program, the project's own tasks run."""

    steps: tuple[Step, ...]
    program: str = ""
    interval_us: int = 10_000
    dialect: str = ""
    wall_start_s: float = 1_767_225_600.0


def _whole(value: Any, field: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ScenarioError(f"{field} = {value!r}: a whole number, {low} to {high}")
    return value


def _step(number: int, row: Any) -> Step:
    where = f"steps[{number}]"
    if not isinstance(row, dict) or not row:
        raise ScenarioError(f"{where} = {row!r}: an object with one of {', '.join(_VERBS)}")
    unknown = sorted(row.keys() - {*_VERBS, "scans", "comment"})
    if unknown:
        raise ScenarioError(
            f"{where}.{unknown[0]} is not known: one of {', '.join(_VERBS)}, scans, comment"
        )
    if not row.keys() & set(_VERBS) and "comment" not in row:
        raise ScenarioError(f"{where}: one of {', '.join(_VERBS)} is wanted")
    changes = row.get("set", {})
    if not isinstance(changes, dict):
        raise ScenarioError(f"{where}.set = {changes!r}: an object of variables and values")
    wanted = row.get("get", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(wanted, list) or not all(isinstance(path, str) for path in wanted):
        raise ScenarioError(f"{where}.get = {wanted!r}: a list of variables")
    scans = row.get("scans", True)
    if not isinstance(scans, bool):
        raise ScenarioError(f"{where}.scans = {scans!r}: true or false")
    return Step(
        number,
        changes,
        _whole(row.get("scan", 0), f"{where}.scan", 0, MAX_SCANS),
        _whole(row.get("advance_us", 0), f"{where}.advance_us", 0, MAX_US),
        scans,
        tuple(wanted),
    )


def parse_scenario(data: Any) -> Scenario:
    """Check and take over.

    Raises:
        ScenarioError: names field, value and rule.
    """
    if not isinstance(data, dict):
        raise ScenarioError("a scenario is an object with program, interval_us and steps")
    unknown = sorted(data.keys() - _KEYS)
    if unknown:
        raise ScenarioError(f"{unknown[0]} is not known: one of {', '.join(sorted(_KEYS))}")
    program = data.get("program", "")
    if not isinstance(program, str):
        raise ScenarioError(f"program = {program!r}: the name of a PROGRAM")
    dialect = data.get("dialect", "")
    if dialect not in ("", "iec", "codesys23"):
        raise ScenarioError(f"dialect = {dialect!r}: iec or codesys23")
    steps = data.get("steps")
    if not isinstance(steps, list):
        raise ScenarioError(f"steps = {steps!r}: a list of steps")
    wall = data.get("wall_start_s", 1_767_225_600.0)
    if isinstance(wall, bool) or not isinstance(wall, int | float) or not 0 <= wall < 2**33:
        raise ScenarioError(f"wall_start_s = {wall!r}: seconds since 1970")
    return Scenario(
        tuple(_step(number, row) for number, row in enumerate(steps)),
        program,
        _whole(data.get("interval_us", 10_000), "interval_us", 100, 3_600_000_000),
        dialect,
        float(wall),
    )
