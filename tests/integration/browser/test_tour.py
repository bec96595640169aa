"""A newcomer's path as pictures, from the real portal; `TOUR=docs/tour` keeps them for docs/tour.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from millwright.environments.models import Environment, Operation
from playwright.sync_api import Browser, Page

from tests.integration.browser.test_in_chromium import (
    browser,
    enter,
    no_overflow,
    playwright_beside_django,
    portal,
)
from tests.support.plant import Plant

__all__ = ["browser", "playwright_beside_django", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.django_db(transaction=True)]


def test_the_tour(portal: tuple[str, Plant], browser: Browser, tmp_path: Path) -> None:
    url, plant = portal
    folder = Path(os.environ.get("TOUR", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def picture(page: Page, name: str) -> None:
        assert no_overflow(page), name
        page.screenshot(path=folder / f"{name}.png", full_page=page.viewport_size["width"] < 800)  # type: ignore[index]

    page = enter(browser, url, plant.engineer)
    page.get_by_text("Nothing runs for you yet").wait_for()
    picture(page, "1-home")
    page.get_by_role("link", name="Catalogue").first.click()
    page.get_by_role("link", name="Request Virtual PLC").wait_for()
    picture(page, "2-catalogue")
    page.get_by_role("link", name="Request Virtual PLC").click()
    page.get_by_label("Name of the environment").fill("filling-line-1")
    page.get_by_label("Template").select_option(label=str(plant.template))
    page.get_by_label("Justification").fill("Second filling line, commissioning in week 50")
    page.locator("#preview").get_by_text("Best host").wait_for(timeout=30_000)
    picture(page, "3-request")
    page.get_by_role("button", name="Submit for approval").click()
    page.get_by_text("An approver decides").wait_for()

    phone = enter(browser, url, plant.approver, 400, color_scheme="dark")
    phone.get_by_role("link", name="filling-line-1").click()
    phone.get_by_role("button", name="Approve").wait_for()
    picture(phone, "4-approval-on-a-phone")
    phone.get_by_role("button", name="Approve").click()
    phone.get_by_role("link", name="Open the environment").wait_for()
    assert Environment.objects.get().name == "filling-line-1"
    assert Operation.objects.get().kind == "provision"

    page.goto(f"{url}/environments/filling-line-1/")
    page.get_by_text("Waiting for the orchestrator").first.wait_for()
    picture(page, "5-environment")
    page.goto(url)
    page.keyboard.press("Control+k")
    page.keyboard.type("filling")
    page.locator("#search-hits a").first.wait_for()
    picture(page, "6-search")
    page.goto(f"{url}/environments/")
    picture(page, "7-environments")
    keeper = enter(browser, url, plant.operator)
    keeper.goto(f"{url}/pool/")
    picture(keeper, "8-pool")
    keeper = enter(browser, url, plant.administrator)
    keeper.goto(f"{url}/audit/?q=request")
    picture(keeper, "9-audit")
    decider = enter(browser, url, plant.engineer, 400)
    decider.goto(f"{url}/requests/")
    picture(decider, "10-requests-on-a-phone")
