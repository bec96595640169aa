"""The placement optimiser: arrays in, the cheapest assignment out, and an independent check.

See docs/subsystems/balancer.md.
"""

from .check import Verdict, Violation, check
from .errors import ProblemError, SolverError
from .problem import UNPLACED, Balance, Checked, Group, Problem
from .solve import Solution, solve
from .steps import Prices, Step, steps
from .tuning import Tuning

__all__ = [
    "UNPLACED",
    "Balance",
    "Checked",
    "Group",
    "Prices",
    "Problem",
    "ProblemError",
    "Solution",
    "SolverError",
    "Step",
    "Tuning",
    "Verdict",
    "Violation",
    "check",
    "solve",
    "steps",
]
