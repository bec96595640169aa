"""From the catalogue to a machine that runs; a decision on a telephone; a lease that would end."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.core.lifecycle import OperationKind
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Request
from millwright.operations import saga_for
from playwright.sync_api import expect

from tests.support.journeys import Site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: How many steps a machine that is built has done at the end: all.
PROVISIONED = len(saga_for(OperationKind.PROVISION).steps)


def test_request_to_running(site: Site) -> None:
    plant = site.plant
    page = site.enter(plant.engineer)
    page.get_by_text("Nothing runs for you yet").wait_for()
    page.get_by_role("link", name="Open the catalogue").click()
    page.get_by_role("link", name="Request Virtual PLC").click()
    page.get_by_label("Name of the environment").fill("filling-line-1")
    page.get_by_label("Justification").fill("Second filling line, commissioning in week 50")
    preview = page.locator("#preview")
    preview.get_by_text("Best host").wait_for()
    assert "mw0-h1" in preview.inner_text()
    page.get_by_role("button", name="Submit for approval").click()
    page.get_by_text("An approver decides").wait_for()

    chief = site.enter(plant.approver)
    chief.get_by_text("Waiting for your decision").wait_for()
    chief.get_by_role("link", name="filling-line-1").click()
    chief.get_by_text("Second filling line, commissioning in week 50").wait_for()
    chief.get_by_role("button", name="Approve").click()
    chief.get_by_role("link", name="Open the environment").click()
    # The page follows the orchestrator's steps by itself: nobody reloads it.
    steps = chief.locator("#steps")
    steps.get_by_text("running", exact=True).first.wait_for()
    expect(steps.locator(".mw-step-succeeded")).to_have_count(PROVISIONED)

    page.get_by_role("link", name="Environments").first.click()
    page.get_by_role("link", name="filling-line-1").click()
    page.get_by_text("10.90.1.100:502").first.wait_for()
    page.get_by_text("CPU 1 is its own").wait_for()
    site.ends(page, "2-running")

    machine = Machine.objects.get()
    assert (machine.host.name, machine.observed) == ("mw0-h1", "running")
    assert site.pool.host("mw0-h1").domain(machine.pk) is not None
    assert site.trail("request.submit").actor_name == str(plant.engineer)
    assert site.trail("request.approve").actor_name == str(plant.approver)


def test_approve_on_a_phone(site: Site) -> None:
    plant = site.plant
    for name, why in (("packing-line-2", "Packing, week 51"), ("spare-line-3", "just in case")):
        asked = actions.create_request(
            plant.engineer, **plant.request_fields(name, justification=why)
        )
        actions.submit_request(plant.engineer, asked)
    phone = site.enter(plant.approver, 400, has_touch=True, is_mobile=True, color_scheme="dark")
    phone.get_by_text("Waiting for your decision").wait_for()
    phone.get_by_role("link", name="packing-line-2").tap()
    # Everything that one needs to decide: who, what, why, where it would run.
    what = phone.locator("main")
    for words in (str(plant.engineer), "Packing, week 51", "Virtual PLC", "Best host"):
        expect(what).to_contain_text(words)
    phone.get_by_label("Lease to grant, in days").fill("7")
    site.ends(phone, "3-decision")
    phone.get_by_role("button", name="Approve").tap()
    phone.get_by_role("link", name="Open the environment").wait_for()

    phone.get_by_role("link", name="Requests").first.tap()
    phone.get_by_role("link", name="spare-line-3").tap()
    # Without a reason nobody is refused.
    phone.get_by_role("button", name="Reject").tap()
    phone.get_by_text("reason", exact=False).first.wait_for()
    assert Request.objects.get(name="spare-line-3").state == "submitted"
    phone.get_by_label("Reason").fill("Line 2 has room for it")
    phone.get_by_role("button", name="Reject").tap()
    expect(phone.locator("h1")).to_contain_text("rejected")
    phone.get_by_text("Line 2 has room for it").first.wait_for()
    site.ends(phone, "3-rejected")

    site.until(
        lambda: Environment.objects.filter(name="packing-line-2", state="running").exists(),
        "the approved one runs",
    )
    assert site.trail("request.approve").object_name == "packing-line-2"
    assert site.trail("request.reject").reason == "Line 2 has room for it"
    ends = Environment.objects.get().lease_until
    assert ends is not None
    assert dt.timedelta(days=6) < ends - timezone.now() <= dt.timedelta(days=7)


@pytest.mark.full
def test_extend_a_lease(site: Site) -> None:
    plant = site.plant
    site.built()
    soon = timezone.now() + dt.timedelta(days=2)
    Environment.objects.update(lease_until=soon)
    page = site.enter(plant.engineer)
    # A round of the orchestrator notices it.
    site.until(lambda: Environment.objects.get().lease_ending, "the lease is said to end soon")
    page.get_by_role("link", name="Environments").first.click()
    page.get_by_label("Lease ends soon").check()
    page.wait_for_url("**ending=1**")
    page.get_by_text("ends soon", exact=True).wait_for()
    page.get_by_role("link", name="filling-line-1").click()
    lease = page.get_by_role("region", name="Lease")
    lease.get_by_label("Days").fill("14")
    lease.get_by_role("button", name="Extend by days").click()
    page.get_by_text("The lease was extended.").wait_for()
    site.ends(page, "8-lease")
    ends = Environment.objects.get().lease_until
    assert ends is not None
    assert (ends - soon, Environment.objects.get().lease_ending) == (dt.timedelta(days=14), False)
    assert site.trail("environment.extend").actor_name == str(plant.engineer)
