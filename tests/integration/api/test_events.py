"""The event stream: what changes reaches those who may see it, once, in order, and after a lost connection too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from millwright.accounts.actions import issue_token, revoke_token
from millwright.api import events
from millwright.environments import actions
from millwright.environments.models import Request, StateTransition
from rest_framework.test import APIClient

from tests.support.plant import Plant


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between looks, and none of another test's keys."""
    monkeypatch.setattr(events, "POLL_S", 0.0)
    monkeypatch.setattr(events, "_newest", events._Newest())


def _client(user: Any, scope: str = "write") -> APIClient:
    _, secret = issue_token(None, user, "test", scope=scope)
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


def _read(caller: APIClient, **query: Any) -> list[dict[str, Any]]:
    answer = caller.get("/api/v1/events", {"seconds": 0, **query})
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "text/event-stream"

    async def collect() -> str:
        return "".join([part.decode() async for part in answer.streaming_content])

    rows = []
    for block in async_to_sync(collect)().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "data" in fields:
            rows.append({"id": int(fields["id"]), **json.loads(fields["data"])})
    return rows


def _submitted(plant: Plant, name: str = "filling-line-1") -> Request:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    return actions.submit_request(plant.engineer, made)


def test_a_reader_resumes_after_what_it_had(plant: Plant) -> None:
    request = _submitted(plant)
    erin = _client(plant.engineer)
    (first,) = _read(erin, last_event_id=0)
    assert (first["subject_type"], first["subject_name"], first["after"]) == (
        "request",
        "filling-line-1",
        "submitted",
    )
    actions.approve_request(plant.approver, request)
    later = _read(erin, last_event_id=first["id"])
    assert [(row["subject_type"], row["after"]) for row in later] == [("request", "approved")]
    assert _read(erin, last_event_id=later[-1]["id"]) == []
    assert _read(erin) == []


def test_the_header_of_browsers_outweighs_the_parameter(plant: Plant) -> None:
    _submitted(plant)
    newest = StateTransition.objects.order_by("-pk").first()
    assert newest is not None
    answer = _client(plant.engineer).get(
        "/api/v1/events",
        {"seconds": 0, "last_event_id": 0},
        HTTP_LAST_EVENT_ID=str(newest.pk),
    )

    async def collect() -> str:
        return "".join([part.decode() async for part in answer.streaming_content])

    assert "event: transition" not in async_to_sync(collect)()


def test_each_sees_the_subjects_that_are_his_to_see(plant: Plant) -> None:
    _submitted(plant)
    host = plant.hosts[0]
    StateTransition.objects.create(
        at=timezone.now(),
        subject_type="host",
        subject_id=str(host.pk),
        subject_name=host.name,
        before="up",
        after="down",
    )
    kinds = {
        who: {row["subject_type"] for row in _read(_client(getattr(plant, who)), last_event_id=0)}
        for who in ("engineer", "approver", "operator", "administrator", "stranger")
    }
    assert kinds == {
        "engineer": {"request"},
        "approver": {"request"},
        "operator": {"request", "host"},
        "administrator": {"request", "host"},
        "stranger": set(),
    }
    rows = _read(_client(plant.operator), last_event_id=0, subject_type="host")
    assert [row["subject_name"] for row in rows] == [host.name]


def test_a_late_commit_is_not_lost(plant: Plant) -> None:
    """A transaction may commit after one with a higher key."""
    request = _submitted(plant)
    newest = StateTransition.objects.order_by("-pk").first()
    assert newest is not None
    reader = events.Reader(plant.engineer, None, "", None)

    def write(pk: int) -> None:
        StateTransition.objects.create(
            pk=pk,
            at=timezone.now(),
            subject_type="request",
            subject_id=str(request.pk),
            subject_name=request.name,
            after=f"number-{pk - newest.pk}",
        )

    write(newest.pk + 2)
    assert "number-2" in "".join(reader.news())
    write(newest.pk + 1)
    assert "number-1" in "".join(reader.news())
    assert reader.news() == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"subject_type": "planet"}, "subject_type"),
        ({"seconds": "many"}, "seconds"),
        ({"last_event_id": "-1"}, "last_event_id"),
    ],
)
def test_what_is_wrong_is_named(plant: Plant, query: dict[str, str], field: str) -> None:
    answer = _client(plant.engineer).get("/api/v1/events", query)
    assert answer.status_code == 400
    assert json.loads(answer.content)["errors"][0]["field"] == field


def test_without_a_token_there_is_no_stream(plant: Plant) -> None:
    assert APIClient().get("/api/v1/events").status_code == 401
    assert _client(plant.operator, "discovery").get("/api/v1/events").status_code == 403


def test_a_revoked_token_or_person_ends_the_stream(plant: Plant) -> None:
    token, _ = issue_token(None, plant.engineer, "test")
    reader = events.Reader(plant.engineer, token, "", None)
    assert reader.still_allowed()
    revoke_token(plant.engineer, token)
    assert not reader.still_allowed()
    other = events.Reader(plant.approver, None, "", None)
    type(plant.approver).objects.filter(pk=plant.approver.pk).update(is_active=False)
    assert not other.still_allowed()


def test_one_person_keeps_a_bounded_number_of_streams(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(events._open, plant.engineer.pk, events.MAX_STREAMS)
    answer = _client(plant.engineer).get("/api/v1/events")
    assert answer.status_code == 429
    assert "event streams are open" in answer.content.decode()


def test_an_idle_look_costs_one_query_for_all_readers(
    plant: Plant, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submitted(plant)
    readers = [events.Reader(plant.engineer, None, "", None) for _ in range(5)]
    monkeypatch.setattr(events, "POLL_S", 60.0)
    events._newest._read_at = -1e9
    with django_assert_num_queries(1):
        assert [reader.news() for reader in readers] == [[]] * 5
