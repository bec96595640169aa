"""Pictures of the pages that tell of a campaign, in Chromium from the running portal: for people to look at."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.support.chromium import FLAGS
from tests.support.running import Running

_LINK = """
import sys
from django.contrib.auth import get_user_model
from millwright.accounts.actions import make_login_link
print(make_login_link(None, get_user_model().objects.get(username=sys.argv[1]))[1])
"""
_LIMIT_MS = 120_000


class Pictures:
    """Takes pictures into a folder, or none without one. `faults`: what a page complained of or how it overflowed."""

    def __init__(self, running: Running, environment: str, folder: Path | None) -> None:
        self._running, self._environment, self._folder = running, environment, folder
        self.faults: list[str] = []

    def wall(self, name: str) -> None:
        """The wall as it is now."""
        self._take([(f"wall-{name}", "/wall/", ".mw-tile")])

    def pages(self) -> None:
        """The wall, the environment's month, its ledger, its report and the plant's month; both themes, a phone."""
        own = f"/environments/{self._environment}"
        pages = [
            ("wall", "/wall/", ".mw-tile"),
            ("month", f"{own}/service-level/", "#budget-chart canvas"),
            ("ledger", f"/service-levels/ledger/?cause=all&q={self._environment}", "main"),
            ("queue", "/service-levels/ledger/", "main"),
            ("plant", "/service-levels/", "main"),
            ("report", f"{own}/report/{dt.date.today():%Y-%m}/", "main, body"),
        ]
        self._take(pages)
        self._take([(f"{n}-dark", a, w) for n, a, w in pages], color_scheme="dark")
        self._take([(f"{n}-phone", a, w) for n, a, w in pages], width=400)

    def _take(self, pages: list[tuple[str, str, str]], width: int = 1280, **how: Any) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        url = self._running.settings.public_url
        secret = self._running.script(_LINK, "olga").strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=list(FLAGS)
            )
            page = browser.new_context(
                viewport={"width": width, "height": 900}, ignore_https_errors=True, **how
            ).new_page()
            page.set_default_timeout(_LIMIT_MS)
            page.on("pageerror", lambda error: self.faults.append(str(error)))
            page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
            page.goto(f"{url}/enter/{secret}/")
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{url}/")
            for name, address, sign in pages:
                self._picture(page, name, f"{url}{address}", sign)
            browser.close()

    def _picture(self, page: Page, name: str, address: str, sign: str) -> None:
        answer = page.goto(address)
        if answer is None or not answer.ok:
            self.faults.append(f"{name}: {answer and answer.status}")
        page.locator(sign).first.wait_for()
        page.wait_for_timeout(1500)
        if page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        ):
            self.faults.append(f"{name}: wider than its window")
        assert self._folder is not None
        page.screenshot(path=self._folder / f"{name}.png", full_page=True)
