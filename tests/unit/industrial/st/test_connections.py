"""What program instances of a CONFIGURATION are connected with (IEC 61131-3 ed. 3, 2.7, table 62)."""

from __future__ import annotations

import pytest

from industrial.st import Compiled, Config, TaskConfig, compile_project
from tests.support.st_harness import plc


@pytest.fixture(params=["tcc", "gcc"])
def cc(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def said(made: Compiled) -> str:
    return "\n".join(row.render() for row in made.diagnostics)


ADDER = """
VAR_GLOBAL level : INT := 7; total : DINT; high : ARRAY[1..2] OF BOOL; END_VAR
PROGRAM Adder
VAR_INPUT x : INT; y : INT := 3; go : BOOL; END_VAR
VAR_OUTPUT sum : DINT; full : BOOL; END_VAR
VAR_IN_OUT count : INT; END_VAR
VAR n : DINT; END_VAR
n := n + 1;
sum := sum + x + y;
full := sum > 20;
count := count + 1;
level := level + 1;
END_PROGRAM
VAR_GLOBAL counted : INT; END_VAR
"""


def configured(*instances: str) -> str:
    rows = "\n".join(f"PROGRAM {row};" for row in instances)
    return (
        f"{ADDER}\nCONFIGURATION c\nRESOURCE r ON PLC\nTASK fast(INTERVAL := T#10ms, PRIORITY := 1);\n"
        f"TASK slow(INTERVAL := T#50ms, PRIORITY := 2);\n{rows}\nEND_RESOURCE\nEND_CONFIGURATION\n"
    )


def test_inputs_are_taken_before_each_run_and_outputs_given_after_it(cc: str) -> None:
    p = plc(
        configured(
            "A WITH fast : Adder(x := level, go := %IX0.0, sum => total, full => high[2], count := counted)",
            "B WITH fast : Adder(x := A.x, y := -2, full => %QX0.1, count := counted)",
        ),
        compiler=cc,
    )
    assert not p.scan()
    # The first raises the level for the next run only: an input is taken once.
    assert [p.get(path) for path in ("A.x", "A.sum", "total", "level")] == [7, 10, 10, 9]
    assert [p.get(path) for path in ("B.x", "B.y", "B.sum", "counted")] == [7, -2, 5, 2]
    assert not p.get("high[2]")
    assert not p.scan(2)
    assert [p.get(path) for path in ("A.n", "A.sum", "total", "high[2]")] == [3, 36, 36, True]
    assert [p.get(path) for path in ("B.sum", "B.full")] == [21, True]


def test_an_input_that_is_not_connected_keeps_what_it_has(cc: str) -> None:
    p = plc(configured("A WITH fast : Adder(x := 4, count := counted)"), compiler=cc)
    assert not p.scan(2)
    assert (p.get("A.y"), p.get("A.sum")) == (3, 14)


def test_instances_in_tasks_of_their_own(cc: str) -> None:
    p = plc(
        configured(
            "A WITH fast : Adder(x := 1, y := 0, count := counted)",
            "B WITH slow : Adder(x := A.x, y := 0, sum => total, count := counted)",
        ),
        compiler=cc,
    )
    p.scan(3, task=0)
    p.scan(task=1)
    assert (p.get("A.n"), p.get("B.n"), p.get("total")) == (3, 1, 1)


def test_symbols_name_instances_and_nothing_of_how_they_are_called() -> None:
    made = compile_project(
        {"a.st": configured("A WITH fast : Adder(x := 1, sum => total, count := counted)")}
    )
    assert made.ok, said(made)
    assert made.symbols["tasks"][0]["programs"] == ["A"]
    assert [row for row in made.symbols["instances"] if row["kind"] == "program"] == [
        {"path": "A", "type": "Adder", "kind": "program"}
    ]
    assert not [row for row in made.symbols["symbols"] if "connections" in row["path"]]


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        ("x := level + 1", "x := wants a constant or a variable"),
        ("x := SQRT(2.0)", "x := wants a constant or a variable"),
        ("sum => 3", "sum => wants a variable"),
        ("5", "needs the name of its input"),
        ("x := 1, x := 2", "x is connected twice"),
        ("x := nothing", "nothing is not declared"),
        ("nothing := 1", "Adder has no parameter nothing"),
        ("n := 3", "Adder has no parameter n"),
        ("x := TRUE", "INT expected, this is BOOL"),
        ("sum => level", "INT expected, this is DINT"),
        ("y => total", "y is VAR_INPUT"),
        ("sum := total", "sum is VAR_OUTPUT"),
        ("x := C.x", "C is not declared"),
    ],
)
def test_what_cannot_be_connected_is_told_at_its_place(connection: str, text: str) -> None:
    source = configured(f"A WITH fast : Adder({connection}, count := counted)")
    made = compile_project({"a.st": source})
    assert not made.ok
    line = next(n for n, text in enumerate(source.splitlines(), 1) if "PROGRAM A WITH" in text)
    assert [row.line for row in made.diagnostics] == [line]
    assert text in made.diagnostics[0].message


def test_names_are_told_once_and_not_shared() -> None:
    twice = compile_project(
        {"a.st": configured("A WITH fast : Adder(count := counted)", "a WITH fast : Adder")}
    )
    assert "program instance a is declared twice" in said(twice)
    other = "PROGRAM Other END_PROGRAM\n" + configured("Other WITH fast : Adder(count := counted)")
    assert "has the name of another program" in said(compile_project({"a.st": other}))
    inside = configured("A WITH fast : Adder(count := counted)").replace(
        "n := n + 1;", "n := A.sum;"
    )
    # A program does not see the instances of a configuration.
    assert "A is not declared" in said(compile_project({"a.st": inside}))


def test_a_projects_own_tasks_name_instances_or_are_warned() -> None:
    source = {"a.st": configured("A WITH fast : Adder(x := 5, count := counted)")}
    named = compile_project(source, Config(tasks=(TaskConfig("main", 10_000, programs=("A",)),)))
    assert named.ok, said(named)
    assert not named.diagnostics
    assert named.symbols["tasks"][0]["programs"] == ["A"]
    alone = compile_project(
        source, Config(tasks=(TaskConfig("main", 10_000, programs=("Adder",)),))
    )
    assert alone.ok
    assert "no task of the project runs it" in said(alone)
