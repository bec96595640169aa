"""A console in Chromium: the terminal under the strict content security policy, its end, and nothing in addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from millwright.audit.models import AuditEntry
from playwright.sync_api import Browser, Page

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.integration.portal.test_consoles import _with_screen, at
from tests.support.chromium import shot

__all__ = ["at", "axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WAIT = 60_000


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_an_operator_types_at_a_console(
    at: Any, browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant, _machine, host = at
    page = enter(browser, url, plant.operator, width, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(f"{url}/environments/filling-line-1/")
    page.get_by_role("link", name="Console").click()
    page.get_by_role("button", name="Connect").click()
    screen = page.locator(".xterm-rows")
    screen.get_by_text("simulated console").wait_for(timeout=WAIT)
    page.keyboard.type("echo moved by hand")
    page.keyboard.press("Enter")
    screen.get_by_text("moved by hand", exact=True).wait_for(timeout=WAIT)
    # Its own style sheets came through: rows are as high as the terminal says.
    assert page.evaluate("getComputedStyle(document.querySelector('.xterm-rows')).color") == (
        "rgb(230, 233, 237)"
    )
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"console-{width}-{scheme}")
    # Out of the terminal by keyboard alone.
    page.keyboard.press("Control+Shift+Escape")
    page.keyboard.press("Enter")
    page.get_by_text("You have left the console.").wait_for(timeout=WAIT)
    # Again, with a ticket of its own, until the machine stops.
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("What you type goes to the machine").wait_for(timeout=WAIT)
    host.running = False
    page.get_by_text("the machine stopped").wait_for(timeout=WAIT)
    assert AuditEntry.objects.filter(action="console.open").count() == 2
    assert any(address.startswith("ws") for address in asked)
    assert not any("ticket" in address or "?" in address for address in asked)
    assert page.complaints == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_an_operator_sees_a_screen_and_types_at_it(
    at: Any, browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant, machine, host = at
    _with_screen(machine)
    page = enter(browser, url, plant.operator, width, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(f"{url}/environments/filling-line-1/")
    page.get_by_role("link", name="Screen").click()
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Keys and pointer go to the machine").wait_for(timeout=WAIT)
    _sees(page, lambda colour: colour == [32, 78, 138])
    page.keyboard.press("a")
    _sees(page, lambda colour: colour == [191, 96, 0])
    page.get_by_role("button", name="Ctrl-Alt-Del").click()
    _sees(page, lambda colour: colour != [191, 96, 0])
    # Down and up of the letter, then three keys down.
    pressed = [said.data for said in host.screen.by_hand if said.data[0] in (4, 255)]
    assert len(pressed) >= 2 + 3
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"screen-{width}-{scheme}")
    page.get_by_role("button", name="Full screen").click()
    _becomes(page, "document.fullscreenElement !== null")
    page.evaluate("document.exitFullscreen()")
    _becomes(page, "document.fullscreenElement === null")
    # Out of the screen by keyboard alone.
    page.locator("[data-screen] canvas").focus()
    page.keyboard.press("Control+Shift+Escape")
    page.keyboard.press("Enter")
    page.get_by_text("You have left the console.").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Keys and pointer go to the machine").wait_for(timeout=WAIT)
    host.running = False
    page.get_by_text("the machine stopped").wait_for(timeout=WAIT)
    assert AuditEntry.objects.filter(action="console.open", details__kind="screen").count() == 2
    assert not any("ticket" in address or "?" in address for address in asked)
    assert page.complaints == []  # type: ignore[attr-defined]


def _sees(page: Page, right: Callable[[list[int]], bool]) -> None:
    """Wait for a colour of the machine's picture, in the middle of nothing else."""
    colour = (
        "[...document.querySelector('[data-screen] canvas').getContext('2d')"
        ".getImageData(5, 5, 1, 1).data].slice(0, 3)"
    )
    limit = time.monotonic() + WAIT / 1000
    while not right(seen := page.evaluate(colour)):
        assert time.monotonic() < limit, seen
        page.wait_for_timeout(100)


def _becomes(page: Page, condition: str) -> None:
    limit = time.monotonic() + WAIT / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < limit, condition
        page.wait_for_timeout(100)
