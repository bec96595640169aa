"""Placement rules in Chromium: conflicts while one types, the list, and the pool before and after a move."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.balancing import pooling, recommending, rolling, ruling
from millwright.balancing.models import Recommendation
from millwright.balancing.pooling import PoolDraft
from millwright.balancing.ruling import Draft
from millwright.environments import actions
from millwright.environments.models import Machine
from millwright.inventory.models import Host
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import shot
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WAIT = 120_000


def _machines(plant: Plant) -> None:
    plant.project.quota_environments = 9
    plant.project.save()
    for name in ("mixer-control-a", "mixer-control-b", "press-reporting"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running", movability="free")
    ruling.save_rule(
        plant.operator,
        Draft(
            "mixer-controls",
            "apart",
            ("mixer-control-a", "mixer-control-b"),
            purpose="one of them survives a host",
        ),
    )
    ruling.save_rule(
        plant.operator,
        Draft("reporting", "off_hosts", ("press-reporting",), ("mw0-h2",), hard=False, weight=2.5),
    )
    recommending.set_mode(plant.operator, "recommend")
    Recommendation.objects.create(
        machine=Machine.objects.get(environment__name="mixer-control-a"),
        source=plant.hosts[0],
        destination=plant.hosts[1],
        why="rule",
        text="kept apart from another machine on mw0-h1",
        seconds=42,
        mode="recommend",
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_rule_is_written_and_its_conflicts_are_told_while_typing(
    portal: tuple[str, Plant], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant = portal
    _machines(plant)
    assert Host.objects.count() == 2
    page = enter(browser, url, plant.operator, width, color_scheme=scheme)
    page.goto(f"{url}/rules/")
    assert page.locator(".badge").get_by_text("not kept now").first.is_visible()
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"rules-{width}-{scheme}")
    page.get_by_role("link", name="Write a rule").click()
    page.get_by_label("Name", exact=True).fill("three-apart")
    assert not page.get_by_label("Find hosts").is_visible()
    page.get_by_label("Find machines").fill("mixer")
    page.get_by_label("press-reporting/vplc").wait_for(state="hidden", timeout=WAIT)
    page.get_by_label("mixer-control-a/vplc").check()
    page.get_by_label("mixer-control-b/vplc").check()
    page.get_by_text("it can hold together with the other rules").wait_for(timeout=WAIT)
    page.get_by_label("Find machines").fill("press")
    page.get_by_label("press-reporting/vplc").wait_for(timeout=WAIT)
    page.get_by_label("press-reporting/vplc").check()
    page.get_by_text("they can be on 2 hosts: mw0-h1, mw0-h2").wait_for(timeout=WAIT)
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"rule-form-{width}-{scheme}")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("It was not taken").wait_for(timeout=WAIT)
    page.get_by_label("soft").check()
    page.get_by_label("Weight", exact=True).fill("3")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The next round keeps it").wait_for(timeout=WAIT)
    page.goto(f"{url}/rules/three-apart/remove/")
    assert no_overflow(page)
    page.goto(f"{url}/balancing/")
    assert page.get_by_text("after all moves that wait").is_visible()
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"balancing-heat-{width}-{scheme}")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_pools_and_hosts_in_turn(
    portal: tuple[str, Plant], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant = portal
    _machines(plant)
    pooling.save_pool(plant.operator, PoolDraft("day-shift", balance_mode="recommend"))
    pooling.save_pool(plant.operator, PoolDraft("simulation", "day-shift", 200, 0.5, 4))
    page = enter(browser, url, plant.operator, width, color_scheme=scheme)

    def seen(name: str, path: str = "") -> None:
        if path:
            page.goto(f"{url}{path}")
        assert no_overflow(page), name
        assert faults(page, axe) == [], name
        shot(page, f"{name}-{width}-{scheme}")

    seen("pools", "/pools/")
    seen("pool-form", "/pools/simulation/edit/")
    page.goto(f"{url}/rolling-drains/new/")
    for host in plant.hosts:
        page.get_by_role("checkbox", name=host.name).check()
    page.get_by_role("button", name="See what would happen").click()
    page.get_by_text("In all about").wait_for(timeout=WAIT)
    seen("rolling-form")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("waits for its turn").first.wait_for(timeout=WAIT)
    rolling.rolling_round()
    page.reload()
    page.get_by_text("0 of 2 hosts").wait_for(timeout=WAIT)
    seen("rolling")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for(timeout=WAIT)
    seen("rolling-list", "/rolling-drains/")
    seen("pool-of-hosts", "/pool/")
