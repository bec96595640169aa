"""The placement optimiser: arrays in, the cheapest assignment out, and an independent check.

See docs/subsystems/balancer.md.
"""

from .check import Verdict, Violation, check
from .errors import ProblemError, SolverError
from .problem import UNPLACED, Balance, Checked, Group, Problem
from .solve import Solution, Tuning, solve

__all__ = [
    "UNPLACED",
    "Balance",
    "Checked",
    "Group",
    "Problem",
    "ProblemError",
    "Solution",
    "SolverError",
    "Tuning",
    "Verdict",
    "Violation",
    "check",
    "solve",
]
