"""`millwright watch` on the portal's events: what is seen, in which form, and when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.nouns import watching
from millwright.environments import actions

from tests.integration.cli.test_people import _log_in, run
from tests.support.plant import Plant, build_plant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plant(transactional_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = build_plant()
    asked = actions.create_request(made.engineer, **made.request_fields())
    actions.approve_request(made.approver, actions.submit_request(made.engineer, asked))
    return made


def test_what_happened_is_told_line_by_line(plant: Plant, live_server: Any) -> None:
    _log_in(live_server.url, plant.engineer)
    said = run("watch", "--since", "0", "--for", "1")
    assert said.exit_code == 0, said.output
    assert "request filling-line-1: draft → submitted" in said.output
    assert "request filling-line-1: submitted → approved" in said.output
    rows = run(
        "watch", "--since", "0", "--for", "0", "--type", "request", "--format", "json"
    ).output
    found = [json.loads(line) for line in rows.splitlines()]
    assert [row["after"] for row in found] == ["submitted", "approved"]
    later = run("watch", "--since", str(found[0]["id"]), "--for", "0", "--format", "json").output
    assert found[0]["id"] not in {json.loads(line)["id"] for line in later.splitlines()}
    assert run("watch", "--since", "0", "--for", "0", "--name", "elsewhere").output == ""


def test_another_projects_events_are_nobodys(plant: Plant, live_server: Any) -> None:
    _log_in(live_server.url, plant.stranger)
    assert run("watch", "--since", "0", "--for", "0").output == ""


def test_it_ends_with_the_state_that_was_waited_for_or_says_that_it_never_came(
    plant: Plant, live_server: Any
) -> None:
    _log_in(live_server.url, plant.engineer)
    done = run("watch", "--since", "0", "--until", "submitted", "--for", "1")
    assert done.exit_code == 0 and "approved" not in done.output
    never = run("watch", "--since", "0", "--until", "running", "--for", "0")
    assert isinstance(never.exception, CliError) and "'running' was not reached" in str(
        never.exception
    )


def test_a_lost_connection_is_made_again_and_nothing_is_told_twice(
    plant: Plant, live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(live_server.url, plant.engineer)
    asked: list[dict[str, Any]] = []
    row = {"at": "2026-05-01T10:00:00+00:00", "subject_type": "host", "subject_name": "h1", "aspect": "health", "before": "up", "after": "down", "cause": ""}  # fmt: skip

    def broken(_api: Api, **query: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        asked.append(dict(query))
        yield 7, row
        if len(asked) == 1:
            raise ConnectionError("gone")
        yield 8, {**row, "before": "down", "after": "up"}

    monkeypatch.setattr(Api, "events", broken)
    monkeypatch.setattr(watching, "_WAIT_S", 0.0)
    said = run("watch", "--until", "up")
    assert said.output.count("up → down") == 1 and said.output.count("down → up") == 1
    assert asked == [{}, {"last_event_id": 7}]


def test_a_portal_that_stays_away_is_given_up(
    plant: Plant, live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(live_server.url, plant.engineer)
    monkeypatch.setattr(watching, "_WAIT_S", 0.0)
    live = Api.from_settings()
    gone = Api("http://127.0.0.1:9", "x")
    monkeypatch.setattr(Api, "from_settings", classmethod(lambda _cls: gone))
    assert "does not answer any more" in str(run("watch").exception)
    live.close()
