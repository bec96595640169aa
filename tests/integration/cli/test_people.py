"""Signing in from elsewhere, and administration from the command line, on a real portal."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import millwright.cli as command
import pytest
from click.testing import CliRunner, Result
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Membership, Project, User
from millwright.cli.client import login_file
from millwright.cli.errors import CliError

from tests.support.plant import Plant, build_plant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plant(transactional_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return build_plant()


def run(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(command.cli, list(words), **more)


def _log_in(url: str, user: User) -> None:
    _row, secret = issue_token(None, user, "shell")
    done = run("login", url, input=f"{secret}\n")
    assert done.exit_code == 0, done.output + str(done.exception)
    assert secret not in done.output


def test_login_keeps_a_token_that_works_where_nobody_else_reads_it(
    plant: Plant, live_server: Any
) -> None:
    _log_in(live_server.url, plant.administrator)
    assert login_file().stat().st_mode & 0o777 == 0o600
    assert "line-1" in run("project", "list").output
    login_file().chmod(0o644)
    assert "others may read" in str(run("project", "list").exception)
    login_file().chmod(0o600)
    assert "Forgotten" in run("logout").output
    assert not login_file().exists()
    assert "Nothing was kept" in run("logout").output


def test_a_wrong_token_and_an_open_road_are_refused(plant: Plant, live_server: Any) -> None:
    refused = run("login", live_server.url, input="mwt_nothing\n")
    assert isinstance(refused.exception, CliError)
    assert not login_file().exists()
    refused = run("login", "http://portal.plant.example", input="x\n")
    assert "https://" in str(refused.exception)


def test_projects_members_and_accounts(plant: Plant, live_server: Any) -> None:
    _log_in(live_server.url, plant.administrator)
    assert run("person", "create", "petra", "--name", "Petra Plant").exit_code == 0
    assert run("project", "create", "line-3", "Line 3").exit_code == 0
    assert run("project", "set", "line-3", "quota_vcpus=5", "decide_after=approve").exit_code == 0
    project = Project.objects.get(slug="line-3")
    assert (project.quota_vcpus, project.decide_after) == (5, "approve")
    assert "quota_vcpus" in str(run("project", "set", "line-3", "quota=5").exception)
    assert "1 to 3650" in str(run("project", "set", "line-3", "max_lease_days=0").exception)
    assert run("project", "add", "line-3", "petra", "engineer").exit_code == 0
    assert "petra" in run("project", "members", "line-3").output
    assert run("project", "remove", "line-3", "petra", "engineer").exit_code == 0
    assert not Membership.objects.filter(project=project).exists()
    assert "is not engineer" in str(run("project", "remove", "line-3", "petra", "engineer").exception)  # fmt: skip
    assert run("person", "close", "petra").exit_code == 0
    assert not User.objects.get(username="petra").is_active
    refused = run("person", "create", "petra")
    assert "is taken" in str(refused.exception)
    last = run("person", "close", "ada")
    assert "nobody would be left" in str(last.exception)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0, str(done.exception)
    assert "_MILLWRIGHT_COMPLETE" in done.output
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=done.output, text=True, check=False)
        assert checked.returncode == 0
