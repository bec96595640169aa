"""Keeping a plant: a console, a host that is emptied, and the question who stopped a machine."""

from __future__ import annotations

import pytest
from millwright.audit.models import AuditEntry
from millwright.environments.models import ConsoleVisit, Machine
from millwright.inventory.models import Host
from playwright.sync_api import expect

from tests.support.journeys import Site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.full
def test_open_a_console(site: Site) -> None:
    plant = site.plant
    site.built()
    page = site.enter(plant.operator)
    page.keyboard.press("Control+k")
    page.keyboard.type("filling")
    page.locator("#search-hits a").first.click()
    page.get_by_role("link", name="Console").click()
    page.get_by_text("Opening and closing are written into the audit trail").wait_for()
    page.get_by_role("button", name="Connect").click()
    screen = page.locator(".xterm-rows")
    screen.get_by_text("simulated console").wait_for()
    page.keyboard.type("echo looked by hand")
    page.keyboard.press("Enter")
    screen.get_by_text("looked by hand", exact=True).wait_for()
    site.ends(page, "7-console")
    page.get_by_role("button", name="Leave").click()
    page.get_by_text("You have left the console.").wait_for()
    opened = site.trail("console.open")
    assert opened.actor_name == str(plant.operator)
    site.until(
        lambda: AuditEntry.objects.filter(action="console.close").exists(), "its end in the trail"
    )
    assert ConsoleVisit.objects.get().closed_at is not None


@pytest.mark.full
def test_drain_a_host(site: Site) -> None:
    plant = site.plant
    # The other host has a core to give, too.
    Host.objects.update(policy=plant.hosts[0].policy, topology=plant.hosts[0].topology)
    site.built()
    page = site.enter(plant.operator)
    page.get_by_role("link", name="Pool").first.click()
    page.get_by_role("link", name="mw0-h1").click()
    page.get_by_role("link", name="Drain").click()
    # What goes where, before anything moves; a controller moves with somebody's word only.
    plan = page.locator("main")
    expect(plan).to_contain_text("filling-line-1/vplc")
    expect(plan).to_contain_text("mw0-h2")
    site.ends(page, "9-plan")
    page.get_by_label("Reason").fill("new memory")
    page.get_by_label("I approve that the machines marked so move").check()
    page.get_by_role("button", name="Drain it").click()
    page.get_by_text("It is being drained.").first.wait_for()
    site.until(
        lambda: Host.objects.get(name="mw0-h1").administration == "maintenance", "maintenance"
    )
    page.reload()
    expect(page.locator("h1")).to_contain_text("maintenance")
    page.get_by_text("None.", exact=True).first.wait_for()
    site.ends(page, "9-drained")
    machine = Machine.objects.get()
    assert (machine.host.name, machine.observed) == ("mw0-h2", "running")
    assert site.pool.host("mw0-h1").domain(machine.pk) is None
    entry = site.trail("drain.start")
    assert (entry.actor_name, entry.details["host"], entry.reason) == (
        str(plant.operator), "mw0-h1", "new memory",
    )  # fmt: skip
    # And back again.
    page.get_by_role("button", name="Let it take machines again").click()
    expect(page.locator("h1")).not_to_contain_text("maintenance")
    assert Host.objects.get(name="mw0-h1").administration == "schedulable"


def test_find_who_stopped_a_machine(site: Site) -> None:
    plant = site.plant
    site.built()
    hand = site.enter(plant.operator)
    hand.get_by_role("link", name="Environments").first.click()
    hand.get_by_role("checkbox", name="filling-line-1").check()
    hand.get_by_label("Reason").fill("valve 7 leaks")
    hand.get_by_role("button", name="Stop the ticked").click()
    hand.get_by_text("1 environment is under way.").wait_for()

    # The engineer sees what happened to the machine, and that the rest of the trail is not hers to read.
    page = site.enter(plant.engineer)
    page.get_by_role("link", name="filling-line-1").first.click()
    page.locator("#steps").get_by_text("stopped", exact=True).first.wait_for()
    page.get_by_role("link", name="Audit").first.click()
    page.get_by_label("Person, action, object or reason").fill("stop filling-line-1")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("You see what you did yourself").wait_for()
    site.ends(page, "10-not-hers")

    page = site.enter(plant.administrator)
    page.get_by_role("link", name="Audit").first.click()
    page.get_by_label("Person, action, object or reason").fill("stop filling-line-1")
    page.get_by_role("button", name="Search").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    for words in (str(plant.operator), "filling-line-1", "valve 7 leaks", "127.0.0.1"):
        expect(rows).to_contain_text(words)
    site.ends(page, "10-who")
    site.until(lambda: Machine.objects.get().observed == "stopped", "stopped")
    assert site.trail("environment.stop").actor_name == str(plant.operator)
