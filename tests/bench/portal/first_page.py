"""The first page as a browser meets it, nothing in its cache: `python -m tests.bench.portal.first_page`.

Home of an operator of the large plant, in Debian's Chromium over the loopback: bytes as they were sent, requests,
and when the page was complete by the browser's own clock. The processor time of portal and browser stands beside.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from tests.bench.portal.serving import cpu_s, options, plant, portal
from tests.support.chromium import FLAGS


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += _family(int(child))
    return found


def _browser_cpu_s() -> float:
    rows = _family(os.getpid())
    return sum(
        cpu_s(pid) for pid in rows if b"chromium" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def _visit(browser: Any, url: str, cookie: dict[str, Any]) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([cookie])
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    used = _browser_cpu_s()
    page.goto(url, wait_until="load", timeout=300_000)
    times = page.evaluate(
        "() => { const n = performance.getEntriesByType('navigation')[0];"
        " const p = performance.getEntriesByName('first-contentful-paint')[0];"
        " return {first_byte: n.responseStart, paint: p ? p.startTime : 0, load: n.loadEventEnd} }"
    )
    used = _browser_cpu_s() - used
    context.close()
    return {**times, "bytes": sum(sizes), "requests": len(sizes), "browser_cpu": used * 1e3}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed")
    with plant(asked) as home:
        from django.conf import settings
        from django.test import Client
        from millwright.accounts.models import User
        from playwright.sync_api import sync_playwright

        caller = Client()
        caller.force_login(
            User.objects.get(username="bench-administrator"),
            backend="django.contrib.auth.backends.ModelBackend",
        )
        value = caller.cookies[settings.SESSION_COOKIE_NAME].value
        with portal(home) as server, sync_playwright() as playwright:
            url = f"http://127.0.0.1:{server.port}/"
            cookie = {"name": settings.SESSION_COOKIE_NAME, "value": value, "url": url}
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            _visit(browser, url, cookie)
            used = server.cpu_s()
            rows = [_visit(browser, url, cookie) for _ in range(asked.rounds)]
            used = (server.cpu_s() - used) / asked.rounds * 1e3
            browser.close()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for key, unit, scale in (
        ("bytes", "kB sent", 1e-3), ("requests", "requests", 1), ("first_byte", "ms to the first byte", 1),
        ("paint", "ms to the first paint", 1), ("load", "ms until complete", 1),
        ("browser_cpu", "ms of processor time in the browser", 1),
    ):  # fmt: skip
        values = sorted(row[key] * scale for row in rows)
        print(f"median {statistics.median(values):.0f}, most {values[-1]:.0f} {unit}")
    print(f"{used:.0f} ms of processor time in the portal")


if __name__ == "__main__":
    main()
