"""Accounts: made with a temporary password, closed at once, never the last administrator."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from millwright.accounts import people
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Project, User
from millwright.audit.models import AuditEntry

from tests.support.plant import Plant


def _sign_in(name: str, password: str) -> Client:
    caller = Client()
    caller.post(reverse("account_login"), {"login": name, "password": password})
    return caller


def test_a_temporary_password_leads_to_an_own_one_before_anything_else(plant: Plant) -> None:
    user, password = people.create_person(plant.administrator, "newcomer", full_name="Nora New")
    caller = _sign_in("newcomer", password)
    answer = caller.get(reverse("portal:home"))
    assert answer.status_code == 302
    assert answer["Location"] == reverse("account_change_password")
    refused = caller.get("/api/v1/requests/")
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
    own = "an own and long password"
    caller.post(
        reverse("account_change_password"),
        {"oldpassword": password, "password1": own, "password2": own},
    )
    assert caller.get(reverse("portal:home")).status_code == 200
    user.refresh_from_db()
    assert not user.password_is_temporary
    assert AuditEntry.objects.filter(action="user.password_changed", actor=user).exists()
    assert password not in str(list(AuditEntry.objects.values_list("details", flat=True)))


def test_a_closed_account_is_out_at_once(plant: Plant) -> None:
    _user, password = people.create_person(plant.administrator, "leaver")
    user = User.objects.get(username="leaver")
    User.objects.filter(pk=user.pk).update(password_is_temporary=False)
    caller = _sign_in("leaver", password)
    assert caller.get(reverse("portal:home")).status_code == 200
    token, _secret = issue_token(None, user, "script")
    people.update_person(plant.administrator, user, is_active=False)
    assert caller.get(reverse("portal:home")).status_code == 302
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert _sign_in("leaver", password).get(reverse("portal:home")).status_code == 302


def test_the_last_administrator_stays(plant: Plant) -> None:
    for change in ({"plant_role": ""}, {"is_active": False}):
        with pytest.raises(ValidationError, match="nobody would be left"):
            people.update_person(plant.administrator, plant.administrator, **change)
    people.create_person(plant.administrator, "second", plant_role="administrator")
    people.update_person(plant.administrator, plant.administrator, plant_role="")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"username": "X"}, "begin with a letter"),
        ({"username": "erin"}, "is taken"),
        ({"username": "new", "plant_role": "boss"}, "the roles are"),
        ({"username": "new", "email": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_account_names_the_rule(plant: Plant, fields: dict[str, str], words: str) -> None:
    before = User.objects.count()
    with pytest.raises(ValidationError, match=words):
        people.create_person(plant.administrator, **fields)
    assert User.objects.count() == before


def test_an_emergency_entry_is_shouted(plant: Plant) -> None:
    _user, password = people.create_person(plant.administrator, "emergency")
    user = User.objects.get(username="emergency")
    people.update_person(plant.administrator, user, is_break_glass=True)
    _sign_in("emergency", password)
    for person, told in ((plant.operator, True), (plant.engineer, False)):
        caller = Client()
        caller.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        page = caller.get(reverse("portal:home")).content.decode()
        assert ("emergency account" in page) == told
    assert AuditEntry.objects.filter(action="user.break_glass", object_name="emergency").exists()


def test_a_projects_limits_name_field_value_and_rule(plant: Plant) -> None:
    with pytest.raises(ValidationError) as refused:
        people.update_project(plant.administrator, plant.project, max_lease_days=0, quota_vcpus=-1)
    assert set(refused.value.message_dict) == {"max_lease_days", "quota_vcpus"}
    assert Project.objects.get(pk=plant.project.pk).max_lease_days == 365
