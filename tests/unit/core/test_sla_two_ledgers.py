"""The two ledgers over a simulated month with faults: exact rows, and samples that Prometheus would have taken.

Time is virtual. A truth of outages is seen as in a plant: the gateway asks every 5 s and gives up after 3 s, the
watcher looks every 5 s or is told at once, Prometheus reads every 5 s and evaluates at moments of its own. `-s` prints
how far the two are apart.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field

import pytest
from millwright.core.sla import Interval, Kind, Seen, Spans, Track, compare, fold
from millwright.core.sla.reconcile import Comparison, Samples

START = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
MONTH_S, HOUR_S = 30 * 86400, 3600
#: Seconds between probes, until a probe gives up, between reads of Prometheus.
PROBE_S, LIMIT_S, SAMPLE_S = 5.0, 3.0, 5.0
#: What reconciliation allows for one change that watcher and probe learn of at different times.
LAG_S = 10.0


def at(second: float) -> dt.datetime:
    return START + dt.timedelta(seconds=second)


@dataclass
class Month:
    """A truth: when it was down, and of these when only its network was; when Prometheus was away."""

    down: list[tuple[float, float]] = field(default_factory=list)
    unreachable: list[tuple[float, float]] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)


def month(seed: int) -> Month:
    """Some five faults a day, from five seconds to two hours, of either kind; Prometheus stopped now and then."""
    draw = random.Random(seed)  # noqa: S311  # any faults will do
    made, second = Month(), 600.0
    while second < MONTH_S - 20_000:
        length = min(7200.0, 5.0 + draw.expovariate(1 / 300))
        kind = draw.choice((made.down, made.unreachable))
        kind.append((second, second + length))
        second += length + 60 + draw.expovariate(1 / 17_000)
        if draw.random() < 0.1:
            made.away.append((second, second + draw.uniform(20, 3000)))
    return made


def _lost(spans: list[tuple[float, float]], second: float) -> bool:
    return any(begin <= second < end for begin, end in spans)


def probed(truth: Month, phase: float) -> list[tuple[float, bool]]:
    """Changes of the probe's answer: at the answer, or at the end of the wait for it."""
    spans = sorted([*truth.down, *truth.unreachable])
    changes, ok, index = [(phase, True)], True, 0
    second = phase
    while second < MONTH_S:
        while index < len(spans) and spans[index][1] <= second:
            index += 1
        lost = index < len(spans) and spans[index][0] <= second
        if lost == ok:
            ok = not lost
            changes.append((second + (LIMIT_S if lost else 0.02), ok))
        second += PROBE_S
    return changes


def watched(truth: Month, phase: float) -> list[tuple[float, bool]]:
    """Changes of what the watcher sees: told of an end at once, of a begin at its next look."""
    changes = [(0.0, True)]
    for begin, end in truth.down:
        look = phase + SAMPLE_S * (1 + (end - phase) // SAMPLE_S)
        changes += [(begin + 0.3, False), (look, True)]
    return changes


def rows(probe: list[tuple[float, bool]], watch: list[tuple[float, bool]]) -> Spans:
    """The exact ledger, by the product's own fold."""
    seen = [Seen(at(0), "service", "begun"), Seen(at(0), "observed", "running")]
    # The row begins with the question that had no answer; samples show it once the wait is over.
    seen += [
        Seen(at(s if ok else s - LIMIT_S), "probe_modbus", "ok" if ok else "failing")
        for s, ok in probe
    ]
    seen += [Seen(at(s), "observed", "running" if up else "crashed") for s, up in watch]
    found = fold(sorted(seen, key=lambda one: one.at), Track())
    return Spans(
        Interval(row.begin, row.end or at(MONTH_S)) for row in found if row.kind is Kind.DOWN
    )


def samples(
    changes: list[tuple[float, bool]], truth: Month, phases: tuple[float, float]
) -> list[Samples]:
    """Of each hour: what Prometheus evaluated, from what it had read last; nothing while it was away."""
    read_at, evaluate_at = phases
    counts = [[0, 0] for _ in range(MONTH_S // HOUR_S)]
    index, second = 0, evaluate_at
    while second < MONTH_S:
        read = read_at + SAMPLE_S * ((second - read_at) // SAMPLE_S)
        while index + 1 < len(changes) and changes[index + 1][0] <= read:
            index += 1
        if not _away(truth, read):
            hour = counts[int(second // HOUR_S)]
            hour[0] += 1
            hour[1] += not changes[index][1]
        second += SAMPLE_S
    return [Samples(*row) for row in counts]


def _away(truth: Month, second: float) -> bool:
    return _lost(truth.away, second)


def compared(down: Spans, sampled: list[Samples], lag_s: float) -> list[Comparison]:
    return [
        compare(
            Interval(at(number * HOUR_S), at((number + 1) * HOUR_S)),
            down,
            row,
            interval_s=SAMPLE_S,
            lag_s=lag_s,
        )
        for number, row in enumerate(sampled)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_over_a_month_they_differ_by_at_most_one_sample_for_each_transition(seed: int) -> None:
    truth = month(seed)
    truth.away = []
    probe = probed(truth, phase=1.3)
    down = rows(probe, [])
    sampled = samples(probe, truth, (0.7 + seed, 2.9))
    transitions = 2 * len(down.intervals)
    assert transitions > 100
    whole = abs(down.length.total_seconds() - SAMPLE_S * sum(row.down for row in sampled))
    print(f"{transitions} transitions, {down.length} down, {whole:.1f} s apart in all")
    assert whole <= transitions * SAMPLE_S
    for result in compared(down, sampled, lag_s=0.0):
        assert result.unexplained_s == 0.0
        assert abs(result.ledger_s - result.prometheus_s) <= result.edges * SAMPLE_S


@pytest.mark.parametrize("seed", range(3))
def test_with_watcher_and_absences_nothing_is_unexplained(seed: int) -> None:
    """The ledger knows of a crash at once, the probe a few seconds later; Prometheus was away for hours."""
    truth = month(seed)
    probe = probed(truth, phase=2.2)
    down = rows(probe, watched(truth, phase=4.1))
    results = compared(down, samples(probe, truth, (3.3, 0.4)), LAG_S)
    assert [result.unexplained_s for result in results] == [0.0] * len(results)
    assert sum(result.uncompared_s for result in results) > 1000


def test_what_one_of_them_does_not_have_is_found() -> None:
    truth = month(7)
    truth.away = []
    probe = probed(truth, phase=0.5)
    down = rows(probe, watched(truth, phase=1.5))
    sampled = samples(probe, truth, (1.0, 2.0))
    # Longer than what one change of either kind may hide.
    long = [row for row in down.intervals if row.length > dt.timedelta(seconds=120)]
    assert len(long) > 20
    for row in long:
        lacking = down - Spans((row,))
        first, last = (
            (moment - START).total_seconds() // HOUR_S for moment in (row.begin, row.end)
        )
        hours = range(int(first), int(last) + 1)
        assert any(
            compare(
                Interval(at(number * HOUR_S), at((number + 1) * HOUR_S)),
                lacking,
                sampled[number],
                interval_s=SAMPLE_S,
                lag_s=LAG_S,
            ).unexplained_s
            for number in hours
        ), row
