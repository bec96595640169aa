"""Runs suites: each test on a fresh program and a fresh plant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from industrial.simulation import Machine, SimulationError
from industrial.simulation.run import CompileError, config_for
from industrial.simulation.scenario import Scenario
from industrial.st import Compiled, Folder, compile_project

from .coverage import Coverage, collect, instrument
from .errors import SuiteError
from .suite import Case, Injection, Suite, TestStep
from .trace import Trace


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test failed: step, virtual time, words, and the values that mattered."""

    step: int
    time_us: int
    message: str
    values: dict[str, Any]

    def __str__(self) -> str:
        shown = ", ".join(f"{tag} = {value!r}" for tag, value in self.values.items())
        return f"step {self.step} at {self.time_us / 1e6:g} s: {self.message}" + (
            f" ({shown})" if shown else ""
        )


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test's outcome. `time_us` is virtual; `trace` is there where tags were asked for."""

    name: str
    failure: Failure | None
    scans: int
    time_us: int
    trace: Trace | None = None


@dataclass(slots=True)
class SuiteResult:
    """One suite's outcome."""

    name: str
    tests: list[TestResult] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def failed(self) -> int:
        """How many tests failed."""
        return sum(test.failure is not None for test in self.tests)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return {
            "suite": self.name,
            "tests": [
                {
                    "name": test.name,
                    "ok": test.failure is None,
                    "failure": str(test.failure) if test.failure else "",
                    "scans": test.scans,
                    "time_us": test.time_us,
                    **({"trace": test.trace.as_dict()} if test.trace else {}),
                }
                for test in self.tests
            ],
            "coverage": self.coverage.as_dict(),
        }


class _Failed(Exception):
    def __init__(self, message: str, tags: list[str]) -> None:
        super().__init__(message)
        self.message, self.tags = message, tags


#: Injections under which the program goes on reading the value of before.
_KEPT = frozenset(["freeze", "silent"])


