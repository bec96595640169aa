"""A second environment, by hand in the portal, with a program of the person's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.chromium import FLAGS
from tests.support.running import Running, eventually

pytestmark = [pytest.mark.lab, pytest.mark.vplc_guest, pytest.mark.browser, pytest.mark.full]

NAME = "mixer-2"
#: Counts in HR0 and adds what a client writes to HR1; nothing of the example is in it.
PROGRAM = """PROGRAM Mixer
VAR
    turns AT %QW0 : INT;
    sum AT %QW2 : INT;
    n : DINT;
END_VAR
n := n + 1;
turns := DINT_TO_INT(n MOD 10000);
sum := turns * 2;
END_PROGRAM
"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield made
        made.close()


def _enter(browser: Browser, running: Running, user: str, width: int = 1280) -> Page:
    link = running.command("user", "link", user).stdout.strip()
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{running.settings.public_url}/")
    return page


def test_a_second_request_by_hand_with_an_own_program(running: Running, browser: Browser) -> None:
    url = running.settings.public_url
    engineer = _enter(browser, running, "erin")
    # A mistake first: the compiler's words appear on the page, and nothing can be deployed.
    engineer.goto(f"{url}/programs/new/")
    engineer.get_by_label("Name of the program").fill("mixer")
    engineer.get_by_label("Structured Text", exact=True).fill(PROGRAM.replace("n MOD", "m MOD"))
    engineer.get_by_role("button", name="Upload and compile").click()
    engineer.get_by_text("m is not declared").first.wait_for(timeout=120_000)
    engineer.goto(f"{url}/programs/new/")
    engineer.get_by_label("Name of the program").fill("mixer")
    engineer.get_by_label("Structured Text", exact=True).fill(PROGRAM)
    engineer.get_by_role("button", name="Upload and compile").click()
    engineer.get_by_text("Compiled and signed").wait_for(timeout=120_000)

    engineer.goto(f"{url}/catalogue/")
    engineer.get_by_role("link", name="Request Virtual PLC").click()
    engineer.get_by_label("Name of the environment").fill(NAME)
    program = engineer.get_by_label("Control program")
    choice = program.locator("option", has_text="mixer")
    program.select_option(value=choice.first.get_attribute("value"))
    engineer.locator("#preview").get_by_text("Best host").wait_for()
    engineer.get_by_role("button", name="Submit for approval").click()
    engineer.get_by_text("An approver decides").wait_for()

    approver = _enter(browser, running, "max", 400)
    approver.get_by_role("link", name=NAME).first.click()
    approver.get_by_role("button", name="Approve").first.click()
    approver.get_by_role("link", name="Open the environment").wait_for()

    engineer.goto(f"{url}/environments/{NAME}/")
    api = running.api("erin")

    def runs() -> bool:
        found = api.get(f"environments/{NAME}/")
        assert found["state"] != "failed", found
        return bool(found["state"] == "running")

    eventually(runs, 600, "the second environment")
    value = engineer.locator('[data-tag="Mixer.sum"]')
    value.wait_for(timeout=240_000)
    eventually(lambda: value.inner_text().lstrip("-").isdigit(), 240, "live values")
    before = int(value.inner_text())
    eventually(lambda: int(value.inner_text() or before) != before, 60, "a value that moves")

    engineer.get_by_text("Remove this environment").click()
    engineer.get_by_label(f"Type {NAME} to confirm").fill(NAME)
    engineer.get_by_role("button", name="Remove", exact=True).click()

    def gone() -> bool:
        # The list holds what is there; the record of it stays in the audit trail.
        return not any(row["name"] == NAME for row in api.rows("environments/"))

    eventually(gone, 300, "its removal")
