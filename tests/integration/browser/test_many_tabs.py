"""Many live pages in one browser: each loads, those that are looked at are live, the others say that they are not."""

from __future__ import annotations

import pytest
from millwright.environments import actions as environments
from millwright.environments.models import Environment, Machine, Operation
from playwright.sync_api import Browser

from tests.integration.browser.test_in_chromium import (
    enter,
    portal,
)
from tests.support.plant import Plant

__all__ = ["portal"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
WAIT = 60_000
#: More than the six connections that a browser keeps to one server.
TABS = 8
#: As many streams as one browser has at a time.
LIVE = 4


def test_the_eighth_live_page_loads_and_the_newest_are_live(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running")
    Operation.objects.update(state="succeeded")
    name = Environment.objects.get().name
    first = enter(browser, url, plant.engineer)
    first.goto(f"{url}/environments/{name}/", wait_until="load", timeout=WAIT)
    first.wait_for_selector("[sse-connect]:not(.mw-stale)", timeout=WAIT)
    tabs = [first]
    for _ in range(TABS - 1):
        tab = first.context.new_page()
        # In headless Chromium every page counts as visible and focused: each newest one takes its stream.
        tab.goto(f"{url}/environments/{name}/", wait_until="load", timeout=WAIT)
        tabs.append(tab)
    other = first.context.new_page()
    other.goto(f"{url}/pool/", wait_until="load", timeout=WAIT)

    def stale() -> list[bool]:
        return [tab.locator("[sse-connect].mw-stale").count() == 1 for tab in tabs]

    tabs[-1].wait_for_function("() => !document.querySelector('.mw-stale')", timeout=WAIT)
    for _ in range(600):
        if sum(stale()) == TABS - LIVE:
            break
        other.wait_for_timeout(100)
    assert sum(stale()) == TABS - LIVE, stale()
    assert not stale()[-1]
    # Who closes gives its stream to one that waits.
    live = [tab for tab, old in zip(tabs, stale(), strict=True) if not old]
    for tab in live:
        tab.close()
        tabs.remove(tab)
    for tab in tabs:
        tab.wait_for_selector("[sse-connect]:not(.mw-stale)", timeout=WAIT)
