"""A fault campaign's comparison: what was done to the plant against what the product said of it. Pure.

An injection has its exact times and what is to be said of it: the tile of the wall, the row of the ledger, alerts,
the line of the report. `compare` puts each beside what was reported; what was reported and not injected is a
difference too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ZERO = dt.timedelta()


def seconds(value: float) -> dt.timedelta:
    return dt.timedelta(seconds=value)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be reported of a fault.

    Attributes:
        tile: state of the wall's tile; "up": it must not change.
        tile_s: within so many seconds of the injection.
        causes: the ledger's row bears one of these; empty: there must be no row.
        begin_s: the row's begin lies so far from the injection at most, neither earlier nor later.
        alerts: alert → seconds until it fires.
        silenced: alerts that must be told to nobody, because something larger was said.
        may: alerts that may fire beside, silenced or not.
        why: the row's and the report's words must hold this.
    """

    tile: str = "up"
    tile_s: float = 10.0
    causes: frozenset[str] = frozenset()
    begin_s: float = 1.0
    alerts: dict[str, float] = field(default_factory=dict)
    silenced: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Injection:
    """`begin`: done; `end`: undone; `well`: everything answered again, as seen by the one who injected."""

    name: str
    begin: dt.datetime
    end: dt.datetime
    well: dt.datetime
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Tile:
    """What the wall showed at a moment; None: the portal did not answer."""

    at: dt.datetime
    state: str | None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as Alertmanager had it: from first to last look that found it. `silent`: at the last look."""

    name: str
    begin: dt.datetime
    end: dt.datetime
    silent: bool = False


@dataclass(frozen=True, slots=True)
class LedgerRow:
    begin: dt.datetime
    end: dt.datetime | None
    kind: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class ReportLine:
    """An interruption as the monthly report has it; its moments are whole seconds."""

    begin: dt.datetime
    end: dt.datetime | None
    kind: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class Reported:
    tiles: Sequence[Tile]
    alerts: Sequence[Alert]
    rows: Sequence[LedgerRow]
    report: Sequence[ReportLine]


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the comparison; an empty `difference` is agreement."""

    injection: str
    what: str
    injected: str
    reported: str
    difference: str = ""


#: After all is well again: looks, probes and alerts follow by so much.
SETTLE = seconds(60)
#: Alerts that say something at all times, or look at the whole of the time and not at a moment.
ALWAYS = frozenset({"Watchdog"})


def compare(injections: Sequence[Injection], reported: Reported) -> list[Finding]:
    """Each injection against what was reported, in order; at the end what nobody injected."""
    found: list[Finding] = []
    for injection in injections:
        found += [
            _tile(injection, reported.tiles),
            *_row(injection, reported),
            *_alerts(injection, reported.alerts),
        ]
    return [*found, *_uncalled(injections, reported)]


def differences(findings: Iterable[Finding]) -> list[Finding]:
    return [row for row in findings if row.difference]


def table(findings: Sequence[Finding]) -> str:
    """Injected | reported | differences, in columns."""
    head = ("fault", "what", "injected", "reported", "difference")
    rows = [
        head,
        *(
            (row.injection, row.what, row.injected, row.reported, row.difference)
            for row in findings
        ),
    ]
    widths = [min(60, max(len(row[number]) for row in rows)) for number in range(len(head))]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def detection(injections: Sequence[Injection], reported: Reported) -> list[tuple[str, str, float]]:
    """Fault, what, and seconds from the injection to it: tile, alerts, and how far the ledger's begin is off."""
    found = []
    for one in injections:
        if one.wanted.tile != "up":
            at = _first_tile(one, reported.tiles)
            if at is not None:
                found.append(
                    (one.name, f"tile {one.wanted.tile}", (at - one.begin).total_seconds())
                )
        for name in one.wanted.alerts:
            alert = _first_alert(one, name, reported.alerts)
            if alert is not None:
                found.append((one.name, name, (alert.begin - one.begin).total_seconds()))
        for row in _rows_of(one, reported.rows) if one.wanted.causes else ():
            found.append((one.name, "ledger's begin", (row.begin - one.begin).total_seconds()))
    return found


# --- parts ------------------------------------------------------------------------------------------


def _clock(at: dt.datetime | None) -> str:
    return "still" if at is None else f"{at.astimezone(dt.UTC):%H:%M:%S.%f}"[:-5]


def _first_tile(one: Injection, tiles: Sequence[Tile]) -> dt.datetime | None:
    return next(
        (
            tile.at
            for tile in tiles
            if one.begin <= tile.at <= one.well and tile.state == one.wanted.tile
        ),
        None,
    )


def _tile(one: Injection, tiles: Sequence[Tile]) -> Finding:
    shown = [tile for tile in tiles if one.begin <= tile.at <= one.well and tile.state is not None]
    states = list(dict.fromkeys(str(tile.state) for tile in shown))
    said = ", ".join(states) or "nothing"
    if one.wanted.tile == "up":
        wrong = [state for state in states if state != "up"]
        return Finding(
            one.name, "tile", "stays up", said, f"it showed {', '.join(wrong)}" if wrong else ""
        )
    injected = f"{one.wanted.tile} within {one.wanted.tile_s:g} s"
    at = _first_tile(one, tiles)
    if at is None:
        return Finding(one.name, "tile", injected, said, "never")
    took = (at - one.begin).total_seconds()
    late = f"{took:.1f} s" if took > one.wanted.tile_s else ""
    return Finding(one.name, "tile", injected, f"{one.wanted.tile} after {took:.1f} s", late)


