"""How Debian's Chromium is started in tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Where what is shown is looked at: both widths and both themes, which change nothing of each other.
LOOKS = ((400, "dark"), (1280, "light"))
#: A test for each; the other two of the four run in `make test-full`.
every_look = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        *LOOKS,
        pytest.param(400, "light", marks=pytest.mark.full),
        pytest.param(1280, "dark", marks=pytest.mark.full),
    ],
)

#: Without these Chromium asks the network for updates.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def shot(page: Any, name: str) -> None:
    """Keep a picture of the whole page where `MW_TEST_SHOTS` says, for people to look at."""
    if folder := os.environ.get("MW_TEST_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One process for the tests of a module: to start it takes longer than to load a page."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed, and this is CI")
        pytest.skip("chromium is not installed")
    with pytest.MonkeyPatch.context() as environment:
        # Playwright keeps a loop in this thread, by which Django would take its own calls for asynchronous ones.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            made = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
            yield made
            made.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A browser that has no page, cookie or file of an earlier test."""
    assert chromium.contexts == []
    yield chromium
    for context in list(chromium.contexts):
        context.close()
