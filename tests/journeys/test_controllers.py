"""Devices at a controller and programs in it: real processes on loopback, from the click to the register."""

from __future__ import annotations

import json
import time

import pytest
from millwright.environments.models import Environment, Operation
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor import deployments
from millwright.shopfloor.models import Deployment, Device, ProgramVersion
from playwright.sync_api import Page, expect
from pymodbus.client import ModbusTcpClient

from tests.support.floor import ROOT, Floor, free_address
from tests.support.journeys import Site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.full,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

LABELS = """PROGRAM Main
VAR
    labels  AT %IW0   : INT;
    seen    AT %QW0   : INT;
    run     AT %QX8.0 : BOOL := TRUE;
END_VAR
seen := labels;
END_PROGRAM
"""


def with_program(live: Site, name: str, files: dict[str, str]) -> Environment:
    """A controller that runs a program when the journey begins."""
    plant = live.plant
    version = shopfloor.upload_program(plant.engineer, plant.project, name, files)
    return live.built(program_version=version)


def value(page: Page, tag: str) -> int:
    """What the page of the environment says of a tag now."""
    text = page.locator(f'td[data-tag="{tag}"]').inner_text().strip()
    return int(text) if text.lstrip("-").isdigit() else -1


def moves(live: Site, page: Page, tag: str) -> None:
    """Wait until a value on the page changes by itself, twice."""
    page.locator(f'td[data-tag="{tag}"]').wait_for()
    seen = {value(page, tag)}

    def another() -> bool:
        page.wait_for_timeout(200)
        seen.add(value(page, tag))
        return len(seen - {-1}) > 2

    live.until(another, f"{tag} moves on the page")


def register_device(page: Page, **fields: str) -> None:
    """Fill in the device form up to its address."""
    page.get_by_role("link", name="Shop floor").first.click()
    page.get_by_role("link", name="Register a device").first.click()
    page.get_by_label("Name", exact=True).fill(fields["name"])
    page.get_by_label("Project", exact=True).select_option(label="Line 1")
    page.get_by_label("Cell", exact=True).select_option(index=1)
    if "protocol" in fields:
        page.get_by_label("Protocol", exact=True).select_option(label=fields["protocol"])
    page.get_by_label("Address", exact=True).fill(fields["address"])
    page.get_by_label("Port", exact=True).fill(fields["port"])


def map_points(page: Page, rows: list[tuple[str, str, str, str, str]]) -> None:
    """Fill in the table of points: tag, area, place, type, direction."""
    for number, (tag, area, place, kind, direction) in enumerate(rows):
        if not tag:
            # As it is already.
            continue
        line = page.locator(".mw-points tbody tr").nth(number)
        line.get_by_label("Tag").fill(tag)
        line.get_by_label("Area").select_option(area)
        line.get_by_label("Register").fill(place)
        line.get_by_label("Type").select_option(kind)
        line.get_by_label("Direction").select_option(direction)
    page.get_by_role("button", name="Save and open the firewall").click()
    page.get_by_text("The configuration is being delivered").first.wait_for()


def test_connect_a_modbus_device(live: Site, floor: Floor) -> None:
    plant = live.plant
    folder = ROOT / "examples/filling_line"
    files = {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        # Where its station is, is said on the pages.
        if path.is_file() and "io" not in path.relative_to(folder).parts
    }
    with_program(live, "filling", files)
    station = free_address()
    floor.process(
        "-m", "industrial.cli", "simulator", "filling-line", "--host", station, "--port", "502",
        answers=(station, 502),
    )  # fmt: skip

    page = live.enter(plant.engineer)
    register_device(page, name="filling-station", address=station, port="502")
    page.get_by_label("Last unit id").fill("2")
    page.get_by_role("button", name="Discover").click()
    page.locator("#found").get_by_role("button", name="Use").first.click()
    page.get_by_role("button", name="Read up to 8").click()
    # It has two: level and bottles.
    page.locator("#read").get_by_text("The device answers:").wait_for()
    expect(page.locator("#read tr")).to_have_count(2)
    live.ends(page, "4-asked")
    page.get_by_role("button", name="Register", exact=True).click()
    page.get_by_text("Map its registers on the environment's page.").wait_for()
    live.ends(page, "4-registered")

    page.get_by_role("link", name="Environments").first.click()
    page.get_by_role("link", name="filling-line-1").first.click()
    page.get_by_role("link", name="Map registers").click()
    map_points(
        page,
        [
            ("Main.sensor", "input", "0", "UINT", "in"),
            ("Main.stop_ok", "discrete", "1", "BOOL", "in"),
            ("Main.valve", "coil", "0", "BOOL", "out"),
            ("Main.conveyor", "coil", "1", "BOOL", "out"),
        ],
    )
    page.get_by_text(f"→ {station}:502").wait_for(state="attached")
    # The tank's level comes from the station, moves in the table, and the tank of the picture with it.
    moves(live, page, "Main.level")
    expect(page.locator("[data-bound='Main.level']")).to_contain_text("%")
    live.ends(page, "4-live")
    # What the controller decided has arrived at the station.
    with ModbusTcpClient(station, port=502) as client:
        live.until(
            lambda: client.read_coils(1, count=1, device_id=1).bits[0],
            "the conveyor of the station",
        )
    page.get_by_role("link", name="Shop floor").first.click()
    page.get_by_role("link", name="filling-station").first.click()
    page.get_by_role("button", name="Ask it now").click()
    page.get_by_text("It answered within").wait_for()
    live.ends(page, "4-device")
    assert live.trail("device.add").actor_name == str(plant.engineer)
    assert live.trail("mapping.set").actor_name == str(plant.engineer)


