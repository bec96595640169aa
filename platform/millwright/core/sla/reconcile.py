"""Two ledgers of one environment: exact intervals, and samples that Prometheus took of the same thing.

Each change of state may be seen a sample late or early; that, and time of which one side knows nothing, is explained.
What differs beyond it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from .intervals import Interval, Spans


@dataclass(frozen=True, slots=True)
class Samples:
    """What Prometheus has of a period: how many samples, and how many of them say "not up"."""

    count: int
    down: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds. `unexplained` is 0 when the two agree as far as sampling can tell."""

    ledger_s: float
    prometheus_s: float
    #: changes of state in the period, and states that reach over its ends
    edges: int
    #: time of which Prometheus has no samples, or the ledger says that nobody could tell
    uncompared_s: float
    unexplained_s: float


def compare(
    period: Interval,
    down: Spans,
    samples: Samples,
    *,
    interval_s: float,
    unknown: Spans | None = None,
    lag_s: float = 0.0,
) -> Comparison:
    """Hold a period of the ledger against its samples.

    Args:
        down: when the ledger has it not up.
        unknown: when the ledger says that nobody could tell; no side is right about it.
        interval_s: seconds between samples.
        lag_s: by how much the two may learn of one change at different times, beside sampling.
    """
    whole = Spans((period,))
    nobody = (unknown or Spans()) & whole
    known = (down & whole) - nobody
    # Also at the ends of the period: a change just outside of it may be seen inside.
    edges = 2 * len(known.intervals)
    lacking = period.length.total_seconds() - samples.count * interval_s
    # One sample more or less is a matter of where the period begins.
    uncompared_s = nobody.length.total_seconds() + (lacking if lacking > interval_s else 0.0)
    ledger_s = known.length.total_seconds()
    prometheus_s = samples.down * interval_s
    explained_s = edges * (interval_s + lag_s) + uncompared_s
    return Comparison(
        ledger_s=ledger_s,
        prometheus_s=prometheus_s,
        edges=edges,
        uncompared_s=uncompared_s,
        unexplained_s=max(0.0, abs(ledger_s - prometheus_s) - explained_s),
    )
