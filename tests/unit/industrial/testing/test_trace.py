"""What a rehearsal's chart is drawn from."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from industrial.cli.test import test as vplc_test
from industrial.testing.trace import MOST_ROWS, MOST_TAGS, Trace, worth_tracing

EXAMPLE = Path(__file__).parents[4] / "examples/filling_line"


def test_a_long_test_is_thinned_and_stays_whole() -> None:
    trace = Trace(["a"])
    scans = MOST_ROWS * 9
    for number in range(scans):
        trace.note(number * 10, lambda _tag, value=number: value)
    assert MOST_ROWS / 2 <= len(trace.time_us) <= MOST_ROWS
    assert trace.time_us[0] == 0
    steps = {b - a for a, b in zip(trace.time_us, trace.time_us[1:], strict=False)}
    assert len(steps) == 1, "rows are equally far apart"
    assert trace.time_us[-1] >= scans * 10 - max(steps)
    assert trace.values == [[time / 10 for time in trace.time_us]]


def test_it_chooses_the_plant_first_then_what_is_located() -> None:
    symbols = [
        {"path": "Main.t", "type": "TON"},
        {"path": "Main.hidden", "type": "INT"},
        {"path": "Main.level", "type": "UINT", "located": "%QW0"},
        {"path": "Main.fixed", "type": "UINT", "constant": True},
    ]
    assert worth_tracing(symbols, ["tank"]) == ("tank", "Main.level", "Main.hidden")
    many = [{"path": f"Main.v{n}", "type": "INT"} for n in range(40)]
    assert len(worth_tracing(many, [])) == MOST_TAGS


def test_the_command_reports_what_was_asked_for() -> None:
    done = CliRunner().invoke(
        vplc_test, [str(EXAMPLE), "--trace", "Main.level", "--trace", "level", "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    trace = json.loads(done.output)["suites"][0]["tests"][0]["trace"]
    assert set(trace["values"]) == {"Main.level", "level"}
    # The sensor's number is the plant's level of the scan before, in hundredths of a percent.
    assert max(trace["values"]["Main.level"]) > 7900
    assert len(trace["time_us"]) == len(trace["values"]["level"])
