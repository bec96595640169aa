"""The doctor's verdicts, on a machine made up for it."""

import json
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner
from millwright.cli import doctor
from millwright.settings import Settings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache_dir=tmp_path / "cache", instance="mw9")


def _of(findings: list[doctor.Finding], check: str) -> doctor.Finding:
    return next(finding for finding in findings if finding.check == check)


def test_a_missing_program_names_its_package_and_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor.shutil,
        "which",
        lambda name, path=None: None if name == "mmdebstrap" else f"/usr/bin/{name}",
    )
    found = _of(doctor.examine(settings), "mmdebstrap")
    assert found.verdict == "wrong"
    assert "building template images" in found.detail
    assert found.mend == "sudo apt-get install mmdebstrap"
    assert _of(doctor.examine(settings), "gcc").verdict == "ok"


def test_a_full_disk_and_little_memory_are_wrong(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage(1, 1, 2**30))
    monkeypatch.setattr(
        doctor.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}[name]
    )
    findings = doctor.examine(settings)
    assert _of(findings, "disk (state)").verdict == "wrong"
    assert "1.0 GiB free" in _of(findings, "disk (cache)").detail
    assert _of(findings, "memory").detail == "1.0 GiB"


def test_a_port_in_use_is_named_with_its_purpose(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = Settings(
            home=settings.home, cache_dir=settings.cache_dir, instance="mw9", portal_port=port
        )
        found = _of(doctor.examine(busy), "ports")
    assert found.verdict == "wrong"
    assert f"{port} (portal)" in found.detail


def test_one_cpu_is_a_note_only(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _pid: {0})
    assert _of(doctor.examine(settings), "cpus").verdict == "note"


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("note", 0), ("wrong", 1)])
def test_only_what_is_wrong_fails_the_command(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = doctor.Finding("x", verdict, "detail", "mend")  # type: ignore[arg-type]  # parametrized
    monkeypatch.setattr(doctor, "examine", lambda _settings: [finding])
    result = CliRunner().invoke(doctor.doctor, ["--format", "json"])
    assert result.exit_code == code
    assert json.loads(result.output) == [
        {"check": "x", "verdict": verdict, "detail": "detail", "mend": "mend"}
    ]
