"""Where a request would be placed among many hosts: all of them by keyboard, and nothing that was typed is lost."""

from __future__ import annotations

import pytest
from millwright.environments import actions
from playwright.sync_api import Browser, expect

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import enter, no_overflow, portal
from tests.integration.portal.test_many_hosts import add_hosts
from tests.support.chromium import shot
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ROWS = ".mw-verdicts tbody tr"


def test_all_hosts_are_asked_for_on_the_form_and_on_a_request(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    add_hosts(plant)
    count = 60 + len(plant.hosts)
    page = enter(browser, url, plant.engineer)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{url}/requests/new/")
    page.select_option("#id_template_version", index=1)
    expect(page.locator("#preview")).to_contain_text("60 × cordoned")
    expect(page.locator(ROWS)).to_have_count(50)
    counts = page.locator("#preview .mw-counts details")
    expect(counts.locator("div")).to_be_hidden()
    counts.locator("summary").click()
    expect(counts.locator("div")).to_contain_text("mw9-h00, mw9-h01")
    summary = page.locator("#preview details:has(.mw-verdicts) > summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(count)
    expect(summary).to_be_focused()
    assert not [each for each in addresses if "csrfmiddlewaretoken" in each]
    assert faults(page, axe) == []
    # A change of the form begins anew.
    page.fill("#id_name", "mixer-1")
    page.keyboard.press("Tab")
    expect(page.locator(ROWS)).to_have_count(50)

    draft = actions.create_request(plant.engineer, **plant.request_fields("mixer"))
    actions.submit_request(plant.engineer, draft)
    page = enter(browser, url, plant.approver, 400, color_scheme="dark")
    page.goto(f"{url}/requests/{draft.pk}/")
    expect(page.locator(ROWS)).to_have_count(50)
    reason = page.locator("input[name=reason], textarea[name=reason]").first
    reason.fill("before the shift")
    page.locator("#placement details:has(.mw-verdicts) > summary").click()
    page.get_by_role("link", name=f"All {count} hosts").click()
    expect(page.locator(ROWS)).to_have_count(count)
    expect(page.locator("#placement details:has(.mw-verdicts) > summary")).to_be_focused()
    assert reason.input_value() == "before the shift"
    assert faults(page, axe) == []
    page.locator("#placement .mw-counts summary").click()
    no_overflow(page)
    shot(page, "request-of-many-hosts")
