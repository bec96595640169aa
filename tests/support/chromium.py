"""How Debian's Chromium is started in tests."""

from __future__ import annotations

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
