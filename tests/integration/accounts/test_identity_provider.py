"""Signing in at an OpenID Connect provider that is not ours: oidc-provider, on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from millwright.accounts import adapter
from millwright.accounts.models import User
from millwright.audit.models import AuditEntry
from millwright.settings import get_settings

from tests.support.plant import Plant, build_plant
from tests.support.provider import SECRET, open_provider

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(
    transactional_db: None, live_server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Plant]]:
    """The portal, believing a provider that runs beside it."""
    with open_provider(f"{live_server.url}/accounts/oidc/plant/login/callback/") as issuer:
        settings.SOCIALACCOUNT_PROVIDERS = {
            "openid_connect": {
                "OAUTH_PKCE_ENABLED": True,
                "APPS": [{"provider_id": "plant", "name": "Plant account", "client_id": "millwright",
                          "secret": SECRET, "settings": {"server_url": issuer}}],
            }
        }  # fmt: skip
        believed = get_settings().model_copy(
            update={"oidc_issuer": issuer, "oidc_roles": "admins=administrator,shift=operator"}
        )
        monkeypatch.setattr(adapter, "get_settings", lambda: believed)
        yield live_server.url, build_plant()


def _enter(url: str, name: str) -> httpx.Response:
    """What a browser does, from our button to our page again."""
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as browser:
        page = browser.get(f"{url}/accounts/login/")
        assert "Plant account" in page.text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        page = browser.post(
            f"{url}/accounts/oidc/plant/login/", data={"csrfmiddlewaretoken": token.group(1)}
        )
        for _ in range(2):  # who one is, then what the portal may know
            form = re.search(r'action="([^"]+)" method="post"', page.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
            assert form is not None, page.text[:500]
            assert prompt is not None
            page = browser.post(
                form.group(1), data={"prompt": prompt.group(1), "login": name, "password": "any"}
            )
        return page


def test_a_person_of_the_provider_enters_with_the_role_of_his_group(
    site: tuple[str, Plant],
) -> None:
    url, _plant = site
    page = _enter(url, "petra")
    assert page.url == f"{url}/", page.text[:500]
    assert "Petra Plant" in page.text
    petra = User.objects.get(username="petra")
    assert (petra.plant_role, petra.has_usable_password()) == ("operator", False)
    assert AuditEntry.objects.filter(action="user.create", object_name="Petra Plant").exists()
    # The next entry finds the same account, and the role is the group's again.
    User.objects.filter(pk=petra.pk).update(plant_role="administrator")
    assert _enter(url, "petra").url == f"{url}/"
    petra.refresh_from_db()
    assert petra.plant_role == "operator"
    assert User.objects.filter(username__startswith="petra").count() == 1


def test_an_equal_name_takes_no_account_over(site: tuple[str, Plant]) -> None:
    url, plant = site
    page = _enter(url, "erin")
    assert "exists already" in page.text
    assert str(page.url).startswith(f"{url}/accounts/login/")
    assert not plant.engineer.socialaccount_set.exists()
    assert User.objects.filter(username__startswith="erin").count() == 1


def test_a_closed_account_stays_closed(site: tuple[str, Plant]) -> None:
    url, _plant = site
    _enter(url, "petra")
    User.objects.filter(username="petra").update(is_active=False)
    page = _enter(url, "petra")
    assert page.url != f"{url}/"
    assert "closed" in page.text.lower() or "inactive" in str(page.url)
