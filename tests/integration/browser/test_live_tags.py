"""Live tags in Chromium: trends, the process picture and a confirmed write, with a real gateway and Modbus server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from millwright.audit.models import AuditEntry
from millwright.environments import actions as environments
from millwright.environments import labels
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import AddressClaim, Cell
from millwright.shopfloor import live, recording, setpoints
from millwright.shopfloor.models import Deployment, Device, Program, ProgramVersion
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import every_look, shot
from tests.support.plant import Plant
from tests.support.tags import PICTURE, SYMBOLS, LiveRegisters, open_gateway

__all__ = ["axe", "portal"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
WAIT = 60_000


@pytest.fixture
def line(
    portal: tuple[str, Plant], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[LiveRegisters]:
    """A running filling line with one set-point, behind a gateway."""
    _url, plant = portal
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    program = Program.objects.create(project=plant.project, name="filling")
    version = ProgramVersion.objects.create(
        program=program,
        number=1,
        files={"src/main.st": "", "picture.toml": PICTURE},
        state="ready",
        symbols=SYMBOLS,
        uploaded_by=plant.engineer,
    )
    Machine.objects.update(host=plant.hosts[0], observed="running")
    Operation.objects.update(state="succeeded")
    machine = Machine.objects.get()
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    AddressClaim.objects.create(cell=plant.cell, address="10.90.1.100", machine=machine)
    machine = Machine.objects.with_names().get()
    setpoints.allow(plant.engineer, machine, tag="Main.setpoint", low=1000, high=9000)
    for module in (live, setpoints):
        monkeypatch.setattr(module, "address_of", lambda _machine: "127.0.0.1")
    with LiveRegisters([4000, 0, 12, 8000]) as registers, open_gateway(tmp_path, registers.port):
        yield registers


def test_an_operator_sees_the_line_move_and_writes_a_set_point(
    portal: tuple[str, Plant],
    line: LiveRegisters,
    browser: Browser,
    axe: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, plant = portal
    page = enter(browser, url, plant.operator)
    page.goto(f"{url}/environments/filling-line-1/")
    tank = page.locator("[data-bound='Main.level']")
    tank.get_by_text("40 %").wait_for(timeout=WAIT)
    # 40 % of 86 units.
    assert tank.locator(".mw-fill").get_attribute("height") == "34.4"
    assert "mw-on" in str(page.locator("[data-bound='Main.valve']").get_attribute("class"))
    page.locator("[data-trend] canvas").first.wait_for(timeout=WAIT)
    line.put(0, 6000)
    tank.get_by_text("60 %").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Main.level").get_by_text("6000").wait_for(timeout=WAIT)
    # Longer trends are of what was recorded; then back to what is seen now.
    kept: dict[str, dict[float, float]] = {}
    monkeypatch.setattr(recording, "_asked", lambda *_: kept)
    page.get_by_role("button", name="8 h").click()
    page.get_by_text("Nothing is recorded for this long yet").wait_for(timeout=WAIT)
    kept["Main.level"] = {1e9 + 15 * number: float(number) for number in range(9)}
    page.get_by_role("button", name="1 h").click()
    page.get_by_role("button", name="Main.level").get_by_text("8", exact=True).wait_for(
        timeout=WAIT
    )
    page.get_by_role("button", name="10 min").click()
    page.get_by_role("button", name="Main.level").get_by_text("6000").wait_for(timeout=WAIT)
    page.get_by_label("New value of Main.setpoint").fill("9001")
    page.get_by_role("button", name="Write…").click()
    page.get_by_text("9001: allowed are 1000 to 9000").wait_for()
    page.get_by_label("New value").fill("7500")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("8000").first.wait_for()
    assert line.values()[3] == 8000
    assert faults(page, axe) == []
    page.get_by_label("Reason").fill("warm day")
    page.get_by_role("button", name="Write 7500").click()
    page.get_by_text("Main.setpoint: 8000 → 7500").wait_for()
    assert line.values()[3] == 7500
    assert AuditEntry.objects.get(action="setpoint.write").reason == "warm day"
    page.goto(f"{url}/audit/?q=setpoint")
    page.get_by_text("wrote set-point").first.wait_for()
    assert page.complaints == []  # type: ignore[attr-defined]


@every_look
def test_live_tags_please_at_every_width(
    portal: tuple[str, Plant],
    line: LiveRegisters,
    browser: Browser,
    axe: str,
    width: int,
    scheme: Any,
) -> None:
    url, plant = portal
    page = enter(browser, url, plant.engineer, width, color_scheme=scheme)
    page.goto(f"{url}/environments/filling-line-1/")
    page.locator("[data-bound='Main.level']").get_by_text("40 %").wait_for(timeout=WAIT)
    page.locator("[data-trend] canvas").first.wait_for(timeout=WAIT)
    page.get_by_text("Allow a set-point").click()
    shot(page, f"environment-{width}-{scheme}")
    assert no_overflow(page)
    assert faults(page, axe) == []
    page.get_by_label("New value of Main.setpoint").fill("7500")
    page.get_by_role("button", name="Write…").click()
    page.get_by_role("button", name="Write 7500").wait_for()
    shot(page, f"set-point-{width}-{scheme}")
    assert no_overflow(page)
    assert faults(page, axe) == []
    assert page.complaints == []  # type: ignore[attr-defined]


@every_look
def test_a_device_is_found_by_what_it_says_it_is(
    portal: tuple[str, Plant],
    line: LiveRegisters,
    browser: Browser,
    axe: str,
    width: int,
    scheme: Any,
) -> None:
    url, plant = portal
    Cell.objects.update(cidr="127.0.0.0/24", gateway_address="127.0.0.9")
    page = enter(browser, url, plant.engineer, width, color_scheme=scheme)
    page.goto(f"{url}/devices/new/")
    page.get_by_role("button", name="Discover").click()
    page.locator("#found").get_by_text("Fill in project, cell, address and port first.").wait_for()
    page.get_by_label("Name").first.fill("station")
    page.get_by_label("Project").select_option(index=1)
    page.get_by_label("Cell").select_option(index=1)
    page.get_by_label("First address").fill("127.0.0.1")
    page.get_by_label("Last address").fill("127.0.0.1")
    page.get_by_role("button", name="Search", exact=True).click()
    found = page.locator("#searched")
    found.get_by_text("Sample Works Filling station").wait_for(timeout=WAIT)
    found.get_by_role("button", name="Use").click()
    assert page.get_by_label("Address", exact=True).input_value() == "127.0.0.1"
    assert page.get_by_label("Port").input_value() == str(line.port)
    page.get_by_label("Unit id", exact=True).fill("9")
    page.get_by_label("Last unit id").fill("1")
    page.get_by_role("button", name="Discover").click()
    page.locator("#found").get_by_text("Sample Works Filling station 2.4").wait_for(timeout=WAIT)
    shot(page, f"discover-{width}-{scheme}")
    assert no_overflow(page)
    assert faults(page, axe) == []
    page.locator("#found").get_by_role("button", name="Use").click()
    assert page.get_by_label("Unit id", exact=True).input_value() == "1"
    page.get_by_role("button", name="Register").click()
    page.wait_for_url("**/devices/")
    assert Device.objects.get().unit == 1
    # Its points come from a table; what is odd about them stands beside.
    page.goto(f"{url}/environments/filling-line-1/mappings/?machine={Machine.objects.get().pk}")
    page.get_by_text("(%IX8.0) is an input that no device feeds").wait_for()
    page.get_by_label("or its text").fill("tag,area,register,direction\nMain.present,input,0,in\n")
    page.get_by_role("button", name="Replace").click()
    page.get_by_text("Main.present: INT does not fit BOOL").wait_for()
    labels.set_tags(plant.engineer, Environment.objects.get(), ["pilot", "line-7"])
    labels.save_view(plant.engineer, "Pilots", "tag=pilot")
    shot(page, f"mappings-{width}-{scheme}")
    assert no_overflow(page)
    assert faults(page, axe) == []
    page.goto(f"{url}/environments/?tag=pilot")
    page.get_by_role("link", name="Pilots").wait_for()
    shot(page, f"environments-{width}-{scheme}")
    assert no_overflow(page)
    assert faults(page, axe) == []
    assert page.complaints == []  # type: ignore[attr-defined]
