"""Several alike as one request, granted with changes, decided in one go."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from millwright.audit.models import AuditEntry
from millwright.environments import actions
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