def _overlaps(
    begin: dt.datetime, end: dt.datetime | None, one: Injection, early: dt.timedelta
) -> bool:
    return (
        begin <= one.well
        and (end is None or end > one.begin - early)
        and begin >= one.begin - early
    )


def _rows_of(one: Injection, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    return [row for row in rows if _overlaps(row.begin, row.end, one, seconds(15))]


def _row(one: Injection, reported: Reported) -> list[Finding]:
    rows = _rows_of(one, reported.rows)
    said = "; ".join(
        f"{_clock(row.begin)} to {_clock(row.end)} {row.kind} {row.cause} ({row.why})"
        for row in rows
    )
    if not one.wanted.causes:
        wrong = "a row without an interruption" if rows else ""
        return [Finding(one.name, "ledger", "no row", said or "none", wrong)]
    injected = (
        f"{_clock(one.begin)} to {_clock(one.well)} down, {' or '.join(sorted(one.wanted.causes))}"
    )
    if len(rows) != 1:
        return [Finding(one.name, "ledger", injected, said or "none", f"{len(rows)} rows, not one")]
    row = rows[0]
    wrong = []
    if row.kind != "down":
        wrong.append(f"kind {row.kind}")
    if row.cause not in one.wanted.causes:
        wrong.append(f"cause {row.cause}")
    off = (row.begin - one.begin).total_seconds()
    if abs(off) > one.wanted.begin_s:
        wrong.append(f"begins {off:+.1f} s off")
    if row.end is None:
        wrong.append("still open")
    elif not one.end - SETTLE <= row.end <= one.well + SETTLE or row.end < one.begin:
        wrong.append(f"ends {(row.end - one.well).total_seconds():+.1f} s after it was well")
    if one.wanted.why not in row.why:
        wrong.append(f"not for “{one.wanted.why}”")
    return [
        Finding(one.name, "ledger", injected, said, "; ".join(wrong)),
        _report(one, row, reported.report),
    ]


def _report(one: Injection, row: LedgerRow, lines: Sequence[ReportLine]) -> Finding:
    """The report has the ledger's row, to the second, with its cause and words."""

    def same(a: dt.datetime | None, b: dt.datetime | None) -> bool:
        return (a is None) == (b is None) and (a is None or b is None or abs(a - b) <= seconds(1))

    injected = f"{_clock(row.begin)} to {_clock(row.end)}, {row.cause}"
    near = [line for line in lines if same(line.begin, row.begin)]
    if not near:
        return Finding(one.name, "report", injected, "no line", "not in the report")
    line = near[0]
    wrong = []
    if not same(line.end, row.end):
        wrong.append(f"ends {_clock(line.end)}")
    if (line.kind, line.cause) != (row.kind, row.cause):
        wrong.append(f"{line.kind}, {line.cause}")
    if row.why not in line.why:
        wrong.append("other words")
    said = f"{_clock(line.begin)} to {_clock(line.end)}, {line.cause} ({line.why})"
    return Finding(one.name, "report", injected, said, "; ".join(wrong))


def _within(one: Injection, alert: Alert) -> bool:
    return one.begin <= alert.begin <= one.well + SETTLE


def _first_alert(one: Injection, name: str, alerts: Sequence[Alert]) -> Alert | None:
    named = [row for row in alerts if row.name == name and _within(one, row)]
    return min(named, key=lambda row: row.begin, default=None)


def _alerts(one: Injection, alerts: Sequence[Alert]) -> list[Finding]:
    found = []
    for name, limit_s in one.wanted.alerts.items():
        injected = f"{name} within {limit_s:g} s"
        alert = _first_alert(one, name, alerts)
        if alert is None:
            found.append(Finding(one.name, "alert", injected, "never", "it did not fire"))
            continue
        took = (alert.begin - one.begin).total_seconds()
        wrong = [f"{took:.0f} s"] if took > limit_s else []
        if name in one.wanted.silenced and not alert.silent:
            wrong.append("was told to people")
        if name not in one.wanted.silenced and alert.silent:
            wrong.append("was kept silent")
        said = f"after {took:.1f} s{', kept silent' if alert.silent else ''}"
        found.append(Finding(one.name, "alert", injected, said, "; ".join(wrong)))
    return found


def _uncalled(injections: Sequence[Injection], reported: Reported) -> list[Finding]:
    """Tiles, rows and alerts that belong to no injection."""
    found = []
    for tile in reported.tiles:
        calm = not any(one.begin <= tile.at <= one.well + SETTLE for one in injections)
        if calm and tile.state not in (None, "up"):
            found.append(
                Finding(
                    "nothing", "tile", "up", f"{tile.state} at {_clock(tile.at)}", "uncalled for"
                )
            )
            break
    for row in reported.rows:
        if not any(row in _rows_of(one, reported.rows) for one in injections):
            said = f"{_clock(row.begin)} to {_clock(row.end)} {row.kind} {row.cause} ({row.why})"
            found.append(Finding("nothing", "ledger", "no row", said, "uncalled for"))
    for alert in reported.alerts:
        called = any(
            _within(one, alert) and alert.name in {*one.wanted.alerts, *one.wanted.may}
            for one in injections
        )
        if not called and alert.name not in ALWAYS:
            said = f"{alert.name} from {_clock(alert.begin)} to {_clock(alert.end)}"
            found.append(Finding("nothing", "alert", "none", said, "uncalled for"))
    if not found:
        found.append(Finding("nothing", "all", "nothing", "nothing"))
    return found