def test_connect_an_opc_ua_device(live: Site, floor: Floor) -> None:
    plant = live.plant
    with_program(live, "labelling", {"src/main.st": LABELS})
    station = free_address()
    floor.process(
        "-m", "tests.support.opcua_station", station, "4840", str(floor.folder / "station"),
        answers=(station, 4840),
    )  # fmt: skip

    page = live.enter(plant.engineer)
    register_device(page, name="labelling-station", protocol="OPC UA", address=station, port="4840")
    page.get_by_role("button", name="Discover").click()
    found = page.locator("#found")
    found.get_by_text("Basic256Sha256").first.wait_for()
    shown = found.locator(".text-secondary code").first.inner_text()
    # Down the tree to the value that is wanted, and its id.
    found.get_by_text("Labelling").click()
    found.get_by_text("ns=2;s=labels").wait_for()
    live.ends(page, "5-discovered")
    page.get_by_role("button", name="Register", exact=True).click()
    page.get_by_text("Say next which certificate is trusted.").wait_for()
    # The fingerprint that discovery showed is the one to compare.
    offered = page.get_by_role("region", name="Certificate")
    offered.get_by_text(shown).first.wait_for()
    offered.get_by_role("button", name="Trust this certificate").click()
    offered.get_by_text("Trusted is the certificate").wait_for()
    page.get_by_role("button", name="Ask it now").click()
    page.get_by_text("it shows the trusted certificate").wait_for()
    live.ends(page, "5-trusted")

    page.get_by_role("link", name="Environments").first.click()
    page.get_by_role("link", name="filling-line-1").first.click()
    page.get_by_role("link", name="Map registers").click()
    map_points(
        page,
        [
            ("Main.labels", "node", "ns=2;s=labels", "INT", "in"),
            ("Main.run", "node", "ns=2;s=run", "BOOL", "out"),
        ],
    )
    # The program's order lets the station run, and its counter comes back.
    moves(live, page, "Main.seen")
    live.ends(page, "5-live")
    device = Device.objects.get()
    assert device.fingerprint == shown
    assert live.trail("device.trust").details["fingerprint"] == shown
    assert live.trail("mapping.set").actor_name == str(plant.engineer)


def type_in(page: Page, line: int, declaration: str, statement: str) -> None:
    """Type a statement before the end; the compiler misses its variable; declare it in a line of its own."""
    name = statement.partition(" ")[0]
    page.locator("#editor-verdict[data-ok=true]").wait_for()
    page.get_by_role("textbox", name="src/main.st").click()
    page.keyboard.press("Control+End")
    page.keyboard.press("ArrowUp")
    page.keyboard.insert_text(f"{statement}\n")
    page.locator("#editor-problems").get_by_text(name).first.wait_for()
    page.locator("#editor-verdict[data-ok=false]").wait_for()
    page.keyboard.press("Control+Home")
    for _ in range(line - 1):
        page.keyboard.press("ArrowDown")
    page.keyboard.insert_text(f"    {declaration}\n")
    page.locator("#editor-verdict[data-ok=true]").wait_for()


def agrees(live: Site, version: str, count: int) -> None:
    """Somebody else lets a version go to the machine; wait until it runs there."""
    page = live.enter(live.plant.approver, 400)
    page.get_by_role("link", name=version).first.click()
    page.get_by_text("waits to go to").first.wait_for()
    live.ends(page, f"6-asked-{count}")
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("Approved. It is being delivered.").wait_for()
    page.context.close()

    def runs() -> bool:
        rows = Deployment.objects.order_by("-created_at").values_list("state", flat=True)
        assert "failed" not in rows, list(Operation.objects.values_list("kind", "error"))
        return len(rows) == count and rows[0] == "active"

    live.until(runs, f"{version} runs")


