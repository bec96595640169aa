"""Suites as YAML.

    format: 1
    program: Main            # or the project's own tasks
    interval_us: 10000
    plant:
      variables: {level: 20.0}
      each_scan: ["level := LIMIT(0.0, level + SEL(Main.valve, -3.0, 8.0) * dt, 100.0)"]
      feeds: {Main.level: level * 100}
    never: ["Main.valve AND Main.estop"]
    tests:
      - name: fills to the set-point
        steps:
          - set: {Main.start: true}
          - within: 30s
            expect: {Main.valve: false, Main.level: {is: 8000, tolerance: 100}}
          - inject: {Main.level: {stuck: 0}}
            for: 2s
          - hold: 1s
            expect: {Main.alarm: true}

Times are written like 1s500ms. `set`, `scan`, `advance`, `inject`, `expect`, `check`, with `within` (until it
holds, at most so long) or `hold` (at every scan of that time). `always` and `never` hold at every scan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from industrial.st.literals import duration_ns

from .errors import SuiteError
from .expressions import Assignment, Expression

_SUITE = frozenset(["format", "name", "program", "interval_us", "plant", "always", "never", "tests", "dialect"])  # fmt: skip
_TEST = frozenset(["name", "steps", "always", "never"])
_STEP = frozenset(["set", "scan", "advance", "expect", "check", "within", "hold", "inject", "for", "comment"])  # fmt: skip
_RULES = frozenset(["is", "tolerance", "above", "below", "between"])
_INJECT = frozenset(["stuck", "offset", "freeze", "silent"])
_DURATION = re.compile(r"(?:T#)?((?:[0-9.]+(?:d|h|ms|m|s|us))+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tag must be."""

    tag: str
    rule: str
    value: Any
    tolerance: float = 0.0

    def holds(self, value: Any) -> bool:
        """Whether a value satisfies the rule."""
        if self.rule == "is":
            if self.tolerance:
                return isinstance(value, int | float) and abs(value - self.value) <= self.tolerance
            return bool(value == self.value)
        if not isinstance(value, int | float):
            return False
        if self.rule == "above":
            return bool(value > self.value)
        if self.rule == "below":
            return bool(value < self.value)
        low, high = self.value
        return bool(low <= value <= high)

    def __str__(self) -> str:
        more = f" (± {self.tolerance:g})" if self.tolerance else ""
        return f"{self.tag} {self.rule} {self.value!r}{more}"


@dataclass(frozen=True, slots=True)
class Injection:
    """A device's fault: what the program reads in place of the plant's value."""

    tag: str
    kind: str
    value: Any
    for_us: int


@dataclass(frozen=True, slots=True)
class TestStep:
    """One step of a test."""

    number: int
    set: Mapping[str, Any] = field(default_factory=dict)
    scan: int = 0
    advance_us: int = 0
    within_us: int | None = None
    hold_us: int | None = None
    expect: tuple[Expected, ...] = ()
    check: tuple[Expression, ...] = ()
    inject: tuple[Injection, ...] = ()


@dataclass(frozen=True, slots=True)
class Interlock:
    """An expression that must be true (always) or false (never) at every scan."""

    expression: Expression
    wanted: bool

    def __str__(self) -> str:
        return f"{'always' if self.wanted else 'never'}: {self.expression.text}"


