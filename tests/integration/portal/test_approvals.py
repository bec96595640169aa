"""Several alike as one request, granted with changes, decided in one go."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.alike import decide_alike
from millwright.environments.models import Environment, Request

from tests.support.plant import Plant, signed_in


def _form(plant: Plant, **changes: Any) -> dict[str, Any]:
    return plant.request_form(**{"name": "cell", "save": "submit", **changes})


def _roomy(plant: Plant) -> None:
    plant.project.quota_environments = plant.project.quota_vcpus = 40
    plant.project.quota_realtime_cores = 40
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 2**42
    plant.project.save()


def test_ten_alike_are_one_form_and_one_decision(plant: Plant) -> None:
    _roomy(plant)
    signed_in(plant.engineer).post(reverse("portal:request_new"), _form(plant, copies="10"))
    rows = Request.objects.filter(state="submitted")
    assert {row.name for row in rows} == {f"cell-{number}" for number in range(1, 11)}
    approver = signed_in(plant.approver)
    assert approver.get(reverse("portal:requests")).content.decode().count('name="pk"') == 10
    body = {"pk": [str(row.pk) for row in rows], "decision": "approve"}
    page = approver.post(reverse("portal:requests_decide"), body, follow=True)
    assert "10 requests decided." in page.content.decode()
    assert Environment.objects.count() == 10


def test_what_was_asked_for_together_is_one_line_one_page_and_one_approval(plant: Plant) -> None:
    _roomy(plant)
    signed_in(plant.engineer).post(reverse("portal:request_new"), _form(plant, copies="10"))
    approver = signed_in(plant.approver)
    home = approver.get(reverse("portal:home")).content.decode()
    assert "10 alike" in home and home.count("cell-") < 4, "one line for all of them"
    third = Request.objects.get(name="cell-3")
    shown = approver.get(reverse("portal:request", args=[third.pk])).content.decode()
    assert "Approve all 10" in shown and "20 / 40" in shown, "the quota after all of them"
    place = reverse("portal:request_decide", args=[third.pk])
    # Only one of them first: nine are left.
    approver.post(place, {"decision": "approve"})
    fourth = Request.objects.get(name="cell-4")
    decide_alike(plant.approver, fourth, approve=True, changes={"lease_days": 5})
    assert Environment.objects.count() == 10
    assert set(Request.objects.values_list("state", "lease_days").order_by()) == {
        ("approved", 30),
        ("approved", 5),
    }
    assert AuditEntry.objects.filter(action="request.approve").count() == 10


def test_one_that_cannot_be_granted_keeps_all_of_them_waiting(plant: Plant) -> None:
    _roomy(plant)
    signed_in(plant.engineer).post(reverse("portal:request_new"), _form(plant, copies="3"))
    taken = actions.create_request(plant.engineer, **plant.request_fields("other"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, taken))
    Environment.objects.update(name="cell-2")
    first = Request.objects.get(name="cell-1")
    approver = signed_in(plant.approver)
    page = reverse("portal:request", args=[first.pk])
    shown = approver.get(page).content.decode()
    assert "an environment &#x27;cell-2&#x27; exists by now" in shown, "told before it is tried"
    place = reverse("portal:request_decide", args=[first.pk])
    told = approver.post(place, {"decision": "approve_alike"}, follow=True).content.decode()
    assert "cell-2: an environment" in told
    assert Environment.objects.count() == 1
    assert Request.objects.filter(state="submitted").count() == 3
    told = approver.post(place, {"decision": "reject_alike"}, follow=True).content.decode()
    assert "say why" in told and Request.objects.filter(state="submitted").count() == 3
    approver.post(place, {"decision": "reject_alike", "reason": "not now"})
    assert Request.objects.filter(state="rejected", decision_reason="not now").count() == 3
    with pytest.raises(ValidationError, match="none of them waits"):
        decide_alike(plant.approver, first, approve=True)


def test_who_may_not_decide_one_decides_none_of_them(plant: Plant) -> None:
    _roomy(plant)
    signed_in(plant.engineer).post(reverse("portal:request_new"), _form(plant, copies="2"))
    row = Request.objects.get(name="cell-1")
    for person in (plant.engineer, plant.operator, plant.stranger):
        with pytest.raises((PermissionRefused, ValidationError)):
            decide_alike(person, row, approve=True)
    assert Request.objects.filter(state="submitted").count() == 2


def test_others_who_wait_for_the_same_quota_are_named(plant: Plant) -> None:
    _roomy(plant)
    for name in ("mixer", "press"):
        actions.submit_request(
            plant.engineer, actions.create_request(plant.engineer, **plant.request_fields(name))
        )
    row = Request.objects.get(name="press")
    text = signed_in(plant.approver).get(reverse("portal:request", args=[row.pk])).content.decode()
    assert "1 more wait for the quota of Line 1: mixer" in text


def test_several_alike_by_the_api(plant: Plant) -> None:
    _roomy(plant)
    erin = signed_in(plant.engineer)
    body = {
        "name": "cell", "project": "line-1", "template": "vplc", "size": "small", "cell": "line1",
        "copies": 3, "submit": True,
    }  # fmt: skip
    key = {"Idempotency-Key": "three-cells"}
    made = erin.post("/api/v1/requests/alike/", body, "application/json", headers=key)
    again = erin.post("/api/v1/requests/alike/", body, "application/json", headers=key)
    assert made.status_code == again.status_code == 201 and made.json() == again.json()
    assert [row["name"] for row in made.json()] == ["cell-1", "cell-2", "cell-3"]
    assert len({row["alike"] for row in made.json()}) == 1
    place = f"/api/v1/requests/{made.json()[0]['id']}/approve/"
    max_ = signed_in(plant.approver)
    assert max_.post(place, {"alike": True}, "application/json").json()["state"] == "approved"
    assert Environment.objects.count() == 3
    refused = erin.post("/api/v1/requests/alike/", {**body, "copies": 11}, "application/json")
    assert refused.json()["errors"][0]["field"] == "copies"


def test_home_shows_what_is_wrong_among_many_that_run(plant: Plant) -> None:
    names = [f"line-{number:03}" for number in range(80)]
    Environment.objects.bulk_create(
        Environment(name=name, project=plant.project, owner=plant.engineer, state="running")
        for name in names
    )
    Environment.objects.filter(name="line-079").update(state="degraded")
    Environment.objects.filter(name="line-078").update(state="failed")
    page = signed_in(plant.engineer).get(reverse("portal:home"))
    shown = [row.name for row in page.context["environments"]]
    assert shown[:3] == ["line-078", "line-079", "line-000"] and len(shown) == 50


def test_all_of_them_or_none(plant: Plant) -> None:
    """The project has room for two environments: three alike are refused before one is written."""
    answer = signed_in(plant.engineer).post(reverse("portal:request_new"), _form(plant, copies="3"))
    assert answer.status_code == 422
    assert "environments would be 3 of 2" in answer.content.decode()
    assert not Request.objects.exists()


@pytest.mark.parametrize("copies", [0, 11])
def test_the_number_has_bounds(plant: Plant, copies: int) -> None:
    with pytest.raises(ValidationError, match="1 to 10"):
        actions.request_copies(plant.engineer, copies, submit=False, **plant.request_fields())


def test_an_approver_grants_a_shorter_lease_and_the_trail_says_both(plant: Plant) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields(lease_days=300))
    request = actions.submit_request(plant.engineer, made)
    signed_in(plant.approver).post(
        reverse("portal:request_decide", args=[request.pk]),
        {"decision": "approve", "lease_days": "14", "size": "small"},
    )
    request.refresh_from_db()
    assert (request.state, request.lease_days) == ("approved", 14)
    environment = Environment.objects.get()
    assert environment.lease_until is not None
    assert (environment.lease_until - environment.created_at).days in (13, 14)
    entry = AuditEntry.objects.get(action="request.change")
    assert entry.details == {"lease_days": [300, 14]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lease_days": "9999"}, "9999 days: the project allows 1 to 365"),
        ({"lease_days": "soon"}, "0 days: the project allows 1 to 365"),
        ({"size": "huge"}, "&#x27;huge&#x27; is not a size of vplc"),
    ],
)
def test_what_cannot_be_granted_is_refused(plant: Plant, change: dict[str, str], told: str) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    request = actions.submit_request(plant.engineer, made)
    page = signed_in(plant.approver).post(
        reverse("portal:request_decide", args=[request.pk]),
        {"decision": "approve", **change},
        follow=True,
    )
    assert told in page.content.decode()
    request.refresh_from_db()
    assert (request.state, request.lease_days) == ("submitted", 30)
    assert not Environment.objects.exists()


def test_an_approver_does_not_change_what_is_the_requesters_to_say(plant: Plant) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    request = actions.submit_request(plant.engineer, made)
    with pytest.raises(ValidationError, match="cannot change this"):
        actions.approve_request(plant.approver, request, "", {"name": "other"})


def test_one_that_cannot_be_approved_does_not_stop_the_others(plant: Plant) -> None:
    """Each fits alone; the third exceeds the project's two."""
    rows = []
    for name in ("one", "two", "three"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        rows.append(actions.submit_request(plant.engineer, made))
    body = {"pk": [str(row.pk) for row in rows] + ["nonsense"], "decision": "approve"}
    page = signed_in(plant.approver).post(reverse("portal:requests_decide"), body, follow=True)
    text = page.content.decode()
    assert "2 requests decided." in text
    assert "environments would be 3 of 2" in text
    assert Environment.objects.count() == 2
