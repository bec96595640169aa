"""The wall without anybody's hand, also when the server is lost; a month's chart."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from millwright.portal.views import service_levels
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.models import Interval
from millwright.service_levels.rounds import ledger_round
from playwright.sync_api import Browser, Page, expect

from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.history import machine_of, put_in_service, write
from tests.support.plant import Plant

__all__ = ["portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIMIT_MS = 60_000


def ago(minutes: float) -> dt.datetime:
    return timezone.now() - dt.timedelta(minutes=minutes)


def test_the_wall_turns_red_by_itself_and_says_when_the_server_is_lost(
    portal: tuple[str, Plant], browser: Browser, tmp_path: Path
) -> None:
    url, plant = portal
    folder = Path(os.environ.get("PICTURES", tmp_path))
    sync_objectives()
    machines = {name: machine_of(plant, name) for name in ("filling-line-1", "packing-line-2")}
    for machine in machines.values():
        put_in_service(machine, ago(3000))
    write(machines["packing-line-2"], ago(900), "stopped")
    write(machines["packing-line-2"], ago(890), "running")
    ledger_round(timezone.now())

    page = enter(browser, url, plant.operator)
    page.goto(f"{url}/wall/")
    tile = page.locator('[data-line="filling-line-1"]')
    expect(tile).to_have_attribute("data-state", "up")
    assert no_overflow(page)
    write(machines["filling-line-1"], ago(2), "stopped")
    ledger_round(timezone.now())
    expect(tile).to_have_attribute("data-state", "down", timeout=LIMIT_MS)
    expect(page.locator(".mw-tile").first).to_have_attribute("data-line", "filling-line-1")
    expect(tile).to_contain_text("2 min")
    page.screenshot(path=folder / "wall.png")
    page.context.set_offline(True)
    expect(page.locator("#wall-stale")).to_be_visible(timeout=LIMIT_MS)
    expect(page.locator("#wall-stale")).to_contain_text("stale since")
    page.context.set_offline(False)
    expect(page.locator("#wall-stale")).to_be_hidden(timeout=LIMIT_MS)
    page.context.clear_cookies()
    expect(page.locator("#wall-stale")).to_contain_text("signed out since", timeout=LIMIT_MS)


def histogram(_environment: str, hours: int, now: dt.datetime) -> dict[str, Any]:
    """As Prometheus would tell it: most cycles begin within 50 µs, some later, a burst in the middle."""
    end = int(now.timestamp()) // 90 * 90
    times = [end - 90 * number for number in range(hours * 40)][::-1]
    counts = [
        [9000 - number % 7, number % 11, 3 if abs(number - 120) < 4 else 0, 0]
        for number in range(len(times))
    ]
    return {"step": 90, "times": times, "limits": [5e-5, 2e-4, 1e-3, None], "counts": counts}


def test_a_month_is_drawn_with_what_changed(
    portal: tuple[str, Plant],
    browser: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, plant = portal
    monkeypatch.setattr(service_levels, "jitter_map", histogram)
    folder = Path(os.environ.get("PICTURES", tmp_path))
    sync_objectives()
    machine = machine_of(plant, "filling-line-1")
    put_in_service(machine, ago(3000))
    for begin, end in ((2000, 1990), (700, 690)):
        write(machine, ago(begin), "stopped")
        write(machine, ago(end), "running")
    write(plant.hosts[0], ago(700), "down", cause="no answer")
    ledger_round(timezone.now())
    for width in (1280, 400):
        page = enter(browser, url, plant.engineer, width)
        page.goto(f"{url}/environments/filling-line-1/service-level/")
        page.locator("#budget-chart canvas").wait_for()
        page.locator("#jitter-map canvas").wait_for()
        expect(page.locator("#jitter-map")).to_have_attribute(
            "aria-label", "latest start, at most: 1 ms"
        )
        assert no_overflow(page)
        assert page.complaints == []  # type: ignore[attr-defined]
        page.screenshot(path=folder / f"month-{width}.png", full_page=True)


def drawn(page: Page, chart: str) -> str:
    """What the chart's canvas shows."""
    picture: str = page.locator(f"{chart} canvas").evaluate("canvas => canvas.toDataURL()")
    return picture


def test_what_is_drawn_on_a_chart_zooms_stays_while_it_goes_on_and_is_undone(
    portal: tuple[str, Plant], browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, plant = portal
    asked: list[int] = []

    def counted(environment: str, hours: int, _now: dt.datetime) -> dict[str, Any]:
        asked.append(hours)
        # The same at each look, so that what is drawn changes by the zoom alone.
        return histogram(environment, hours, dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC))

    monkeypatch.setattr(service_levels, "jitter_map", counted)
    sync_objectives()
    machine = machine_of(plant, "filling-line-1")
    put_in_service(machine, ago(3000))
    write(machine, ago(700), "stopped")
    write(machine, ago(690), "running")
    ledger_round(timezone.now())
    page = enter(browser, url, plant.engineer)
    page.goto(f"{url}/environments/filling-line-1/service-level/")
    for chart in ("#budget-chart", "#jitter-map"):
        over = page.locator(f"{chart} .u-over")
        over.scroll_into_view_if_needed()
        over.wait_for()
        page.mouse.move(1, 1)
        before = drawn(page, chart)
        box = over.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 80, steps=5)
        page.mouse.up()
        page.mouse.move(1, 1)
        zoomed = drawn(page, chart)
        assert zoomed != before, chart
        if chart == "#jitter-map":
            # The next look, a quarter of a minute later, leaves it as it was chosen.
            looks = len(asked)
            while len(asked) < looks + 2:
                page.wait_for_timeout(500)
            assert drawn(page, chart) == zoomed
        page.locator(f"{chart} .u-over").dblclick(position={"x": 50, "y": 60})
        page.mouse.move(1, 1)
        assert drawn(page, chart) == before, chart
    assert page.complaints == []  # type: ignore[attr-defined]


def test_the_queue_is_worked_through_by_keyboard(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    sync_objectives()
    machine = machine_of(plant, "filling-line-1")
    put_in_service(machine, ago(3000))
    for begin in (2000, 1500, 700):
        write(machine, ago(begin), "stopped")
        write(machine, ago(begin - 10), "running")
    ledger_round(timezone.now())
    assert Interval.objects.unclassified().count() == 3
    page = enter(browser, url, plant.operator)
    page.goto(f"{url}/service-levels/ledger/")
    rows = page.locator("[data-row]")
    expect(rows).to_have_count(3)
    keys = page.keyboard
    for key in "jjjk":
        keys.press(key)
    expect(rows.nth(1)).to_be_focused()
    keys.press("x")
    expect(rows.nth(1).get_by_role("checkbox")).to_be_checked()
    keys.press("s")
    expect(rows.nth(1)).to_contain_text("acknowledged")
    # The newest is unplanned, the oldest a small stop; a letter in the search is a letter.
    keys.press("j")
    keys.press("1")
    expect(rows).to_have_count(2)
    for key in "jj2":
        keys.press(key)
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").or_(page.locator("input[name=q]")).first.press("1")
    expect(rows).to_have_count(1)
    causes = Interval.objects.current().order_by("begin").values_list("cause", flat=True)
    assert list(causes) == ["small_stop", "unknown", "unplanned"]
    page.locator("h1, h2").first.click()
    keys.press("j")
    keys.press("Enter")
    page.wait_for_url(f"{url}/service-levels/ledger/*/")
    assert page.complaints == []  # type: ignore[attr-defined]
