"""`millwright plant`: the plant as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from millwright.accounts.models import Membership
from millwright.cli.errors import CliError
from millwright.cli.nouns.plant import plant, read_plant
from millwright.inventory.models import Cell
from millwright.settings import get_settings

PLANT = """
site: Bottling
cells:
  - {slug: line9, cidr: 10.60.9.0/24, bridge: mwc-line9, gateway_address: 10.60.9.2,
     first_address: 10.60.9.100, last_address: 10.60.9.199}
users: [{username: ada9, plant_role: administrator}, {username: scraper9, service: true}]
projects: [{slug: line-9, name: Line 9, members: {ada9: approver}}]
tokens: [{user: scraper9, name: discovery, scope: discovery, file: scraper9.token}]
"""


def apply(text: str, *options: str) -> list[str]:
    done = CliRunner().invoke(
        plant, ["apply", *options, "-"], input=text, standalone_mode=False, catch_exceptions=False
    )
    return json.loads(done.output)["changes"]


@pytest.mark.django_db
def test_a_check_says_and_does_nothing_and_a_second_run_finds_nothing() -> None:
    said = apply(PLANT, "--check")
    assert "cell line9" in said and "token scraper9.token" in said
    assert not Cell.objects.filter(slug="line9").exists()
    assert apply(PLANT) == said
    assert Membership.objects.get(project__slug="line-9").user.username == "ada9"
    token = get_settings().secrets_dir / "scraper9.token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert "10.60.9.0/24" in json.loads((get_settings().run_dir / "cells.json").read_text())
    assert apply(PLANT) == []


@pytest.mark.django_db
def test_a_changed_cell_is_a_change() -> None:
    apply(PLANT)
    assert apply(PLANT.replace("10.60.9.199", "10.60.9.150")) == ["cell line9"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sites: x", "sites = 'x'"),
        ("cells: [{slug: a}]", "cells.0.cidr"),
        ("tokens: [{user: a, name: b, file: ../x}]", "tokens.0.file = '../x'"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_field_and_value(text: str, words: str) -> None:
    with pytest.raises(CliError, match=r".*") as refused:
        read_plant(text)
    assert words in str(refused.value)


def test_certificates_are_issued_once_and_renewed_on_demand(tmp_path: Path) -> None:
    def issue(*options: str) -> list[str]:
        done = CliRunner().invoke(
            plant,
            [
                "certificate",
                "server1",
                "--folder",
                str(tmp_path),
                "--address",
                "10.0.0.1",
                *options,
            ],
            standalone_mode=False,
            catch_exceptions=False,
        )
        return json.loads(done.output)["changes"]

    assert issue() == ["server1"]
    assert issue() == []
    assert issue("--renew") == ["server1"]
