"""A host's power on its page: at both widths and in both themes, put to sleep by keyboard alone."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.balancing import consolidating
from millwright.balancing.models import DemandHour
from millwright.environments.models import Operation
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


def test_a_host_is_put_to_sleep_by_keyboard_and_shown_asleep(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    host = plant.hosts[1]
    now = timezone.now()
    Host.objects.filter(pk=host.pk).update(
        policy=host.policy | {"sleep": SLEEP}, health="up", last_seen=now
    )
    page = enter(browser, url, plant.operator, 400)
    page.goto(f"{url}/pool/{host.name}/")
    assert faults(page, axe) == []
    assert no_overflow(page)
    shot(page, "host-awake-400")
    page.locator("#power-reason").focus()
    page.keyboard.type("nobody works tonight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("It is being put to sleep.").wait_for()
    (operation,) = Operation.objects.filter(kind="sleep_host")
    assert (operation.host, operation.reason) == (host, "nobody works tonight")
    Operation.objects.update(state="succeeded", ended_at=now)
    Host.objects.filter(pk=host.pk).update(
        power="asleep",
        power_since=now,
        power_until=now + dt.timedelta(hours=9),
        power_reason="nobody works tonight",
    )
    for width, scheme in LOOKS:
        page = enter(browser, url, plant.operator, width, color_scheme=scheme)
        for path, name in ((f"/pool/{host.name}/", "host"), ("/pool/", "pool")):
            page.goto(url + path)
            assert faults(page, axe) == [], (path, width, scheme)
            assert no_overflow(page)
            shot(page, f"{name}-asleep-{width}-{scheme}")
        assert page.complaints == []  # type: ignore[attr-defined]


def test_what_rounds_decide_of_sleep_is_readable_with_nothing_with_much_and_after_an_error(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    now = timezone.now().replace(minute=30, second=0, microsecond=0)

    def look(name: str, wanted: str) -> None:
        for width, scheme in LOOKS:
            page = enter(browser, url, plant.operator, width, color_scheme=scheme)
            page.goto(f"{url}/balancing/")
            page.locator("#sleeping").get_by_text(wanted).first.wait_for()
            assert faults(page, axe) == [], (name, width, scheme)
            assert no_overflow(page)
            shot(page, f"sleep-{name}-{width}-{scheme}")
            assert page.complaints == []  # type: ignore[attr-defined]

    look("nothing", "you have it emptied here")
    Host.objects.bulk_create(
        Host(
            name=f"line-3-hall-b-{number}",
            uri=f"qemu+tls://line-3-hall-b-{number}/system",
            topology=plant.hosts[0].topology,
            memory_bytes=2**38,
            health="up",
            last_seen=now,
            policy=plant.hosts[0].policy | ({"sleep": SLEEP} if number % 2 else {}),
            # Woken two hours ago: for three they stay awake.
            power_since=now - dt.timedelta(hours=2),
        )
        for number in range(70)
    )
    DemandHour.objects.bulk_create(
        DemandHour(at=now.replace(minute=0) - dt.timedelta(hours=n), cpus=0.1, memory_bytes=2**30)
        for n in range(1, 337)
    )
    consolidating.set_consolidation(plant.operator, "shadow", keep_awake=1)
    consolidating.consolidation_round(now)
    look("much", "stays awake")
    for width in (400, 1280):
        page = enter(browser, url, plant.operator, width)
        page.goto(f"{url}/balancing/")
        page.fill("#sleep-begin", "20:00")
        page.fill("#sleep-reason", "fewer fans at night")
        page.locator("#sleeping").get_by_role("button", name="Set").click()
        page.get_by_text("give both times, or none").wait_for()
        assert page.input_value("#sleep-begin") == "20:00"
        assert page.input_value("#sleep-reason") == "fewer fans at night"
        assert faults(page, axe) == []
        assert no_overflow(page)
        shot(page, f"sleep-refused-{width}")
