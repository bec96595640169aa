"""What the lab says before it touches the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from millwright.lab import Lab, LabError, cli, groups, system
from millwright.lab.daemon import LIBVIRTD, QEMU


@pytest.fixture
def made(tmp_path: Path) -> Lab:
    """A lab that is written down, though nothing runs."""
    lab = Lab(tmp_path / "lab", tmp_path / "pki", 3, locks=tmp_path / "locks")
    lab.root.mkdir()
    (lab.root / "lab.json").write_text(json.dumps({"hosts": 2, "cpus": [0, 1]}))
    return lab


def test_without_root_it_says_so_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lab = Lab(tmp_path / "lab", tmp_path / "pki", 3, locks=tmp_path / "locks")
    with pytest.raises(LabError, match="needs root"):
        lab.up(2)
    assert list(tmp_path.iterdir()) == []
    lab.down()


def test_without_root_a_lab_is_not_forgotten(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root"):
        made.down()
    assert made.exists()


def test_hosts_go_by_name_short_name_and_number(made: Lab) -> None:
    assert {made.host(name).name for name in ("mw3-h2", "h2", "2")} == {"mw3-h2"}
    with pytest.raises(LabError, match=r"host = 'h3': one of mw3-h1, mw3-h2"):
        made.host("h3")


@pytest.mark.parametrize("verb", ["kill", "freeze", "cut", "restore"])
def test_without_a_lab_each_verb_says_how_to_start_one(tmp_path: Path, verb: str) -> None:
    lab = Lab(tmp_path / "lab", tmp_path / "pki", 3)
    with pytest.raises(LabError, match="start one with: millwright lab up"):
        getattr(lab, verb)("h1")


def test_a_damaged_file_is_named(made: Lab) -> None:
    (made.root / "lab.json").write_text("{")
    with pytest.raises(LabError, match=r"lab\.json: damaged"):
        made.plan()


@pytest.mark.parametrize("number", [0, 41])
def test_devices_have_numbers_that_fit_their_addresses(made: Lab, number: int) -> None:
    with pytest.raises(LabError, match=f"device = {number}: 1 to 40"):
        made.add_device(number)


def test_another_installations_lab_is_neither_taken_nor_removed(
    made: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def touched(*_words: str, **_more: object) -> None:
        raise AssertionError("the machine was touched")

    monkeypatch.setattr(system, "run", touched)
    monkeypatch.setattr(groups, "exist", touched)
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "mw3.lab.json").write_text(json.dumps({"root": str(made.root)}))
    other = Lab(tmp_path / "other", tmp_path / "pki2", 3, locks=locks)
    with pytest.raises(LabError, match=f"instance = 'mw3': its lab belongs to {made.root}"):
        other.up(2)
    said: list[str] = []
    other.down(said.append)
    assert said == [f"the lab of mw3 belongs to {made.root} and is left alone"]
    assert made.exists()
    # Only a lab that is written down belongs to somebody.
    (made.root / "lab.json").unlink()
    with pytest.raises(AssertionError, match="the machine was touched"):
        other.down()


def test_tools_that_are_missing_slow_or_wrong_are_lab_errors() -> None:
    with pytest.raises(LabError, match="no-such-tool: not installed"):
        system.run("no-such-tool")
    with pytest.raises(LabError, match="no answer within 0 s"):
        system.run("sleep", "60", timeout_s=0.05)
    with pytest.raises(LabError, match="sh -c echo no >&2; exit 3: no"):
        system.run("sh", "-c", "echo no >&2; exit 3")


def test_the_daemons_listen_on_tls_alone_for_the_orchestrator_alone() -> None:
    assert "listen_tls = 1" in LIBVIRTD
    assert "listen_tcp = 0" in LIBVIRTD
    assert 'tls_allowed_dn_list = ["CN={client}"]' in LIBVIRTD
    assert "default_tls_x509_verify = 1" in QEMU


def test_version_2_lends_each_controller_for_itself(tmp_path: Path) -> None:
    control = tmp_path / "cgroup.subtree_control"
    written: list[str] = []
    control.write_text("memory")
    (tmp_path / "cgroup.controllers").write_text("cpuset memory io")
    original = Path.write_text

    def note(self: Path, text: str, *args: object) -> int:
        written.append(text)
        return original(self, "memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", note)
        groups.lend(tmp_path, "cpuset", "memory", "pids", "io")
    assert written == ["+cpuset", "+io"]


def test_the_command_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch, made: Lab) -> None:
    monkeypatch.setattr(cli, "the_lab", lambda: made)
    runner = CliRunner()
    done = runner.invoke(cli.lab, ["freeze", "h9"])
    assert done.exit_code == 1
    assert "host = 'h9': one of mw3-h1, mw3-h2" in done.output
    assert runner.invoke(cli.lab, ["up", "--hosts", "9"]).exit_code == 2
    for verb in ("up", "down", "status", "kill", "freeze", "cut", "restore"):
        shown = runner.invoke(cli.lab, [verb, "--help"])
        assert f"millwright lab {verb}" in shown.output


def test_status_of_no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path / "lab", tmp_path / "pki", 3)
    monkeypatch.setattr(cli, "the_lab", lambda: lab)
    runner = CliRunner()
    assert json.loads(runner.invoke(cli.lab, ["status", "--format", "json"]).output) == {
        "up": False,
        "instance": "mw3",
        "hosts": [],
    }
    assert "there is no lab" in runner.invoke(cli.lab, ["status"]).output