class _Run:
    """One test under way."""

    def __init__(
        self, machine: Machine, suite: Suite, case: Case, trace: Trace | None = None
    ) -> None:
        self.machine, self.suite, self.case, self.trace = machine, suite, case, trace
        self.state = dict(suite.plant.variables)
        self.injected: list[tuple[Injection, int, Any]] = []
        self._last_us: int | None = None
        self._feed()

    def read(self, tag: str) -> Any:
        """A variable of the plant, `dt`, or a tag of the program."""
        if tag in self.state:
            return self.state[tag]
        if tag == "dt":
            return self._dt_s
        return self.machine.get(tag)

    @property
    def _dt_s(self) -> float:
        before = self._last_us if self._last_us is not None else self.machine.now_us
        return (self.machine.now_us - before) / 1e6

    def _feed(self) -> None:
        now = self.machine.now_us
        ended = [row for row in self.injected if now >= row[1]]
        self.injected = [row for row in self.injected if now < row[1]]
        for injection, _, _ in ended:
            if injection.kind == "silent":
                self.machine.silence(injection.tag, False)
        for tag, expression in self.suite.plant.feeds:
            self.machine.set(tag, self._bent(tag, self._fitted(tag, expression.value(self.read))))
        fed = {tag for tag, _ in self.suite.plant.feeds}
        for injection, _, frozen in self.injected:
            if injection.tag not in fed:
                value = frozen if injection.kind in _KEPT else injection.value
                self.machine.set(injection.tag, value)

    def _fitted(self, tag: str, value: Any) -> Any:
        """A model's number as the tag's type wants it: whole, or true and false."""
        now = self.machine.get(tag)
        if isinstance(now, bool):
            return bool(value)
        return round(value) if isinstance(now, int) and isinstance(value, float) else value

    def _bent(self, tag: str, value: Any) -> Any:
        for injection, _, frozen in self.injected:
            if injection.tag.upper() != tag.upper():
                continue
            if injection.kind == "stuck":
                return injection.value
            if injection.kind in _KEPT:
                return frozen
            return self._fitted(tag, value + injection.value)
        return value

    def scan(self) -> None:
        """One scan, the plant's answer, the interlocks."""
        self.machine.scan()
        if self.machine.fault is not None:
            found = self.machine.fault
            raise _Failed(f"task {found.task} stopped: {found.message} at {found.file}:{found.line}", [])  # fmt: skip
        for assignment in self.suite.plant.each_scan:
            self.state[assignment.name] = assignment.expression.value(self.read)
        self._last_us = self.machine.now_us
        if self.trace is not None:
            self.trace.note(self.machine.now_us, self.read)
        for interlock in self.case.interlocks:
            if bool(interlock.expression.value(self.read)) is not interlock.wanted:
                raise _Failed(str(interlock), interlock.expression.tags)
        self._feed()

    def _broken(self, step: TestStep) -> _Failed | None:
        for expected in step.expect:
            value = self.read(expected.tag)
            if not expected.holds(value):
                return _Failed(f"expected {expected}", [expected.tag])
        for expression in step.check:
            if not expression.value(self.read):
                return _Failed(f"expected {expression.text}", expression.tags)
        return None

    def _for(self, duration_us: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Scan through a time; True if `until` came true before its end."""
        end = self.machine.now_us + duration_us
        while not until():
            if self.machine.next_us > end:
                self.machine.advance(end - self.machine.now_us)
                return False
            self.scan()
        return True

    def step(self, step: TestStep) -> None:
        """Do one step."""
        for tag, value in step.set.items():
            self.machine.set(tag, value)
        for injection in step.inject:
            frozen = self.machine.get(injection.tag)
            if injection.kind == "silent":
                self.machine.silence(injection.tag)
            self.injected.append((injection, self.machine.now_us + injection.for_us, frozen))
        if step.inject:
            self._feed()
        for _ in range(step.scan):
            self.scan()
        self._for(step.advance_us)
        if step.within_us is not None:
            if not self._for(step.within_us, lambda: self._broken(step) is None):
                broken = self._broken(step)
                if broken is not None:
                    raise _Failed(f"{broken.message} within {step.within_us / 1e6:g} s", broken.tags)  # fmt: skip
            return
        if step.hold_us is not None:
            self._for(step.hold_us, lambda: self._broken(step) is not None)
        broken = self._broken(step)
        if broken is not None:
            raise broken


def _compile(folder: Folder, suite: Suite) -> Compiled:
    if not folder.ok:
        raise CompileError(folder.diagnostics)
    scenario = Scenario((), suite.program, suite.interval_us, suite.dialect)
    compiled = compile_project(folder.sources, config_for(folder, scenario))
    if not compiled.ok:
        raise CompileError(compiled.diagnostics)
    return compiled


def run_suite(
    folder: Folder, suite: Suite, *, compiler: str = "tcc", trace: Sequence[str] = ()
) -> SuiteResult:
    """Run all tests of a suite. `trace` names tags and variables of the plant to note scan by scan.

    Raises:
        CompileError: the program does not compile.
        SuiteError: a test, or `trace`, names a variable that is not there.
    """
    compiled = _compile(folder, suite)
    c_source, sites = instrument(compiled.c_source, list(folder.sources))
    compiled = replace(compiled, c_source=c_source)
    result = SuiteResult(suite.name)
    for case in suite.cases:
        with Machine(compiled, compiler=compiler) as machine:
            result.tests.append(_run_case(machine, suite, case, trace))
            collect(str(machine.library_path), sites, result.coverage)
    return result


def _run_case(machine: Machine, suite: Suite, case: Case, traced: Sequence[str]) -> TestResult:
    failure: Failure | None = None
    number = 0
    trace = Trace(traced) if traced else None
    try:
        run = _Run(machine, suite, case, trace)
        for step in case.steps:
            number = step.number
            run.step(step)
    except _Failed as failed:
        values = {tag: run.read(tag) for tag in failed.tags}
        failure = Failure(number, machine.now_us, failed.message, values)
    except SimulationError as error:
        raise SuiteError(f"test {case.name!r}, step {number}: {error}") from None
    return TestResult(case.name, failure, machine.scans, machine.now_us, trace)
