"""What can go wrong with a simulation."""

from __future__ import annotations


class SimulationError(Exception):
    """The program could not be loaded, or a variable is not there; the text is for people."""


class ScenarioError(SimulationError):
    """A scenario breaks a rule; the text names the step, the field, the value and the rule."""