def test_write_simulate_deploy_and_change_online(live: Site, floor: Floor) -> None:
    plant = live.plant
    live.built()
    deployments.set_policy(plant.administrator, plant.project, approval=True)
    page = live.enter(plant.engineer)
    page.get_by_role("link", name="Programs").first.click()
    page.get_by_role("link", name="Write a program").first.click()
    page.get_by_label("Name of the program").fill("packer")
    # A counter that shows each scan.
    type_in(page, 7, "turns   AT %QW2   : UINT;", "turns := turns + 1;")
    page.get_by_role("button", name="Run scenarios").click()
    page.locator("#rehearsal-verdict").get_by_text("1 of 1 passed").wait_for()
    page.locator("#rehearsal canvas").first.wait_for()
    live.ends(page, "6-simulated")
    page.get_by_role("button", name="Save as a new version").click()
    page.get_by_text("Compiled and signed").wait_for()
    page.get_by_label("Reason").fill("first packer")
    page.get_by_role("button", name="Ask to deploy").click()
    page.get_by_text("It waits for somebody's approval.").wait_for()
    agrees(live, "packer v1", 1)
    page.reload()
    moves(live, page, "Main.turns")

    # Another version, while the first one runs.
    page.get_by_role("link", name="packer v1").first.click()
    page.get_by_role("link", name="Edit as a new version").click()
    type_in(page, 8, "twice   AT %QW3   : UINT;", "twice := starts * 2;")
    page.get_by_role("button", name="Save as a new version").click()
    page.get_by_text("Compiled and signed").wait_for()
    page.get_by_role("link", name="Compare with v1").click()
    page.locator("#verdict").get_by_text("the change can go online").wait_for()
    live.ends(page, "6-compared")
    page.go_back()
    page.get_by_label("Reason").fill("shows the double")

    def turns() -> int:
        with ModbusTcpClient(floor.address, port=502) as client:
            return int(client.read_holding_registers(2, count=1, device_id=1).registers[0])

    scan = floor.controller.status()["scan_pid"]
    before, at = turns(), time.monotonic()
    page.get_by_role("button", name="Ask to deploy").click()
    page.get_by_text("It waits for somebody's approval.").wait_for()
    agrees(live, "packer v2", 2)
    page.reload()
    page.locator("#steps").get_by_text("values kept").wait_for()
    page.locator('td[data-tag="Main.twice"]').wait_for()
    live.ends(page, "6-changed")
    page.get_by_role("button", name="Roll back to this").first.click()
    page.get_by_text("It waits for somebody's approval.").wait_for()
    agrees(live, "packer v1", 3)
    page.reload()
    page.locator("#steps").get_by_text("values kept").wait_for()
    # The counter went on from where it was: not from 0, and no faster than 10 ms allow.
    after, seconds = turns(), time.monotonic() - at
    assert 0 < (after - before) % 65536 <= seconds * 100 + 200
    # The controller writes its status once in a while.
    end = time.monotonic() + 60
    while (told := floor.controller.status())["changes"] != 2 and time.monotonic() < end:
        time.sleep(0.2)
    assert (told["scan_pid"], told["changes"]) == (scan, 2), "two changes, and nobody began anew"
    expect(page.locator('td[data-tag="Main.twice"]')).to_have_count(0)
    live.ends(page, "6-rolled-back")

    # Somebody at the controller holds the motor; the portal shows it and ends it.
    floor.controller.command("force", "set", "Main.motor=true")
    page.get_by_role("link", name="Forced variables").first.click()
    page.get_by_role("row", name="Main.motor").wait_for()
    live.ends(page, "6-forced")
    page.get_by_label("I know what the program does").check()
    page.get_by_role("button", name="End all").click()
    page.get_by_text("Ended. Still forced: 0.").wait_for()
    page.get_by_text("Nothing is forced").wait_for()
    assert json.loads(floor.controller.command("force").stdout)["forced"] == {}
    assert list(Deployment.objects.order_by("created_at").values_list("state", flat=True)) == [
        "replaced",
        "replaced",
        "active",
    ]
    assert ProgramVersion.objects.count() == 2
    reasons = [row.reason for row in live.trails("program.ask")]
    assert reasons == ["first packer", "shows the double", "roll back"]
    agreed = {row.actor_name for row in live.trails("program.approve")}
    assert agreed == {str(plant.approver)}
    assert live.trail("force.end").actor_name == str(plant.engineer)
