"""What sleeping hosts save, looked at: with nothing, with weeks of hours, wrong, at both widths and in both themes."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from django.utils import timezone
from millwright.balancing.models import DemandHour
from millwright.environments.models import Operation, StateTransition
from millwright.inventory.models import Host
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import LOOKS, shot
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}
HOUR = dt.timedelta(hours=1)


def _weeks(plant: Plant) -> None:
    """Forty hosts that slept at night, and four weeks of hours with a shift, some of them more than expected."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    hosts = Host.objects.bulk_create(
        Host(
            name=f"line-3-hall-b-{number:02}",
            uri=f"qemu+tls://line-3-hall-b-{number}/system",
            policy={"sleep": SLEEP | ({"watts": 120 + number} if number % 3 else {})},
        )
        for number in range(40)
    )
    StateTransition.objects.bulk_create(
        StateTransition(
            at=now - dt.timedelta(days=day) + HOUR * hours, subject_type="host",
            subject_id=str(host.pk), subject_name=host.name, aspect="power",
            before=before, after=after,
        )
        for number, host in enumerate(hosts)
        for day in range(1, 7)
        for hours, before, after in (
            (0, "awake", "falling_asleep"), (0.1, "falling_asleep", "asleep"),
            (8 + number / 10, "asleep", "waking"), (8.2 + number / 10, "waking", "awake"),
        )
    )  # fmt: skip
    Operation.objects.create(
        kind="wake_host", host=hosts[3], state="failed", ended_at=now, payload={}
    )
    rows = []
    for n in range(28 * 24):
        at = now - n * HOUR
        shift = 60.0 if 5 <= at.hour < 18 and at.weekday() < 5 else 14.0
        cpus = shift + 8 * math.sin(n / 3)
        known = n < 21 * 24
        rows.append(
            DemandHour(
                at=at, cpus=cpus + (25 if n in (30, 31, 80) else 0), memory_bytes=int(cpus * 2**32),
                expected_cpus=shift + 8 if known else None,
                expected_memory_bytes=int((shift + 8) * 2**32) if known else None,
                awake_cpus=shift * 1.5 if known else None,
                awake_memory_bytes=int(shift * 1.6 * 2**32) if known else None,
                lacked=n == 31,
            )
        )  # fmt: skip
    DemandHour.objects.bulk_create(rows)


def test_it_is_readable_with_nothing_with_weeks_and_after_an_error(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal

    def look(name: str, query: str, wanted: str) -> None:
        for width, scheme in LOOKS:
            page = enter(browser, url, plant.operator, width, color_scheme=scheme)
            page.goto(f"{url}/balancing/sleep/{query}")
            page.get_by_text(wanted).first.wait_for()
            assert faults(page, axe) == [], (name, width, scheme)
            assert no_overflow(page)
            shot(page, f"saves-{name}-{width}-{scheme}")
            assert page.complaints == []  # type: ignore[attr-defined]

    look("nothing", "", "Nothing was expected of these hours")
    _weeks(plant)
    today = timezone.localtime().date()
    look("week", "", "The forecast was furthest off")
    look("month", f"?from={today - dt.timedelta(days=27)}&to={today}", "Hour by hour")
    look("day", f"?from={today}&to={today}&short=1", "The forecast against what was")
    page = enter(browser, url, plant.operator, 400)
    page.goto(f"{url}/balancing/sleep/?from=yesterday")
    page.get_by_text("a day like 2026-05-04").wait_for()
    assert page.input_value("#from") == "yesterday"
    assert faults(page, axe) == []
    assert no_overflow(page)


def test_hours_are_reached_by_keyboard_alone(portal: tuple[str, Plant], browser: Browser) -> None:
    url, plant = portal
    _weeks(plant)
    page = enter(browser, url, plant.operator, 400)
    page.goto(f"{url}/balancing/")
    page.get_by_role("link", name="What it saves").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/balancing/sleep/")
    page.get_by_role("link", name="Only hours in which it fell short").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**short=1*")
    assert page.locator("#hours tbody tr").count() == 3
    # Each number of the table says what it is, where there is no head above it.
    assert page.locator("#hours td[data-label]").count() == 18
