"""What a program may know of an input beside its value: whether it is good, and how old it is."""

from __future__ import annotations

import pytest

from industrial.simulation import Machine, SimulationError, load_machine, parse_scenario
from industrial.st import Config, Folder, compile_project

SOURCE = """
PROGRAM Main
VAR
    level AT %IW0 : INT; start AT %IX6.1 : BOOL; row AT %IW10 : ARRAY[1..4] OF INT; raw AT %ID10 : DINT;
    i : INT := 2;
    good : BOOL; age : TIME; start_good : BOOL; word_good : BOOL; one_good : BOOL; bit_good : BOOL; all_good : BOOL;
END_VAR
good := INPUT_GOOD(level); age := INPUT_AGE(level);
start_good := INPUT_GOOD(start);
word_good := INPUT_GOOD(%IW3);
one_good := INPUT_GOOD(row[i]);
all_good := INPUT_GOOD(row);
bit_good := INPUT_GOOD(level.3);
END_PROGRAM
"""


@pytest.fixture
def machine():
    scenario = parse_scenario({"program": "Main", "interval_us": 10_000, "steps": []})
    with load_machine(Folder(sources={"m.st": SOURCE}), scenario) as made:
        yield made


def test_inputs_of_a_quiet_world_are_good_and_of_this_scan(machine: Machine) -> None:
    machine.scan(3)
    names = ("good", "start_good", "word_good", "one_good", "all_good", "bit_good")
    assert [machine.get(f"Main.{name}") for name in names] == [True] * 6
    assert machine.get("Main.age") == 0


def test_a_silent_device_turns_its_inputs_bad_and_their_age_grows(machine: Machine) -> None:
    machine.scan(3)
    machine.silence("Main.level")
    machine.scan(5)
    assert machine.get("Main.good") is False
    assert machine.get("Main.bit_good") is False
    assert machine.get("Main.start_good") is True
    assert machine.get("Main.age") == 50
    machine.silence("Main.level", False)
    machine.scan()
    assert machine.get("Main.good") is True
    assert machine.get("Main.age") == 0


def test_an_array_is_good_when_all_of_it_is(machine: Machine) -> None:
    machine.silence("Main.row[4]")
    machine.scan()
    assert machine.get("Main.one_good") is True
    assert machine.get("Main.all_good") is False
    machine.silence("Main.row[2]")
    machine.scan()
    assert machine.get("Main.one_good") is False


def test_what_never_answered_is_as_old_as_can_be(machine: Machine) -> None:
    machine.silence("Main.level")
    machine.silence("%IB1")
    machine.scan()
    assert machine.get("Main.age") == 2**32 - 1


def test_only_inputs_have_a_quality(machine: Machine) -> None:
    with pytest.raises(SimulationError, match="not an input"):
        machine.silence("Main.i")
    for argument in ("i", "1 + 1", "%QW0", "out"):
        source = f"PROGRAM Main VAR i : INT; out AT %QW1 : INT; b : BOOL; END_VAR\nb := INPUT_GOOD({argument});\nEND_PROGRAM\n"
        found = compile_project({"m.st": source}, Config("p", "1"))
        assert not found.ok
        assert any(row.line == 2 for row in found.diagnostics), argument
