"""Every verb of `vplc`: it is there with its help, and what it prints as JSON says which format it is."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from industrial.cli import main
from tests.support.vplc import until

SOURCE = """PROGRAM Main
VAR n AT %QW0 : INT; m : INT; END_VAR
n := n + 1;
END_PROGRAM
"""
MANIFEST = (
    'format = 1\nname = "p"\nversion = "1"\n'
    '[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
)
SUITE = "tests:\n- name: counts\n  steps:\n  - scan: 3\n  - expect: {Main.n: 3}\n"
VERBS = [
    "bench",
    "build",
    "check",
    "ctl",
    "describe",
    "diff",
    "force",
    "monitor",
    "pack",
    "record",
    "replay",
    "run",
    "simulate",
    "status",
    "test",
    "trace",
    "trust",
]
ORDERS = ["run", "stop", "step", "reload", "cold", "change", "rollback", "active", "standby"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that `vplc run` runs."""
    folder = tmp_path_factory.mktemp("verbs") / "p"
    for name, text in (("src/main.st", SOURCE), ("vplc.toml", MANIFEST), ("tests/t.yaml", SUITE)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "industrial.cli",
        "run",
        str(folder),
        "--compiler",
        "tcc",
        "--format",
        "json",
    ]
    for port in ("modbus", "opcua", "metrics"):
        command += [f"--{port}", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["format"] == 1
        assert first["ports"]["modbus"] > 0
        yield folder
        process.terminate()
        process.communicate(timeout=60)


def told(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, (words, done.output)
    return done.output


def test_every_verb_is_there_and_explains_itself() -> None:
    listed = told("--help")
    for verb in VERBS:
        assert f"\n  {verb} " in listed
        assert told(verb, "--help").startswith(f"Usage: main {verb} ")
    orders = told("ctl", "--help")
    assert all(order in orders for order in ORDERS)
    for group, verbs in (("force", ("set", "clear")), ("trust", ("list", "add", "remove", "token", "password"))):  # fmt: skip
        for verb in verbs:
            assert told(group, verb, "--help").startswith(f"Usage: main {group} {verb} ")


def test_what_is_told_of_a_project_says_its_format(running: Path, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"program": "Main", "steps": [{"scan": 2}, {"get": "Main.n"}]}')  # fmt: skip
    shown = {
        "build": told("build", running, "--output", tmp_path / "out", "--format", "json"),
        "describe": told("describe", running, "--format", "json"),
        "diff": told("diff", running, running, "--format", "json"),
        "pack": told("pack", running, "--out", tmp_path / "p.bundle", "--compiler", "tcc"),
        "bench": told("bench", running, "--seconds", "0.5", "--compiler", "tcc"),
        "test": told("test", running, "--format", "json"),
        "simulate": told("simulate", running, "--scenario", tmp_path / "s.json"),
        "trust": told("trust", "list", "--project", running, "--format", "json"),
    }
    for verb, text in shown.items():
        assert json.loads(text)["format"] == 1, verb
    assert json.loads(shown["simulate"])["trace"][0]["values"] == {"Main.n": 2}
    # The lines of `check` have the keys that are promised, and no others.
    (row,) = [json.loads(line) for line in told("check", running, "--format", "json").splitlines()]
    assert list(row) == ["pou", "kind", "file", "ok", "errors"]


def test_what_is_told_of_a_running_controller_says_its_format(running: Path, tmp_path: Path) -> None:  # fmt: skip
    def shown(*words: str | Path) -> dict[str, Any]:
        rows = [json.loads(line) for line in told(*words, "--project", running).splitlines()]
        assert all(row["format"] == 1 for row in rows), words
        return dict(rows[-1])

    until(lambda: shown("monitor", "Main.n")["values"]["Main.n"] > 0, "scans")
    assert shown("status", "--format", "json")["state"] == "run"
    assert shown("force", "set", "Main.m=7")["forced"] == {"Main.m": 7}
    assert shown("force", "clear", "--all")["forced"] == {}
    assert json.loads(told("force", "--project", running)) == {"format": 1, "forced": {}}
    table = list(csv.reader(io.StringIO(told("trace", "Main.n", "--scans", "3", "--project", running))))  # fmt: skip
    assert table[0] == ["scan", "time_us", "Main.n"]
    assert len(table) == 4
    assert shown("trace", "Main.n", "--scans", "3", "--format", "json")["values"]["Main.n"] > 0
    token = shown("trust", "token", "--format", "json")["token"]
    assert len(token) > 20
    hashed = json.loads(told("trust", "password", "--password", "long enough a secret", "--format", "json"))  # fmt: skip
    assert (hashed["format"], hashed["hash"] != "") == (1, True)
    assert shown("record", "--scans", "20", "--out", tmp_path / "r.json")["scans"] == 20
    repeated = json.loads(told("replay", tmp_path / "r.json", running))
    assert (repeated["format"], repeated["identical"]) == (1, True)
    states = {"stop": "stop", "step": "stop", "run": "run", "standby": "run", "active": "run"}
    for order, state in states.items():
        assert shown("ctl", order)["state"] == state
    (running / "src/main.st").write_text(SOURCE.replace("n + 1", "n + 2"))
    assert shown("ctl", "change", "--no-optimise")["how"] == "online"
    (running / "src/main.st").write_text(SOURCE)
    assert shown("ctl", "rollback")["how"] == "online"
    for order in ("reload", "cold"):
        assert shown("ctl", order)["ok"] is True
