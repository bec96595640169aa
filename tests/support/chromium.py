"""How Debian's Chromium is started in tests."""

from __future__ import annotations

import os
from typing import Any

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
