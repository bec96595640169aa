"""Programs in virtual time: the engine that runs on a controller, with a clock that a scenario moves."""

from .errors import ScenarioError, SimulationError
from .machine import Fault, Machine
from .run import Outcome, load_machine, run_scenario
from .scenario import Scenario, parse_scenario

__all__ = [
    "Fault",
    "Machine",
    "Outcome",
    "Scenario",
    "ScenarioError",
    "SimulationError",
    "load_machine",
    "parse_scenario",
    "run_scenario",
]
