"""The fault campaign's comparison: it agrees with what is right, and says each thing that is not."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from tests.support.campaign import (
    Alert,
    Injection,
    LedgerRow,
    Reported,
    ReportLine,
    Tile,
    Wanted,
    compare,
    detection,
    differences,
    table,
)

START = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def at(second: float) -> dt.datetime:
    return START + dt.timedelta(seconds=second)


KILL = Injection(
    "guest killed",
    at(100),
    at(160),
    at(200),
    Wanted(
        tile="down",
        causes=frozenset({"unplanned"}),
        alerts={"EnvironmentDown": 60.0},
        may=frozenset({"VplcUnscraped"}),
        why="crashed",
    ),
)
DEVICE = Injection("device stopped", at(400), at(450), at(455), Wanted(alerts={"DeviceDown": 60.0}))
ROW = LedgerRow(at(100.4), at(204), "down", "unplanned", "seen on h1; crashed: killed")
LINE = ReportLine(at(100), at(204), "down", "unplanned", "seen on h1; crashed: killed")
TILES = [
    *(Tile(at(second), "up") for second in range(103)),
    *(Tile(at(second), "down") for second in range(103, 206)),
    *(Tile(at(second), "up") for second in range(206, 600)),
]
ALERTS = [
    Alert("EnvironmentDown", at(130), at(210)),
    Alert("VplcUnscraped", at(140), at(215), silent=True),
    Alert("DeviceDown", at(440), at(470)),
    Alert("Watchdog", at(0), at(600)),
]
RIGHT = Reported(TILES, ALERTS, [ROW], [LINE])


def what_differs(reported: Reported) -> list[tuple[str, str, str]]:
    found = differences(compare([KILL, DEVICE], reported))
    return [(row.injection, row.what, row.difference) for row in found]


def test_what_is_right_has_no_difference() -> None:
    findings = compare([KILL, DEVICE], RIGHT)
    assert differences(findings) == []
    # Each fault's tile, ledger and alert; the report where there is a row; and that there was nothing else.
    assert [(row.injection, row.what) for row in findings] == [
        ("guest killed", "tile"),
        ("guest killed", "ledger"),
        ("guest killed", "report"),
        ("guest killed", "alert"),
        ("device stopped", "tile"),
        ("device stopped", "ledger"),
        ("device stopped", "alert"),
        ("nothing", "all"),
    ]
    lines = table(findings).splitlines()
    assert len(lines) == 1 + len(findings)
    assert lines[0].startswith("fault")
    assert detection([KILL], RIGHT) == [
        ("guest killed", "tile down", 3.0),
        ("guest killed", "EnvironmentDown", 30.0),
        ("guest killed", "ledger's begin", 0.4),
    ]


def other(row: LedgerRow = ROW, line: ReportLine = LINE, **changes: object) -> Reported:
    return dataclasses.replace(
        RIGHT, rows=[dataclasses.replace(row, **changes)], report=[dataclasses.replace(line, **changes)]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reported", "differs"),
    [
        (
            dataclasses.replace(RIGHT, tiles=[Tile(at(second), "up") for second in range(600)]),
            ("guest killed", "tile", "never"),
        ),
        (
            dataclasses.replace(
                RIGHT,
                tiles=[Tile(at(s), "down" if 115 < s < 206 else "up") for s in range(600)],
            ),
            ("guest killed", "tile", "16.0 s"),
        ),
        (
            dataclasses.replace(
                RIGHT, tiles=[*TILES[:420], Tile(at(420), "missing"), *TILES[421:]]
            ),
            ("device stopped", "tile", "it showed missing"),
        ),
        (
            dataclasses.replace(RIGHT, tiles=[*TILES[:300], Tile(at(300), "down"), *TILES[301:]]),
            ("nothing", "tile", "uncalled for"),
        ),
        (dataclasses.replace(RIGHT, rows=[]), ("guest killed", "ledger", "0 rows, not one")),
        (other(cause="unknown"), ("guest killed", "ledger", "cause unknown")),
        (other(kind="missing"), ("guest killed", "ledger", "kind missing")),
        (other(begin=at(102.5)), ("guest killed", "ledger", "begins +2.5 s off")),
        (other(end=None), ("guest killed", "ledger", "still open")),
        (other(end=at(290)), ("guest killed", "ledger", "ends +90.0 s after it was well")),
        (other(why="seen on h1"), ("guest killed", "ledger", "not for “crashed”")),
        (
            dataclasses.replace(
                RIGHT, rows=[ROW, dataclasses.replace(ROW, begin=at(410), end=at(420))]
            ),
            ("device stopped", "ledger", "a row without an interruption"),
        ),
        (
            dataclasses.replace(
                RIGHT, rows=[ROW, dataclasses.replace(ROW, begin=at(300), end=at(310))]
            ),
            ("nothing", "ledger", "uncalled for"),
        ),
        (dataclasses.replace(RIGHT, report=[]), ("guest killed", "report", "not in the report")),
        (
            dataclasses.replace(RIGHT, report=[dataclasses.replace(LINE, cause="planned")]),
            ("guest killed", "report", "down, planned"),
        ),
        (
            dataclasses.replace(RIGHT, report=[dataclasses.replace(LINE, end=at(190))]),
            ("guest killed", "report", "ends 12:03:10.0"),
        ),
        (
            dataclasses.replace(RIGHT, alerts=ALERTS[1:]),
            ("guest killed", "alert", "it did not fire"),
        ),
        (
            dataclasses.replace(
                RIGHT, alerts=[dataclasses.replace(ALERTS[0], begin=at(170)), *ALERTS[1:]]
            ),
            ("guest killed", "alert", "70 s"),
        ),
        (
            dataclasses.replace(
                RIGHT, alerts=[dataclasses.replace(ALERTS[0], silent=True), *ALERTS[1:]]
            ),
            ("guest killed", "alert", "was kept silent"),
        ),
        (
            dataclasses.replace(RIGHT, alerts=[*ALERTS, Alert("HostDown", at(120), at(130))]),
            ("nothing", "alert", "uncalled for"),
        ),
        (
            dataclasses.replace(RIGHT, alerts=[*ALERTS, Alert("VplcUnscraped", at(420), at(430))]),
            ("nothing", "alert", "uncalled for"),
        ),
    ],
)
def test_each_thing_that_is_not_right_is_said(
    reported: Reported, differs: tuple[str, str, str]
) -> None:
    assert differs in what_differs(reported)


def test_what_was_to_be_silent_and_was_told_is_said() -> None:
    silent = dataclasses.replace(KILL.wanted, silenced=frozenset({"EnvironmentDown"}))
    one = dataclasses.replace(KILL, wanted=silent)
    (found,) = differences(compare([one, DEVICE], RIGHT))
    assert (found.what, found.difference) == ("alert", "was told to people")
