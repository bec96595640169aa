"""A device's page and the host wizard in Chromium: no overflow, nothing that axe finds, nothing that the console says."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.hypervisor.fake import FakePool
from millwright.inventory.models import Host
from millwright.orchestrator.joining import checker
from millwright.shopfloor.models import Device
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import shot
from tests.support.desk import open_desk
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WAIT = 60_000


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_device_and_a_new_host(
    portal: tuple[str, Plant], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    url, plant = portal
    device = Device.objects.create(
        name="press-opc",
        project=plant.project,
        cell=plant.cell,
        protocol="opcua",
        address="10.90.1.50",
        port=4840,
    )
    page = enter(browser, url, plant.administrator, width, color_scheme=scheme)
    page.goto(f"{url}/devices/{device.pk}/")
    page.get_by_role("button", name="Ask it now").click()
    page.get_by_text("No good answer").wait_for(timeout=WAIT)
    assert no_overflow(page)
    assert faults(page, axe) == []
    shot(page, f"device-{width}-{scheme}")
    check = checker("site", lambda name, _uri, site: FakePool(site).add_host(name))
    with open_desk(host_check=check):
        page.goto(f"{url}/pool/")
        page.get_by_role("link", name="Add a host").click()
        page.get_by_label("Name", exact=True).fill("press-9")
        page.get_by_label("libvirt address").fill("qemu+tls://press-9/system")
        page.get_by_role("button", name="Ask it").click()
        page.get_by_text("2. What it says").wait_for(timeout=WAIT)
        assert no_overflow(page)
        assert faults(page, axe) == []
        shot(page, f"host-new-{width}-{scheme}")
        page.get_by_role("button", name="Register").click()
        page.get_by_text("It is asked and probed now").wait_for(timeout=WAIT)
    assert Host.objects.get(name="press-9").policy["realtime_cpus"] == "5,6,7"
    assert page.complaints == []  # type: ignore[attr-defined]
