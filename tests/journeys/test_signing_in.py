"""The first day of somebody new: in through the plant's provider, a second factor set up, and in again with it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from millwright.accounts import adapter, middleware
from millwright.accounts.models import User
from millwright.audit.models import AuditEntry
from millwright.settings import get_settings
from playwright.sync_api import Browser, Page, expect

from tests.integration.browser.test_accessible import faults
from tests.integration.browser.test_in_chromium import no_overflow
from tests.support.chromium import shot
from tests.support.journeys import WAIT, looks
from tests.support.plant import Plant
from tests.support.provider import SECRET, open_provider

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.django_db(transaction=True)]


class Telephone:
    """An authenticator app: it knows the secret that was typed in, and the time."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._shown = ""

    def code(self) -> str:
        """The next code that it has not shown yet; each is good once."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            code = format_hotp_value(hotp_value(self._secret, int(time.time()) // 30))
            if code != self._shown:
                self._shown = code
                return code
            time.sleep(0.5)
        raise AssertionError("the clock stands still")


def _at_the_provider(page: Page, url: str) -> None:
    """From our sign-in page over the provider's two pages back to ours."""
    page.goto(f"{url}/accounts/login/")
    page.get_by_role("button", name="Plant account").click()
    page.locator("input[name=login]").fill("petra")
    page.locator("input[name=password]").fill("what only the provider knows")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_sign_in_with_oidc_and_totp(
    portal: tuple[str, Plant],
    browser: Browser,
    axe: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, _plant = portal
    with open_provider(f"{url}/accounts/oidc/plant/login/callback/") as issuer:
        settings.SOCIALACCOUNT_PROVIDERS = {
            "openid_connect": {
                "OAUTH_PKCE_ENABLED": True,
                "APPS": [{"provider_id": "plant", "name": "Plant account", "client_id": "millwright",
                          "secret": SECRET, "settings": {"server_url": issuer}}],
            }
        }  # fmt: skip
        # As the settings have it where a provider is named at the start.
        rules = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
        settings.CONTENT_SECURITY_POLICY = {
            "DIRECTIVES": {**rules, "form-action": [*rules["form-action"], issuer]}
        }
        believed = get_settings().model_copy(
            update={
                "oidc_issuer": issuer,
                "oidc_roles": "shift=operator",
                "two_factor_roles": "operator",
            }
        )
        for module in (adapter, middleware):
            monkeypatch.setattr(module, "get_settings", lambda: believed)
        page = browser.new_context(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        ).new_page()
        page.set_default_timeout(WAIT)
        complaints: list[str] = []
        _at_the_provider(page, url)
        page.on(
            "console",
            # What the provider's own pages lack is not ours.
            lambda said: (
                complaints.append(said.text)
                if said.type == "error" and page.url.startswith(url)
                else None
            ),
        )
        # Her role demands a second factor: every page leads there until she has one.
        page.locator("#messages").get_by_text("set it up first").wait_for()
        page.goto(f"{url}/pool/")
        expect(page).to_have_url(f"{url}/accounts/2fa/")
        looks(page, axe, "1-second-factor")
        page.get_by_role("link", name="Activate").first.click()
        secret = page.locator("#authenticator_secret, [name=authenticator_secret]").first
        telephone = Telephone(secret.input_value())
        assert page.locator("img").last.evaluate("picture => picture.naturalWidth") > 0
        looks(page, axe, "1-authenticator")
        page.get_by_label("Authenticator code").fill("000000")
        page.get_by_role("button", name="Activate").click()
        page.get_by_text("Incorrect code.").wait_for()
        page.get_by_label("Authenticator code").fill(telephone.code())
        page.get_by_role("button", name="Activate").click()
        page.get_by_text("recovery codes", exact=False).first.wait_for()
        looks(page, axe, "1-recovery-codes")
        page.goto(f"{url}/pool/")
        expect(page.locator("h1")).to_have_text("Pool")
        # Out, and in again: the provider alone does not suffice any more.
        page.get_by_role("button", name="Petra Plant").or_(
            page.get_by_role("link", name="Petra Plant")
        ).first.click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("link", name="Sign in").first.wait_for()
        page.context.clear_cookies()
        _at_the_provider(page, url)
        page.get_by_label("Code", exact=False).first.wait_for()
        page.goto(f"{url}/pool/")
        expect(page.locator("h1")).not_to_have_text("Pool")
        page.go_back()
        looks(page, axe, "1-code")
        page.get_by_label("Code", exact=False).first.fill(telephone.code())
        page.get_by_role("button", name="Sign In").click()
        page.get_by_text("Hello, Petra Plant").wait_for()
        assert no_overflow(page)
        assert faults(page, axe) == []
        shot(page, "1-home")
        assert complaints == []
    petra = User.objects.get(username="petra")
    assert petra.plant_role == "operator"
    assert AuditEntry.objects.filter(action="user.create", object_name="Petra Plant").exists()
