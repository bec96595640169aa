"""A scenario run to its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from industrial.st import Config, Diagnostic, Folder, TaskConfig, compile_project

from .errors import ScenarioError, SimulationError
from .machine import Fault, Machine
from .scenario import Scenario, Step


@dataclass(slots=True)
class Outcome:
    """The trace: one object for each `get`. After a fault time goes on and nothing is scanned any more."""

    trace: list[dict[str, Any]] = field(default_factory=list)
    fault: Fault | None = None
    scans: int = 0
    time_us: int = 0

    def as_dict(self, scenario: Scenario) -> dict[str, Any]:
        """For the file."""
        return {
            "format": 1,
            "program": scenario.program,
            "interval_us": scenario.interval_us,
            "trace": self.trace,
            "scans": self.scans,
            "time_us": self.time_us,
            "faults": [self.fault.as_dict()] if self.fault else [],
        }


class CompileError(SimulationError):
    """The program does not compile; what was found is in `diagnostics`."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        errors = [row for row in diagnostics if row.severity == "error"]
        super().__init__("\n".join(row.render() for row in errors) or "it does not compile")
        self.diagnostics = errors


def config_for(folder: Folder, scenario: Scenario) -> Config:
    """The project's own tasks, or the scenario's one program at its interval; only what they reach is compiled."""
    config = replace(folder.config, only_reachable=True)
    if scenario.dialect:
        config = replace(config, dialect=scenario.dialect)
    if scenario.program:
        task = TaskConfig("main", scenario.interval_us, 1, 0, (scenario.program,))
        config = replace(config, tasks=(task,))
    return config


def load_machine(
    folder: Folder, scenario: Scenario, *, compiler: str = "tcc", scan_limit_s: float = 2.0
) -> Machine:
    """Compile what the scenario needs and load it.

    Raises:
        CompileError: with the compiler's findings.
        SimulationError: it does not load.
    """
    if not folder.ok:
        raise CompileError(folder.diagnostics)
    compiled = compile_project(folder.sources, config_for(folder, scenario))
    if not compiled.ok:
        raise CompileError(compiled.diagnostics)
    return Machine(
        compiled,
        compiler=compiler,
        scan_limit_s=scan_limit_s,
        wall_start_s=scenario.wall_start_s,
    )


def _do(machine: Machine, step: Step, outcome: Outcome) -> None:
    for path, value in step.set.items():
        machine.set(path, value)
    machine.scan(step.scan)
    if step.advance_us:
        machine.advance(step.advance_us, scans=step.scans)
    if step.get:
        values = {path: machine.get(path) for path in step.get}
        outcome.trace.append({"step": step.number, "time_us": machine.now_us, "values": values})


def run_scenario(machine: Machine, scenario: Scenario) -> Outcome:
    """Do all steps.

    Raises:
        ScenarioError: a step names a variable that is not there or gives it a value that it cannot hold.
    """
    outcome = Outcome()
    for step in scenario.steps:
        try:
            _do(machine, step, outcome)
        except SimulationError as error:
            raise ScenarioError(f"steps[{step.number}]: {error}") from None
    outcome.fault, outcome.scans, outcome.time_us = machine.fault, machine.scans, machine.now_us
    return outcome
