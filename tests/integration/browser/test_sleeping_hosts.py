"""A host's power on its page: at both widths and in both themes, put to sleep by keyboard alone."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.environments.models import Operation
from millwright.inventory.models import Host
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    browser,
    enter,
    no_overflow,
    playwright_beside_django,
    portal,
)
from tests.support.chromium import shot
from tests.support.plant import Plant

__all__ = ["axe", "browser", "playwright_beside_django", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}


def test_a_host_is_put_to_sleep_by_keyboard_and_shown_asleep(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    host = plant.hosts[1]
    now = timezone.now()
    Host.objects.filter(pk=host.pk).update(
        policy=host.policy | {"sleep": SLEEP}, health="up", last_seen=now
    )
    page = enter(browser, url, plant.operator, 400)
    page.goto(f"{url}/pool/{host.name}/")
    assert faults(page, axe) == []
    assert no_overflow(page)
    shot(page, "host-awake-400")
    page.locator("#power-reason").focus()
    page.keyboard.type("nobody works tonight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("It is being put to sleep.").wait_for()
    (operation,) = Operation.objects.filter(kind="sleep_host")
    assert (operation.host, operation.reason) == (host, "nobody works tonight")
    Operation.objects.update(state="succeeded", ended_at=now)
    Host.objects.filter(pk=host.pk).update(
        power="asleep",
        power_since=now,
        power_until=now + dt.timedelta(hours=9),
        power_reason="nobody works tonight",
    )
    for width in (400, 1280):
        for scheme in ("light", "dark"):
            page = enter(browser, url, plant.operator, width, color_scheme=scheme)
            for path, name in ((f"/pool/{host.name}/", "host"), ("/pool/", "pool")):
                page.goto(url + path)
                assert faults(page, axe) == [], (path, width, scheme)
                assert no_overflow(page)
                shot(page, f"{name}-asleep-{width}-{scheme}")
            assert page.complaints == []  # type: ignore[attr-defined]
