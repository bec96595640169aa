"""The calendar in Chromium: a line is written with what stands against it, put in order by keyboard, taken back."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.balancing import entitling, lines, pooling
from millwright.balancing.lines import Draft
from millwright.balancing.pooling import PoolDraft
from millwright.environments import actions
from millwright.environments.models import Machine
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import every_look, shot
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WAIT = 120_000
URL = "/balancing/calendar/"


def _plant(plant: Plant) -> None:
    plant.project.quota_environments = 9
    plant.project.save()
    for name in ("mixer-simulation", "press-reporting"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running", movability="free")
    for name in ("cad", "cae"):
        pooling.save_pool(plant.operator, PoolDraft(name))
    machine = Machine.objects.get(environment__name="mixer-simulation")
    entitling.set_entitlement(plant.operator, machine, pool="cae")


@every_look
def test_a_calendar_is_written_and_taken_back(
    portal: tuple[str, Plant], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant = portal
    _plant(plant)
    page = enter(browser, url, plant.operator, width, color_scheme=scheme)

    def seen(name: str) -> None:
        assert no_overflow(page), name
        assert faults(page, axe) == [], name
        shot(page, f"calendar-{name}-{width}-{scheme}")

    page.goto(f"{url}/balancing/")
    page.get_by_role("link", name="Calendar").click()
    page.get_by_text("No calendar").wait_for(timeout=WAIT)
    seen("empty")
    page.get_by_role("link", name="Begin with the example").click()
    page.get_by_label("cae", exact=True).check()
    page.get_by_text("no other line says otherwise").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("night: the next round goes by it").wait_for(timeout=WAIT)
    day = Draft(
        "day", pools=("cad",), days=(0, 1, 2, 3, 4), start="06:00", end="22:00", shares="9000"
    )
    quiet = Draft(
        "shift change", pools=("cad", "cae"), start="05:45", end="06:15", movability="never"
    )
    rush = Draft(
        "rush order 4711", vms=("press-reporting/vplc",), until="2990-05-08T12:00", priority="9"
    )
    for draft in (day, quiet, rush):
        lines.save_line(plant.operator, draft)
    page.goto(f"{url}{URL}line/")
    page.get_by_label("Name", exact=True).fill("late simulation")
    page.get_by_label("cae", exact=True).check()
    page.get_by_label("Find machines").fill("mixer")
    page.get_by_label("press-reporting/vplc").wait_for(state="hidden", timeout=WAIT)
    page.get_by_label("mixer-simulation/vplc").check()
    page.get_by_label("Saturday").check()
    page.get_by_label("Begins at", exact=True).fill("20:00")
    page.get_by_label("Ends at", exact=True).fill("23:30")
    page.get_by_label("shares", exact=True).fill("many")
    page.get_by_text("'many' is not a whole number").wait_for(timeout=WAIT)
    page.get_by_label("shares", exact=True).fill("500")
    page.get_by_text("late simulation holds, because it comes later").wait_for(timeout=WAIT)
    seen("form")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("late simulation: the next round goes by it").wait_for(timeout=WAIT)
    seen("list")
    page.get_by_role("button", name="late simulation: further up").press("Enter")
    page.locator("tbody tr").nth(3).get_by_text("late simulation").wait_for(timeout=WAIT)
    page.get_by_label("Remove rush order 4711").click()
    seen("remove")
    page.get_by_label("Reason").fill("delivered")
    page.get_by_role("button", name="Remove").click()
    page.get_by_text("Removed.").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Put it back as it was").click()
    page.get_by_role("link", name="rush order 4711", exact=True).wait_for(timeout=WAIT)
    page.goto(f"{url}/balancing/")
    seen("balancing")


@pytest.mark.parametrize("language", ["de", "zh-hans"])
def test_it_holds_in_other_languages_where_there_is_little_room(
    portal: tuple[str, Plant], browser: Browser, axe: str, language: str
) -> None:
    url, plant = portal
    _plant(plant)
    week = {"days": (0, 1, 2, 3, 4), "start": "22:00", "end": "06:00", "shares": "9000"}
    words = {"movability": "approval", "mode": "recommend", "window": True}
    lines.save_line(plant.operator, Draft("night", pools=("cae",), **week, **words))  # type: ignore[arg-type]
    page = enter(browser, url, plant.operator, 400)
    page.context.add_cookies([{"name": "django_language", "value": language, "url": url}])
    for path in ("", "line/?line=night", "remove/?line=night"):
        page.goto(f"{url}{URL}{path}")
        assert page.locator("html").get_attribute("lang") == language
        assert no_overflow(page), path
        assert faults(page, axe) == [], path
