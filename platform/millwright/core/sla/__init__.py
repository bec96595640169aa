"""Service levels, pure: intervals, service hours, causes, the fold of what was seen, a month's figures."""

from .causes import COUNTED, Cause, Evidence, Explained, Happened, classify
from .hours import HoursError, ServiceHours, Shift, month_before, month_of, month_period, months_of
from .intervals import (
    ZERO,
    Interval,
    IntervalError,
    Observed,
    Result,
    Spans,
    StateChange,
    after_grace,
    availability,
    closed,
    observe,
)
from .measure import Entry, Measured, Terms, measure
from .reconcile import Comparison, Samples, compare
from .timeline import Kind, Row, Seen, Track, fold
from .windows import occurrences

__all__ = [
    "COUNTED",
    "ZERO",
    "Cause",
    "Comparison",
    "Entry",
    "Evidence",
    "Explained",
    "Happened",
    "HoursError",
    "Interval",
    "IntervalError",
    "Kind",
    "Measured",
    "Observed",
    "Result",
    "Row",
    "Samples",
    "Seen",
    "ServiceHours",
    "Shift",
    "Spans",
    "StateChange",
    "Terms",
    "Track",
    "after_grace",
    "availability",
    "classify",
    "closed",
    "compare",
    "fold",
    "measure",
    "month_before",
    "month_of",
    "month_period",
    "months_of",
    "observe",
    "occurrences",
]
