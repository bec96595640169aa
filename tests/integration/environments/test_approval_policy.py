"""Approvals by policy: two people above a size, a decision in somebody's place, a decision by time."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from millwright.accounts import people
from millwright.accounts.models import Membership, Project, User
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Request
from millwright.orchestrator.rounds import undecided

from tests.support.plant import Plant


def _submitted(plant: Plant, name: str = "filling-line-1") -> Request:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    return actions.submit_request(plant.engineer, made)


def _set(plant: Plant, **fields: object) -> None:
    Project.objects.filter(pk=plant.project.pk).update(**fields)
    plant.project.refresh_from_db()


@pytest.fixture
def second(plant: Plant) -> User:
    user = User.objects.create_user("mia")
    Membership.objects.create(project=plant.project, user=user, role="approver")
    return user


def _fresh(user: User) -> User:
    """As the next request reads the person: without what was remembered of his rights."""
    return User.objects.get(pk=user.pk)


def test_above_a_size_two_people_must_agree(plant: Plant, second: User) -> None:
    _set(plant, second_approval_vcpus=1)
    request = _submitted(plant)
    request = actions.approve_request(plant.approver, request)
    assert (request.state, request.first_approval_by) == ("submitted", plant.approver)
    assert request.environment is None
    with pytest.raises(ValidationError, match="another approver must give the second"):
        actions.approve_request(plant.approver, request)
    assert not Request.objects.to_decide_by(plant.approver).exists()
    assert Request.objects.to_decide_by(second).get() == request
    request = actions.approve_request(second, request)
    assert (request.state, request.decided_by) == ("approved", second)
    assert request.environment is not None


def test_a_size_that_the_policy_does_not_mean_needs_one(plant: Plant) -> None:
    _set(plant, second_approval_vcpus=2)
    assert actions.approve_request(plant.approver, _submitted(plant)).state == "approved"


def test_other_terms_ask_the_first_approver_again(plant: Plant, second: User) -> None:
    _set(plant, second_approval_vcpus=1)
    request = actions.approve_request(plant.approver, _submitted(plant))
    request = actions.approve_request(second, request, "", {"lease_days": 7})
    assert (request.state, request.first_approval_by) == ("submitted", second)
    assert actions.approve_request(plant.approver, request).state == "approved"


def test_one_may_decide_in_anothers_place_for_a_time(plant: Plant) -> None:
    request = _submitted(plant)
    with pytest.raises(PermissionRefused):
        actions.approve_request(plant.stranger, request)
    row = people.delegate(plant.approver, plant.stranger, timezone.now() + dt.timedelta(days=2))
    stranger = _fresh(plant.stranger)
    assert Request.objects.for_user(stranger).filter(pk=request.pk).exists()
    assert Request.objects.to_decide_by(stranger).get() == request
    assert actions.approve_request(stranger, request).decided_by == stranger
    entry = AuditEntry.objects.filter(action="request.approve").latest("pk")
    assert entry.details == {"in_place_of": "max"}
    people.end_delegation(plant.approver, row)
    with pytest.raises(PermissionRefused):
        actions.approve_request(_fresh(plant.stranger), _submitted(plant, "second"))


def test_a_delegated_right_does_not_approve_its_own_holders_request(plant: Plant) -> None:
    Membership.objects.create(project=plant.project, user=plant.approver, role="engineer")
    made = actions.create_request(plant.approver, **plant.request_fields("mine"))
    request = actions.submit_request(plant.approver, made)
    people.delegate(plant.approver, plant.stranger, timezone.now() + dt.timedelta(days=2))
    with pytest.raises(ValidationError, match="requester's own right"):
        actions.approve_request(_fresh(plant.stranger), request)


@pytest.mark.parametrize(
    ("days", "words"), [(0, "within the next"), (-1, "within the next"), (400, "within the next")]
)
def test_a_delegation_has_an_end(plant: Plant, days: int, words: str) -> None:
    until = timezone.now() + dt.timedelta(days=days)
    with pytest.raises(ValidationError, match=words):
        people.delegate(plant.approver, plant.stranger, until)


def test_who_decides_nothing_has_nothing_to_hand_on(plant: Plant) -> None:
    with pytest.raises(PermissionRefused):
        people.delegate(plant.engineer, plant.stranger, timezone.now() + dt.timedelta(days=1))


@pytest.mark.parametrize(("verdict", "state"), [("approve", "approved"), ("reject", "rejected")])
def test_policy_decides_what_nobody_decided(plant: Plant, verdict: str, state: str) -> None:
    _set(plant, decide_after_days=3, decide_after=verdict)
    request = _submitted(plant)
    now = timezone.now()
    assert undecided(now + dt.timedelta(days=2, hours=23)) == 0
    assert undecided(now + dt.timedelta(days=3, minutes=1)) == 1
    request.refresh_from_db()
    assert (request.state, request.decided_by) == (state, None)
    assert "3 days" in request.decision_reason


def test_policy_leaves_to_people_what_has_no_room(plant: Plant) -> None:
    _set(plant, decide_after_days=1, decide_after="approve")
    request = _submitted(plant)
    _set(plant, quota_environments=0)
    assert undecided(timezone.now() + dt.timedelta(days=2)) == 0
    request.refresh_from_db()
    assert request.state == "submitted"
