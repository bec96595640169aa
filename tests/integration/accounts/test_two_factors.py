"""Two factors, for the roles that the plant names."""

from __future__ import annotations

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from django.urls import reverse
from millwright.accounts import middleware
from millwright.accounts.actions import issue_token
from millwright.accounts.choices import Role
from millwright.settings import Settings
from millwright.settings.settings import ROLES
from rest_framework.test import APIClient

from tests.support.plant import Plant


@pytest.fixture(autouse=True)
def demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(two_factor_roles="administrator, approver")
    monkeypatch.setattr(middleware, "get_settings", lambda: settings)


def _client(user: object) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def test_the_roles_are_those_of_the_accounts() -> None:
    assert set(ROLES) == set(Role)


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(ValueError, match="king: the roles are"):
        Settings(two_factor_roles="approver,king")


@pytest.mark.parametrize("who", ["administrator", "approver"])
def test_a_named_role_sets_it_up_before_anything_else(plant: Plant, who: str) -> None:
    user = getattr(plant, who)
    caller = _client(user)
    for url in (reverse("portal:home"), reverse("portal:requests")):
        assert caller.get(url)["Location"] == reverse("mfa_index"), url
    refused = caller.get("/api/v1/requests/")
    assert (refused.status_code, refused.json()["code"]) == (403, "two_factor_required")
    assert "two-factor sign-in" in caller.get(reverse("mfa_index")).content.decode()
    assert caller.post(reverse("account_logout")).status_code == 302
    TOTP.activate(user, generate_totp_secret())
    assert _client(user).get(reverse("portal:home")).status_code == 200


def test_other_roles_and_tokens_go_on(plant: Plant) -> None:
    for who in ("engineer", "operator", "stranger"):
        assert _client(getattr(plant, who)).get(reverse("portal:home")).status_code == 200, who
    _, secret = issue_token(None, plant.administrator, "script")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert api.get("/api/v1/requests/").status_code == 200


def test_a_security_key_can_be_set_up(plant: Plant) -> None:
    caller = _client(plant.administrator)
    text = caller.get(reverse("mfa_index")).content.decode()
    assert reverse("mfa_add_webauthn") in text


def test_an_authenticator_is_set_up_with_a_picture_or_by_hand(plant: Plant) -> None:
    text = (
        _client(plant.administrator).get(reverse("mfa_activate_totp"), follow=True).content.decode()
    )
    assert 'id="authenticator_secret"' in text, text
    assert '<img class="mw-qr' in text
    assert 'class="form-control"' in text
