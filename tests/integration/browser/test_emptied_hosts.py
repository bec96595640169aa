"""A host that is emptied for sleep, on *Pool → Balancing* and on its page: offered, under way and called off."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.balancing import consolidating, emptying
from millwright.balancing.models import Consolidating, HostDrain
from millwright.core.balancing import parts_of, say
from millwright.environments import actions
from millwright.inventory.models import Host
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import LOOKS, shot
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_it_is_offered_begun_by_keyboard_seen_and_called_off(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    host, now = plant.hosts[0], timezone.now()
    until = now + dt.timedelta(hours=11)
    Host.objects.update(health="up", last_seen=now)
    text = say(
        "consolidate.empty",
        host=host.name,
        count=12,
        until=f"{until:%Y-%m-%d %H:%M}",
        hours=11.0,
        saved_s=134400.0,
        cost_s=70.0,
    )
    offer = {
        "host": host.name,
        "what": "empty",
        "text": str(text),
        "parts": parts_of(text),
        "until": until.isoformat(),
        "mode": "recommend",
        "moves": [
            {
                "machine": f"line-3-hall-b/cell-{n}",
                "destination": plant.hosts[1].name,
                "seconds": 42.0,
            }
            for n in range(12)
        ],
    }
    consolidating.told()
    Consolidating.objects.update(mode="recommend", answer=[offer], last_round=now)

    def look(name: str, path: str, wanted: str) -> None:
        for width, scheme in LOOKS:
            page = enter(browser, url, plant.operator, width, color_scheme=scheme)
            page.goto(url + path)
            page.get_by_text(wanted).first.wait_for()
            for details in page.locator("#sleeping details").all():
                details.locator("summary").click()
            assert faults(page, axe) == [], (name, width, scheme)
            assert no_overflow(page)
            shot(page, f"empty-{name}-{width}-{scheme}")
            assert page.complaints == []  # type: ignore[attr-defined]

    look("offered", "/balancing/", "could be emptied")
    page = enter(browser, url, plant.operator, 400)
    page.goto(f"{url}/balancing/")
    page.locator("#sleeping summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("nobody works tonight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("It is being emptied.").wait_for()
    (row,) = HostDrain.objects.all()
    assert (row.host, row.requested_by) == (host, plant.operator)
    HostDrain.objects.update(machines=7)
    look("going", "/balancing/", "is being emptied: ")
    look("host", f"/pool/{host.name}/", "It is being emptied to sleep until")
    emptying.call_off(row.pk, say("empty.failed", machine="line-3/cell-1", why="no route"), now)
    look("ended", "/balancing/", "called off: the move of line-3/cell-1 failed: no route")


def test_a_host_of_a_long_name_has_its_verdict_in_sight(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    name = "virtualisation-host-bottling-hall-north-rack-01"
    Host.objects.filter(pk=plant.hosts[0].pk).update(name=name)
    Host.objects.filter(pk=plant.hosts[1].pk).update(name="x" * 48, administration="cordoned")
    request = actions.create_request(plant.engineer, **plant.request_fields())
    request = actions.submit_request(plant.engineer, request)
    for width, scheme in LOOKS:
        page = enter(browser, url, plant.engineer, width, color_scheme=scheme)
        page.goto(f"{url}/requests/{request.pk}/")
        seen = page.locator(".mw-verdicts").evaluate(
            """table => {
                const room = table.parentElement.getBoundingClientRect().right;
                return [...table.querySelectorAll("tbody td")].map(
                    cell => cell.clientWidth > 100 && cell.getBoundingClientRect().right <= room + 1
                );
            }"""
        )
        assert seen == [True, True], width
        assert no_overflow(page)
