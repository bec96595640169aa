"""A project folder: its manifest's rules, what it is made of, and what differs between two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.st import StError, compile_folder, load_folder, load_paths, read_folder
from industrial.st.describe import describe, diff

MANIFEST = """format = 1
name = "line"
version = "2"
dialect = "iec"
sources = ["src/*.st"]

[[task]]
name = "fast"
interval_us = 10000
programs = ["Main"]
"""
MAIN = "PROGRAM Main VAR q AT %QX0.1 : BOOL; (* the lamp *) n : INT; END_VAR VAR RETAIN k : DINT; END_VAR q := NOT q; n := n + 1; END_PROGRAM"


def test_a_folder_is_compiled_with_its_tasks() -> None:
    compiled = compile_folder({"vplc.toml": MANIFEST, "src/main.st": MAIN, "notes.st": "rubbish"})
    assert compiled.ok, compiled.diagnostics
    assert compiled.symbols["program"] == "line"
    assert [task["name"] for task in compiled.symbols["tasks"]] == ["fast"]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"iec"', '"pascal"', 4, "dialect = 'pascal': one of iec, codesys23"),
        ("format = 1", "format = 2", 1, "format = 2"),
        ("10000", "10", 9, "task[1].interval_us = 10: a whole number, 100 to"),
        ("10000", '"fast"', 9, "task[1].interval_us = 'fast'"),
        ("interval_us = 10000\n", "", 7, "task[1].interval_us is missing"),
        ('programs = ["Main"]', "programs = 3", 10, "task[1].programs = 3: a list"),
        ('programs = ["Main"]', "programs = []", 7, "task[1].programs is empty"),
        ("interval_us", "intervall_us", 9, "task[1].intervall_us is not known"),
        ('"src/*.st"', '"scr/*.st"', 5, "sources: no file of the project is scr/*.st"),
        ("name = ", "name == ", 2, "Invalid value"),
        ('version = "2"', "version = 2", 3, "version = 2: a text"),
    ],
)
def test_a_manifest_that_breaks_a_rule(old: str, new: str, line: int, words: str) -> None:
    folder = load_folder({"vplc.toml": MANIFEST.replace(old, new, 1), "src/main.st": MAIN})
    assert not folder.ok
    found = folder.diagnostics[0]
    assert words in found.message
    assert (found.file, found.line) == ("vplc.toml", line)
    assert "^" in found.render()


def test_what_is_not_known_at_the_top_is_a_warning_with_the_nearest_name() -> None:
    folder = load_folder({"vplc.toml": "taks = 1\n" + MANIFEST, "src/main.st": MAIN})
    assert folder.ok
    assert folder.diagnostics[0].hint == "did you mean task?"


def test_two_tasks_of_one_name() -> None:
    twice = MANIFEST + '[[task]]\nname = "FAST"\ninterval_us = 1000\nprograms = ["Main"]\n'
    folder = load_folder({"vplc.toml": twice, "src/main.st": MAIN})
    assert "another task has it" in folder.diagnostics[0].message


def write(folder: Path, main_text: str = MAIN) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "state").mkdir()
    (folder / "vplc.toml").write_text(MANIFEST)
    (folder / "src" / "main.st").write_text(main_text)
    (folder / "state" / "old.st").write_text("rubbish")
    return folder


def test_the_state_of_a_project_is_not_read(tmp_path: Path) -> None:
    assert sorted(read_folder(write(tmp_path / "p"))) == ["src/main.st", "vplc.toml"]
    with pytest.raises(StError, match="no such folder"):
        read_folder(tmp_path / "missing")


def test_paths_are_a_project_or_sources(tmp_path: Path) -> None:
    project = write(tmp_path / "p")
    assert load_paths([project]).config.name == "line"
    loose = load_paths([project / "src"], with_files=[], dialect="codesys23")
    assert loose.config.dialect == "codesys23"
    assert [Path(path).name for path in loose.sources] == ["main.st"]


def test_describe() -> None:
    report = describe(load_folder({"vplc.toml": MANIFEST, "src/main.st": MAIN}))
    assert report["ok"]
    assert report["pous"] == [{"pou": "Main", "kind": "PROGRAM"}]
    assert report["located"] == [
        {
            "path": "Main.q",
            "type": "BOOL",
            "address": "%QX0.1",
            "comment": "the lamp",
            "driven": True,
        }
    ]
    assert (report["retain_bytes"], report["variables"]) == (4, 3)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("(* the lamp *)", "", {"same": True, "online": True}),
        ("n + 1", "n + 2", {"same": False, "online": True, "changed": ["Main"]}),
        ("n : INT", "n : DINT", {"online": False, "reasons": ["Main.n was INT, is DINT"]}),
        ("n : INT", "n : INT; m : INT", {"online": True, "changed": ["Main"]}),
        ("%QX0.1", "%QX0.2", {"same": False, "online": True}),
        ("END_PROGRAM", "END_PROGRAM FUNCTION f : INT END_FUNCTION", {"added": ["f"]}),
    ],
)
def test_diff(old: str, new: str, expected: dict[str, object]) -> None:
    one = load_folder({"vplc.toml": MANIFEST, "src/main.st": MAIN})
    two = load_folder({"vplc.toml": MANIFEST, "src/main.st": MAIN.replace(old, new)})
    report = diff(one, two)
    assert {key: report[key] for key in expected} == expected


def test_the_commands(tmp_path: Path) -> None:
    project = str(write(tmp_path / "p"))
    other = str(write(tmp_path / "q", MAIN.replace("n : INT", "n : DINT; m : BOOL")))
    run = CliRunner().invoke
    told = run(main, ["describe", project])
    assert told.exit_code == 0
    assert "task fast: every 10000 us" in told.output
    assert json.loads(run(main, ["describe", project, "--format", "json"]).output)["ok"]
    assert run(main, ["diff", project, project]).output == "nothing changed\n"
    told = run(main, ["diff", project, other])
    assert told.exit_code == 1
    assert "needs a restart: Main.n was INT, is DINT" in told.output
    assert "+ variable Main.m" in told.output


def test_check_gives_one_line_for_each_pou_and_type(tmp_path: Path) -> None:
    source = "TYPE T : (A, B); END_TYPE\nFUNCTION f : INT f := x; END_FUNCTION\nPROGRAM Main VAR t : T; END_VAR t := A; END_PROGRAM\n"
    (tmp_path / "a.st").write_text(source)
    told = CliRunner().invoke(main, ["check", str(tmp_path), "--format", "json"])
    assert told.exit_code == 1
    rows = {row["pou"]: row for row in map(json.loads, told.output.splitlines())}
    assert {name: (row["kind"], row["ok"]) for name, row in rows.items()} == {
        "T": ("TYPE", True),
        "f": ("FUNCTION", False),
        "Main": ("PROGRAM", True),
    }
    (error,) = rows["f"]["errors"]
    assert (error["line"], error["column"], error["code"]) == (2, 23, "undeclared")
    assert error["file"] == str(tmp_path / "a.st")
    assert error["message"] == "x is not declared"
