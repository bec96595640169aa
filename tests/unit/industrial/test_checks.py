"""Settings of a project that break a rule: told by check, build and pack with file, line, field, value and rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.runtime.checks import line_of, settings_errors

MANIFEST = """format = 1
name = "p"
version = "1"
[[task]]
name = "main"
interval_us = 10000
programs = ["Main"]
"""
SOURCE = "PROGRAM Main\nVAR a AT %IW0 : INT; END_VAR\n;\nEND_PROGRAM\n"
POINT = '[[point]]\ntag = "Main.a"\narea = "holding"\naddress = 1\n'


@pytest.mark.parametrize(
    ("file", "text", "line", "words"),
    [
        ("vplc.toml", MANIFEST + "[modbus]\nport = 1502\nidle_s = 0\n", 10, "modbus.idle_s = 0: 1 to 86400"),
        ("vplc.toml", MANIFEST + "[modbus]\nport = 70000\n", 9, "modbus.port = 70000: 0 to 65535"),
        ("vplc.toml", MANIFEST + "[modbus]\n\nidle = 5\n", 10, "modbus.idle: not known"),
        ("vplc.toml", MANIFEST + "[opcua]\ncolour = 1\n", 9, "opcua.colour is not known"),
        ("vplc.toml", MANIFEST + "[opcua.machine]\nmodel = 'x'\nyear_of_construction = 24\n", 10, "year_of_construction = 24: 1900"),
        ("vplc.toml", MANIFEST + "[start]\nmode = 'tepid'\n", 9, "start.mode = 'tepid': one of cold"),
        ("vplc.toml", "modbus = 3\n" + MANIFEST, 1, "modbus = 3: a table"),
        ("security.toml", "[modbus]\n[[modbus.client]]\ncidr = '10.0.0.1'\n[[modbus.client]]\nname = 'b'\ncidr = 'x'\n", 6, "modbus.client[2].cidr = 'x'"),
        ("security.toml", "[[opcua.user]]\nname = 'u'\nrole = 'king'\n", 3, "opcua.user[1].role = 'king': one of"),
        ("security.toml", "[opcua\n", 1, "Expected ']'"),
        ("io/d.toml", "protocol = 'telepathy'\naddress = 'h:1'\n" + POINT, 1, "protocol = 'telepathy'"),
        ("io/d.toml", "protocol = 'modbus_tcp'\naddress = 'h:1'\n" + POINT.replace("Main.a", "Main.b"), 4, "the program has no such variable"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_told_with_its_line(
    file: str, text: str, line: int, words: str
) -> None:
    files = {"vplc.toml": MANIFEST, "src/main.st": SOURCE, file: text}
    symbols = [{"path": "Main.a", "area": "I", "offset": 0, "type": "INT", "bit": None}]
    (found,) = settings_errors(files, symbols)
    assert words in found.message
    assert (found.file, found.line) == (file, line), found.render()


def test_a_field_of_a_later_table_is_found_there_and_one_that_is_missing_at_its_table() -> None:
    text = (
        "[a]\nx = 1\n[[b]]\nx = 2\n[[b.c]]\ny = 1\n[[b]]\nx = 3\n[[b.c]]\ny = 2\n[[b.c]]\ny = 3\n"
    )
    assert [line_of(text, field) for field in ("a.x", "b[2].x", "b[2].c[2].y", "b[1].c.y", "a.gone", "gone")] == [
        2, 8, 12, 6, 1, 1,
    ]  # fmt: skip


def test_every_verb_refuses_a_project_whose_settings_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.st").write_text(SOURCE)
    (tmp_path / "vplc.toml").write_text(MANIFEST + "[modbus]\nconnections = 0\n")
    (tmp_path / "security.toml").write_text("[[opcua.user]]\nname = 'u'\nrole = 'king'\n")
    run = CliRunner().invoke
    words = (
        "vplc.toml:9:1: error: modbus.connections = 0: 1 to 1000",
        "security.toml:3:1: error: opcua.user[1].role",
    )
    for verb in (
        ["check", str(tmp_path)],
        ["build", str(tmp_path), "--output", str(tmp_path / "out")],
        ["pack", str(tmp_path), "--out", str(tmp_path / "p.bundle")],
    ):  # fmt: skip
        done = run(main, verb)
        assert done.exit_code == 1, verb
        for word in words:
            assert word in done.output, (verb, done.output)
    assert not (tmp_path / "p.bundle").exists()
    rows = [json.loads(line) for line in run(main, ["check", str(tmp_path), "--format", "json"]).output.splitlines()]  # fmt: skip
    assert [row["file"] for row in rows if row["kind"] == "settings"] == ["vplc.toml", "security.toml"]  # fmt: skip
    assert rows[-1]["errors"][0]["line"] == 3
    report = json.loads(run(main, ["build", str(tmp_path), "--output", str(tmp_path / "out"), "--format", "json"]).output)  # fmt: skip
    assert not report["ok"]
    assert {row["code"] for row in report["diagnostics"]} == {"settings"}
    (tmp_path / "vplc.toml").write_text(MANIFEST)
    (tmp_path / "security.toml").unlink()
    assert run(main, ["check", str(tmp_path)]).exit_code == 0
