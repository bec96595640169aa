"""The pages as people see them, in Debian's Chromium: no overflow, no console error, both themes, two languages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from millwright.accounts.actions import make_login_link
from millwright.environments import actions
from playwright.sync_api import Browser, Page

from tests.support.chromium import every_look
from tests.support.plant import Plant, build_plant

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def portal(transactional_db: None) -> Iterator[tuple[str, Plant]]:
    """The real portal on a free port, with a plant where something was requested."""
    plant = build_plant()
    from millwright.settings.asgi import application

    server = uvicorn.Server(
        uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 300
    while not server.started and time.monotonic() < end:
        time.sleep(0.05)
    assert server.started
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", plant
    server.should_exit = True
    server.force_exit = True
    thread.join(60)


def enter(browser: Browser, url: str, user: Any, width: int = 1280, **more: Any) -> Page:
    """A signed-in page; whatever the console complains of is kept in `page.complaints`."""
    _, secret = make_login_link(None, user)
    page = browser.new_context(viewport={"width": width, "height": 900}, **more).new_page()
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.complaints = complaints  # type: ignore[attr-defined]
    page.goto(f"{url}/enter/{secret}/")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")
    return page


def no_overflow(page: Page) -> bool:
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def test_from_catalogue_to_approval(portal: tuple[str, Plant], browser: Browser) -> None:
    url, plant = portal
    page = enter(browser, url, plant.engineer)
    page.get_by_role("link", name="Catalogue").first.click()
    page.get_by_role("link", name="Request Virtual PLC").click()
    page.get_by_label("Name of the environment").fill("my-first-line")
    page.get_by_label("Template").select_option(label=str(plant.template))
    # The preview follows the form by itself.
    page.locator("#preview").get_by_text("Best host").wait_for(timeout=30_000)
    assert "mw0-h1" in page.locator("#preview").inner_text()
    page.get_by_role("button", name="Submit for approval").click()
    page.get_by_text("An approver decides").wait_for()
    assert page.complaints == []  # type: ignore[attr-defined]
    approver = enter(browser, url, plant.approver, 400)
    approver.get_by_role("link", name="my-first-line").click()
    approver.get_by_role("button", name="Approve").click()
    approver.get_by_role("link", name="Open the environment").click()
    approver.get_by_text("Waiting for the orchestrator").first.wait_for()
    assert no_overflow(approver)


@every_look
def test_no_page_overflows_or_complains(
    portal: tuple[str, Plant], browser: Browser, width: int, scheme: str
) -> None:
    url, plant = portal
    request = actions.submit_request(
        plant.engineer,
        actions.create_request(
            plant.engineer, **plant.request_fields("a-rather-long-name-of-a-filling-line-01")
        ),
    )
    actions.approve_request(plant.approver, request)
    page = enter(browser, url, plant.administrator, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme
    for path in (
        "/",
        "/catalogue/",
        "/requests/",
        f"/requests/{request.pk}/",
        "/requests/new/",
        "/environments/",
        f"/environments/{request.name}/",
        "/programs/",
        "/programs/new/",
        "/devices/",
        "/devices/new/",
        "/pool/",
        "/pool/mw0-h1/",
        "/pool/mw0-h1/drain/",
        "/balancing/",
        "/balancing/earlier/",
        "/balancing/rounds/",
        "/operations/",
        "/audit/",
        "/delegations/",
        "/administration/",
        f"/administration/people/{plant.engineer.pk}/",
        "/administration/projects/line-1/",
        "/administration/settings/",
    ):
        page.goto(url + path)
        assert page.locator("h1").count() == 1, path
        assert no_overflow(page), path
    # Prometheus and the gateway are not there: their cards say so, and nothing else complains.
    assert page.complaints == []  # type: ignore[attr-defined]


def test_the_language_changes_at_once_and_stays(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    page = enter(browser, url, plant.engineer)
    page.locator("#language").select_option("zh-hans")
    page.locator("html[lang=zh-hans]").wait_for(state="attached")
    page.goto(f"{url}/environments/")
    assert page.locator("html").get_attribute("lang") == "zh-hans"
    assert "Environments" not in page.locator("h1").inner_text()


def test_the_menu_is_reached_by_keyboard(portal: tuple[str, Plant], browser: Browser) -> None:
    url, plant = portal
    page = enter(browser, url, plant.engineer)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('header') !== null")