@dataclass(frozen=True, slots=True)
class Case:
    """A test: a fresh program, a fresh plant, steps."""

    name: str
    steps: tuple[TestStep, ...]
    interlocks: tuple[Interlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Plant:
    """A model of what the program controls: state, its change after each scan, what it feeds to the inputs."""

    variables: Mapping[str, float] = field(default_factory=dict)
    each_scan: tuple[Assignment, ...] = ()
    feeds: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """A file of tests."""

    name: str
    cases: tuple[Case, ...]
    program: str = ""
    interval_us: int = 10_000
    dialect: str = ""
    plant: Plant = field(default_factory=Plant)


def duration_us(value: Any, where: str) -> int:
    """1s500ms, T#2s, or a number of seconds, to microseconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return round(value * 1_000_000)
    found = _DURATION.fullmatch(str(value))
    if found is None:
        raise SuiteError(f"{where} = {value!r}: a time is written like 1s500ms")
    try:
        return duration_ns(found[1]) // 1000
    except ValueError as error:
        raise SuiteError(f"{where} = {value!r}: {error}") from None


def _table(value: Any, where: str, known: frozenset[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SuiteError(f"{where} = {value!r}: a mapping is wanted")
    if known is not None and (odd := sorted(value.keys() - known)):
        raise SuiteError(f"{where}.{odd[0]} is not known: one of {', '.join(sorted(known))}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise SuiteError(f"{where} = {value!r}: a list is wanted")
    return value


def _interlocks(data: Mapping[str, Any], where: str) -> tuple[Interlock, ...]:
    found = []
    for key, wanted in (("always", True), ("never", False)):
        for number, text in enumerate(_list(data.get(key, []), f"{where}{key}")):
            found.append(Interlock(Expression(str(text), f"{where}{key}[{number}]"), wanted))
    return tuple(found)


def _expected(tag: str, value: Any, where: str) -> Expected:
    if not isinstance(value, dict):
        return Expected(tag, "is", value)
    rules = _table(value, where, _RULES)
    tolerance = rules.get("tolerance", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or tolerance < 0:
        raise SuiteError(f"{where}.tolerance = {tolerance!r}: a number, 0 or more")
    chosen = [key for key in rules if key != "tolerance"]
    if len(chosen) != 1:
        raise SuiteError(f"{where}: one of is, above, below, between")
    rule, wanted = chosen[0], rules[chosen[0]]
    if rule == "between" and (not isinstance(wanted, list) or len(wanted) != 2):
        raise SuiteError(f"{where}.between = {wanted!r}: a list of two numbers")
    return Expected(tag, rule, wanted, float(tolerance))


def _step(number: int, data: Any, where: str) -> TestStep:
    row = _table(data, where, _STEP)
    if "within" in row and "hold" in row:
        raise SuiteError(f"{where}: within or hold, not both")
    if (row.keys() & {"within", "hold"}) and not row.keys() & {"expect", "check"}:
        raise SuiteError(f"{where}: within and hold want expect or check")
    scan = row.get("scan", 0)
    if isinstance(scan, bool) or not isinstance(scan, int) or not 0 <= scan <= 10_000_000:
        raise SuiteError(f"{where}.scan = {scan!r}: a whole number, 0 to 10000000")
    expect = _table(row.get("expect", {}), f"{where}.expect")
    checks = row.get("check", [])
    checks = [checks] if isinstance(checks, str) else _list(checks, f"{where}.check")
    injections = []
    for tag, how in _table(row.get("inject", {}), f"{where}.inject").items():
        fault = _table(how, f"{where}.inject.{tag}", _INJECT)
        if len(fault) != 1:
            raise SuiteError(f"{where}.inject.{tag}: one of {', '.join(sorted(_INJECT))}")
        (kind, value), *_ = fault.items()
        if kind in ("freeze", "silent") and value is not True:
            raise SuiteError(f"{where}.inject.{tag}.{kind} = {value!r}: true")
        lasts = duration_us(row.get("for", "1d"), f"{where}.for")
        injections.append(Injection(tag, kind, value, lasts))
    return TestStep(
        number,
        _table(row.get("set", {}), f"{where}.set"),
        scan,
        duration_us(row.get("advance", 0), f"{where}.advance"),
        duration_us(row["within"], f"{where}.within") if "within" in row else None,
        duration_us(row["hold"], f"{where}.hold") if "hold" in row else None,
        tuple(_expected(tag, value, f"{where}.expect.{tag}") for tag, value in expect.items()),
        tuple(Expression(str(text), f"{where}.check") for text in checks),
        tuple(injections),
    )


def _plant(data: Any) -> Plant:
    row = _table(data, "plant", frozenset(["variables", "each_scan", "feeds"]))
    variables = _table(row.get("variables", {}), "plant.variables")
    for name, value in variables.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SuiteError(f"plant.variables.{name} = {value!r}: a number")
    lines = _list(row.get("each_scan", []), "plant.each_scan")
    feeds = _table(row.get("feeds", {}), "plant.feeds")
    return Plant(
        {name: float(value) for name, value in variables.items()},
        tuple(Assignment(str(text), f"plant.each_scan[{n}]", variables) for n, text in enumerate(lines)),
        tuple((tag, Expression(str(text), f"plant.feeds.{tag}")) for tag, text in feeds.items()),
    )  # fmt: skip


def parse_suite(data: Any, name: str) -> Suite:
    """Check and take over.

    Raises:
        SuiteError: names place, value and rule.
    """
    row = _table(data, "suite", _SUITE)
    if row.get("format", 1) != 1:
        raise SuiteError(f"format = {row['format']!r}: 1 is known here")
    interval = row.get("interval_us", 10_000)
    if isinstance(interval, bool) or not isinstance(interval, int) or not 100 <= interval <= 3_600_000_000:  # fmt: skip
        raise SuiteError(f"interval_us = {interval!r}: a whole number, 100 to 3600000000")
    common = _interlocks(row, "")
    cases = []
    for number, entry in enumerate(_list(row.get("tests"), "tests")):
        where = f"tests[{number}]"
        case = _table(entry, where, _TEST)
        if not isinstance(case.get("name"), str) or not case["name"]:
            raise SuiteError(f"{where}.name = {case.get('name')!r}: a text")
        steps = _list(case.get("steps"), f"{where}.steps")
        cases.append(
            Case(
                case["name"],
                tuple(_step(n, step, f"{where}.steps[{n}]") for n, step in enumerate(steps)),
                common + _interlocks(case, f"{where}."),
            )
        )
    return Suite(
        str(row.get("name", name)),
        tuple(cases),
        str(row.get("program", "")),
        interval,
        str(row.get("dialect", "")),
        _plant(row.get("plant", {})),
    )


def load_suite(path: Path) -> Suite:
    """Read a file.

    Raises:
        SuiteError: names the file, place, value and rule.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_suite(data, path.stem)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, SuiteError) as error:
        raise SuiteError(f"{path}: {error}") from None
