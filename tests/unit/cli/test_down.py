"""`millwright down` ends what is its own, and never another installation's lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from millwright.cli import down, place
from millwright.settings import Settings


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An installation without processes; which labs were ended."""
    settings = Settings(home=tmp_path / "home", cache_dir=tmp_path / "cache", instance="mw9")
    settings.home.mkdir()
    (tmp_path / "locks").mkdir()
    labs: list[str] = []
    monkeypatch.setattr(down, "get_settings", lambda: settings)
    monkeypatch.setattr(down, "_end_lab", lambda found: labs.append(found.instance))
    monkeypatch.setattr(down, "owner_of", lambda name: place.owner_of(name, tmp_path / "locks"))
    monkeypatch.setattr(
        "millwright.cli.up.machine.give_instance_back", lambda: labs.append("given back")
    )
    return labs


def test_its_own_lab_is_ended_and_its_number_given_back(ended: list[str], tmp_path: Path) -> None:
    (tmp_path / "locks/mw9.json").write_text(json.dumps({"owner": place.owner()}))
    result = CliRunner().invoke(down.down)
    assert result.exit_code == 0, result.output
    assert ended == ["mw9", "given back"]
    assert not (tmp_path / "home").exists()


def test_another_installations_lab_is_left_alone(ended: list[str], tmp_path: Path) -> None:
    (tmp_path / "locks/mw9.json").write_text(json.dumps({"owner": "/somebody/else"}))
    result = CliRunner().invoke(down.down)
    assert result.exit_code == 0, result.output
    assert ended == []
    assert "mw9 belongs to /somebody/else" in result.output


def test_a_number_that_nobody_holds_is_not_cleaned_without_a_lab_of_ours(ended: list[str]) -> None:
    assert CliRunner().invoke(down.down).exit_code == 0
    assert ended == []


def test_data_may_be_kept(ended: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(down.down, ["--keep-data"]).exit_code == 0
    assert (tmp_path / "home").exists()
