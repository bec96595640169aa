"""Clocks in virtual time: 49.7 days, 2038, a wall clock that is set, a machine that stands still."""

from __future__ import annotations

from dataclasses import replace

import pytest

from industrial.simulation import Machine, load_machine, parse_scenario
from industrial.st import Folder

SOURCE = """
PROGRAM Main
VAR
    run : BOOL; t : TON; late : TON_LTIME; puls : TP; n : ULINT; first : BOOL; trusted : BOOL; paused : BOOL; live : BOOL;
    wall : LDT; day : DATE; firsts : INT; pauses : INT; now : TIME; lnow : LTIME; edges : INT; was : BOOL;
END_VAR
n := n + 1;
t(IN := run, PT := T#10s);
late(IN := run, PT := LTIME#10s);
puls(IN := NOT puls.Q, PT := T#10s);
IF puls.Q AND NOT was THEN edges := edges + 1; END_IF;
was := puls.Q;
first := FIRST_SCAN(); trusted := CLOCK_TRUSTED(); paused := MACHINE_PAUSED(); live := INPUTS_LIVE();
wall := WALL_CLOCK();
day := LDT_TO_DATE(wall);
now := TIME(); lnow := LTIME();
IF first THEN firsts := firsts + 1; END_IF;
IF paused THEN pauses := pauses + 1; END_IF;
END_PROGRAM
"""


def machine(*, wall_start_s: float = 1_767_225_600.0) -> Machine:
    scenario = parse_scenario({"program": "Main", "interval_us": 1_000_000, "steps": []})
    scenario = replace(scenario, wall_start_s=wall_start_s)
    return load_machine(Folder(sources={"m.st": SOURCE}), scenario)


def test_timers_measure_right_across_forty_nine_point_seven_days() -> None:
    with machine() as made:
        made.scan()
        assert made.get("Main.first") is True
        # Milliseconds in 32 bits end at 4,294,967,296: four seconds before it.
        wrap = 2**32 * 1000
        made.advance(wrap - 4_000_000 - made.now_us, scans=False)
        made.scan()
        before = made.get("Main.now")
        made.set("Main.run", True)
        made.scan()
        began = made.now_us
        edges = made.get("Main.edges")
        made.advance(9_000_000)
        assert made.now_us > wrap
        assert made.get("Main.now") < before, "TIME has come round"
        assert made.get("Main.lnow") == made.now_us * 1000
        assert made.get("Main.t.Q") is False
        assert made.get("Main.late.Q") is False
        made.advance(1_000_000)
        assert made.now_us - began == 10_000_000
        assert made.get("Main.t.Q") is True, "ten seconds, neither sooner nor later"
        assert made.get("Main.late.Q") is True
        made.advance(40_000_000)
        assert 3 <= made.get("Main.edges") - edges <= 6, "pulses go on"
        assert made.get("Main.first") is False
        assert made.get("Main.firsts") == 1


@pytest.mark.parametrize("second", [2**31, 2**32])
def test_the_wall_clock_passes_2038_and_2106(second: int) -> None:
    with machine(wall_start_s=second - 2.0) as made:
        made.set("Main.run", True)
        for n in range(20):
            made.scan()
            assert made.get("Main.t.Q") is (n >= 10)
        wall = made.get("Main.wall")
        assert wall == (second - 2) * 10**9 + made.now_us * 1000
        assert made.get("Main.day") == second // 86_400 * 86_400


def test_a_clock_that_was_set_is_not_trusted_for_ten_seconds_and_moves_no_timer() -> None:
    with machine() as made:
        made.stand_still(0)
        made.set("Main.run", True)
        made.scan()
        assert made.get("Main.trusted") is True
        made.advance(5_000_000)
        made.stand_still(0, wall_step_s=-3600.0)
        made.scan()
        assert made.get("Main.trusted") is False
        assert made.get("Main.t.Q") is False
        made.advance(4_000_000)
        assert made.get("Main.t.Q") is True, "timers know nothing of the wall"
        made.advance(10_000_000)
        made.stand_still(0)
        made.scan()
        assert made.get("Main.trusted") is True
        assert made.get("Main.pauses") == 0


def test_a_machine_that_stood_still_is_told_to_the_next_scan_alone() -> None:
    with machine() as made:
        made.scan(5)
        assert made.get("Main.live") is True
        made.stand_still(3_600_000_000)
        made.scan()
        assert made.get("Main.paused") is True
        made.scan(3)
        assert made.get("Main.paused") is False
        assert made.get("Main.pauses") == 1
