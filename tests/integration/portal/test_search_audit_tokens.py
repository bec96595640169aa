"""Ctrl-K's answers, the audit trail's filters and table, one's own tokens and browsers."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from millwright.accounts.actions import make_login_link
from millwright.accounts.models import ApiToken
from millwright.audit.actions import record
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Environment
from millwright.portal.views.search import find_everywhere
from millwright.portal.words import ACTIONS, WORDS
from rest_framework.test import APIClient

from tests.support.plant import Plant


def _client(user: Any, **headers: str) -> Client:
    made = Client(headers=headers)
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def _built(plant: Plant) -> Environment:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    return Environment.objects.get()


def test_search_finds_what_one_may_see_and_nothing_else(plant: Plant) -> None:
    _built(plant)
    names = {(hit.kind, hit.name) for hit in find_everywhere(plant.operator, "filling")}
    assert names == {("Environment", "filling-line-1"), ("Request", "filling-line-1")}
    assert ("Host", "mw0-h1") in {(h.kind, h.name) for h in find_everywhere(plant.operator, "mw0")}
    assert find_everywhere(plant.engineer, "mw0") == []
    assert find_everywhere(plant.stranger, "filling") == []
    assert find_everywhere(plant.operator, "f") == []


def test_the_dialog_gets_the_hits_alone(plant: Plant) -> None:
    _built(plant)
    url = f"{reverse('portal:search')}?q=filling"
    part = _client(plant.engineer, **{"hx-request": "true"}).get(url).content.decode()
    whole = _client(plant.engineer).get(url).content.decode()
    assert "/environments/filling-line-1/" in part
    assert "/environments/filling-line-1/" in whole
    assert "<html" not in part
    assert "<html" in whole


def test_who_stopped_this_machine_is_one_search(plant: Plant) -> None:
    environment = _built(plant)
    record(plant.operator, "environment.stop", environment, project=plant.project, reason="noise")
    record(plant.operator, "environment.start", environment, project=plant.project)
    found = AuditEntry.objects.search("stop filling-line-1")
    assert [(row.actor_name, row.reason) for row in found] == [("oda", "noise")]
    page = _client(plant.administrator).get(
        reverse("portal:audit"), {"q": "stop filling-line-1", "type": "environment"}
    )
    assert "stopped environment" in page.content.decode()
    assert "started environment" not in page.content.decode()


def test_days_are_whole_days_of_the_plant(plant: Plant) -> None:
    _built(plant)
    today = f"{timezone.localdate():%F}"
    caller = _client(plant.administrator)
    url = reverse("portal:audit")
    assert "wrote request" in caller.get(url, {"from": today, "to": today}).content.decode()
    assert "Nothing found" in caller.get(url, {"to": "2001-01-01"}).content.decode()
    assert caller.get(url, {"from": "2026-02-31", "to": "x"}).status_code == 200


def test_the_table_holds_what_the_page_shows_and_no_formula(plant: Plant) -> None:
    environment = _built(plant)
    record(plant.engineer, "environment.stop", environment, reason="=HYPERLINK(1)")
    answer = _client(plant.administrator).get(reverse("portal:audit_export"), {"q": "stop"})
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [(row["action"], row["reason"]) for row in rows] == [
        ("environment.stop", "'=HYPERLINK(1)")
    ]
    assert AuditEntry.objects.filter(action="audit.export", actor=plant.administrator).count() == 1
    stranger = _client(plant.stranger).get(reverse("portal:audit_export"))
    assert b"filling" not in b"".join(stranger.streaming_content)


def test_a_token_is_shown_once_works_and_ends(plant: Plant) -> None:
    caller = _client(plant.engineer)
    url = reverse("portal:tokens")
    made = caller.post(url, {"name": "script", "scope": "read", "days": "7"})
    secret = made.context["secret"]
    assert secret in made.content.decode()
    assert secret not in caller.get(url).content.decode()
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert api.get("/api/v1/requests/").status_code == 200
    caller.post(reverse("portal:token_revoke", args=[ApiToken.objects.get().pk]))
    assert api.get("/api/v1/requests/").status_code == 401


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "name:"),
        ({"scope": "root"}, "scope:"),
        ({"days": "36500"}, "days:"),
    ],
)
def test_a_token_out_of_bounds_is_refused_with_the_rule(
    plant: Plant, change: dict[str, str], told: str
) -> None:
    body = {"name": "script", "scope": "read", "days": "7", **change}
    answer = _client(plant.engineer).post(reverse("portal:tokens"), body)
    assert answer.status_code == 422
    assert told in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_discovery_tokens_are_for_those_who_keep_the_pool(plant: Plant) -> None:
    body = {"name": "prometheus", "scope": "discovery", "days": "365"}
    assert _client(plant.engineer).post(reverse("portal:tokens"), body).status_code == 403
    assert _client(plant.operator).post(reverse("portal:tokens"), body).status_code == 200


def test_a_browser_that_is_signed_in_is_listed_and_can_be_sent_away(plant: Plant) -> None:
    callers = []
    for agent in ("first-browser", "second-browser"):
        caller = Client(headers={"user-agent": agent})
        _, secret = make_login_link(None, plant.engineer)
        caller.post(reverse("portal:enter", args=[secret]))
        callers.append(caller)
    page = callers[0].get(reverse("usersessions_list")).content.decode()
    assert "first-browser" in page
    assert "second-browser" in page
    callers[0].post(reverse("usersessions_list"))
    assert callers[0].get(reverse("portal:home")).status_code == 200
    assert callers[1].get(reverse("portal:home")).status_code == 302


def test_every_code_that_actions_write_has_its_word(plant: Plant) -> None:
    """A new action or kind without a word would show its code on a page."""
    import re
    from pathlib import Path

    import millwright
    from millwright.core.lifecycle import HostAdministration, OperationKind

    written: set[str] = set()
    for path in Path(millwright.__file__).parent.rglob("*.py"):
        written |= set(re.findall(r'record\(\s*[\w.]+,\s*"([a-z_]+\.[a-z_]+)"', path.read_text()))
    assert "request.approve" in written
    assert written <= set(ACTIONS)
    assert {f"host.{wanted}" for wanted in HostAdministration} <= set(ACTIONS)
    assert set(OperationKind) <= set(WORDS)
