"""WCAG 2.2 AA as axe-core finds it, on every page, in both themes and at both widths; and Ctrl-K by keyboard."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from millwright.environments import actions
from millwright.environments.models import Machine, Operation
from millwright.service_levels.actions import request_window
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.models import Interval
from playwright.sync_api import Browser, Page

from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.plant import Plant

__all__ = ["portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

AXE = Path(__file__).parents[3] / "node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture
def axe() -> str:
    """axe-core, vendored by `npm ci` beside the front-end libraries."""
    if not AXE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("axe-core is not installed (scripts/vendor_frontend.py), and this is CI")
        pytest.skip("axe-core is not installed")
    return AXE.read_text(encoding="utf-8")


def faults(page: Page, axe: str) -> list[str]:
    """What axe finds: rule, what it means, and the elements. Run past the page's CSP, in its own world."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": axe})
    answer = session.send(
        "Runtime.evaluate",
        {
            "expression": f"axe.run(document, {{runOnly: {TAGS}}})"
            ".then(r => r.violations.map(v => v.id + ': ' + v.help + ' ' +"
            " v.nodes.slice(0, 3).map(n => n.html.slice(0, 200)).join(' | ')))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    session.detach()
    assert "exceptionDetails" not in answer, answer
    return list(answer["result"]["value"])


def _stop(plant: Plant) -> Interval:
    """A row of the ledger, contracts of the classes, and a window that waits."""
    machine = Machine.objects.get(environment__name="filling-line-1")
    sync_objectives()
    now = timezone.now()
    request_window(plant.engineer, machine.environment, now, now + dt.timedelta(hours=1), "filters")
    return Interval.objects.create(
        environment=machine.environment,
        machine=machine,
        begin=now - dt.timedelta(hours=2),
        end=now - dt.timedelta(hours=1),
        kind="down",
        cause="unknown",
    )


def _world(plant: Plant) -> list[str]:
    """Pages of a plant where something of each kind is seen."""
    request = actions.submit_request(
        plant.engineer, actions.create_request(plant.engineer, **plant.request_fields())
    )
    actions.approve_request(plant.approver, request)
    asked = actions.submit_request(
        plant.engineer, actions.create_request(plant.engineer, **plant.request_fields("asked"))
    )
    operation = Operation.objects.get(kind="provision")
    return [
        "/",
        "/catalogue/",
        "/requests/",
        f"/requests/{asked.pk}/",
        "/requests/new/",
        "/environments/",
        "/environments/filling-line-1/",
        "/programs/",
        "/programs/new/",
        "/devices/",
        "/devices/new/",
        "/pool/",
        "/pool/mw0-h1/",
        "/pool/mw0-h1/drain/",
        "/pool/mw0-h1/recover/",
        "/pool/new/",
        "/capacity/",
        f"/machines/{operation.machine_id}/place/",
        "/balancing/",
        "/balancing/earlier/",
        "/balancing/rounds/",
        "/balancing/calendar/",
        "/balancing/calendar/line/",
        "/wall/",
        "/service-levels/",
        "/service-levels/ledger/",
        f"/service-levels/ledger/{_stop(plant).pk}/",
        "/service-levels/maintenance/",
        "/service-levels/maintenance/new/?environment=filling-line-1",
        "/service-levels/contracts/",
        "/environments/filling-line-1/report/2026-05/",
        "/service-levels/contracts/edit/?class=shared",
        "/environments/filling-line-1/service-level/",
        "/operations/",
        f"/operations/{operation.pk}/",
        "/audit/",
        "/search/?q=fill",
        "/tokens/",
        "/notifications/",
        "/notifications/choices/",
        "/notifications/deliveries/",
        "/delegations/",
        "/administration/",
        "/administration/people/new/",
        f"/administration/people/{plant.engineer.pk}/",
        "/administration/projects/",
        "/administration/projects/line-1/",
        "/administration/webhooks/",
        "/administration/settings/",
        "/accounts/sessions/",
        "/accounts/2fa/",
        "/accounts/password/set/",
    ]


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.full)])
def test_no_page_has_a_fault_that_axe_finds(
    portal: tuple[str, Plant], browser: Browser, axe: str, scheme: str
) -> None:
    url, plant = portal
    paths = _world(plant)
    page = enter(browser, url, plant.administrator, color_scheme=scheme)
    found = {}
    for path in paths:
        page.goto(url + path)
        if wrong := faults(page, axe):
            found[path] = wrong
    page.context.clear_cookies()
    page.goto(f"{url}/accounts/login/")
    if wrong := faults(page, axe):
        found["/accounts/login/"] = wrong
    assert not found, "\n".join(f"{path}\n  " + "\n  ".join(rows) for path, rows in found.items())


def test_ctrl_k_finds_and_opens_by_keyboard_alone(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    _world(plant)
    page = enter(browser, url, plant.engineer, 400)
    page.keyboard.press("Control+k")
    page.keyboard.type("filling")
    page.locator("#search-hits a").first.wait_for()
    assert faults(page, axe) == []
    assert no_overflow(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/environments/filling-line-1/")
    assert page.complaints == []  # type: ignore[attr-defined]


@pytest.mark.full
def test_the_menu_holds_in_german_at_every_width(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    paths = _world(plant)
    for width in (400, 1280):
        page: Any = enter(browser, url, plant.administrator, width)
        page.context.add_cookies([{"name": "django_language", "value": "de", "url": url}])
        for path in paths:
            page.goto(url + path)
            assert page.locator("html").get_attribute("lang") == "de", path
            assert no_overflow(page), (path, width)
