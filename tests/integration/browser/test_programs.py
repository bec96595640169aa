"""A program from the first line to the machine, in Chromium, with the real worker that checks and rehearses it."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.environments import actions as environments
from millwright.environments.models import Machine, Operation
from millwright.shopfloor import deployments
from millwright.shopfloor.models import Deployment, ProgramVersion
from playwright.sync_api import Browser, Page

from tests.integration.browser.test_accessible import axe, faults
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import every_look, shot
from tests.support.desk import open_desk
from tests.support.plant import Plant

__all__ = ["axe", "portal"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TYPING = 60_000


def _machine(plant: Plant) -> Machine:
    request = environments.submit_request(
        plant.engineer, environments.create_request(plant.engineer, **plant.request_fields())
    )
    environments.approve_request(plant.approver, request)
    Machine.objects.update(host=plant.hosts[0])
    Operation.objects.update(state="succeeded")
    return Machine.objects.with_names().get()


def _verdict(page: Page, ok: bool) -> None:
    page.locator(f"#editor-verdict[data-ok={str(ok).lower()}]").wait_for(timeout=TYPING)


def test_write_check_rehearse_save_and_deploy_with_approval(
    portal: tuple[str, Plant], browser: Browser, axe: str
) -> None:
    url, plant = portal
    machine = _machine(plant)
    deployments.set_policy(plant.administrator, plant.project, approval=True)
    with open_desk():
        page = enter(browser, url, plant.engineer)
        page.goto(f"{url}/programs/")
        page.get_by_role("link", name="Write a program").click()
        page.get_by_label("Name of the program").fill("packer")
        _verdict(page, True)
        # A mistake is underlined while it is typed, and its finding leads to it.
        content = page.get_by_role("textbox", name="src/main.st")
        content.click()
        page.keyboard.press("Control+End")
        page.keyboard.type("\nnonsense")
        _verdict(page, False)
        finding = page.locator("#editor-problems button").first
        assert "src/main.st:" in finding.inner_text()
        assert faults(page, axe) == []
        for _ in range(9):
            page.keyboard.press("Backspace")
        _verdict(page, True)
        page.get_by_role("button", name="Run scenarios").click()
        page.locator("#rehearsal-verdict").get_by_text("1 of 1 passed").wait_for(timeout=TYPING)
        page.locator("#rehearsal canvas").first.wait_for()
        assert page.get_by_role("button", name="Main.motor").get_attribute("aria-pressed") == "true"
        assert faults(page, axe) == []
        page.get_by_role("button", name="Save as a new version").click()
        page.wait_for_url("**/programs/versions/*/")
        version = ProgramVersion.objects.get()
        assert "nonsense" not in version.files["src/main.st"]
        assert set(version.files) == {"src/main.st", "tests/main.yaml", "vplc.toml"}
        ProgramVersion.objects.update(state="ready")
        page.reload()
        page.get_by_label("Reason").fill("first packer")
        page.get_by_role("button", name="Ask to deploy").click()
        page.get_by_text("It waits for somebody's approval.").wait_for()
        assert Deployment.objects.get().state == "asked"
        assert page.complaints == []  # type: ignore[attr-defined]
        # Somebody else decides, on a telephone.
        phone = enter(browser, url, plant.approver, 400)
        phone.get_by_role("link", name="packer v1").click()
        assert no_overflow(phone)
        assert faults(phone, axe) == []
        phone.get_by_role("button", name="Approve").click()
        phone.get_by_text("It is being delivered.").wait_for()
    operation = Operation.objects.get(kind="deliver_program")
    assert (operation.machine_id, operation.reason) == (machine.pk, "first packer")
    assert Deployment.objects.get().decided_by == plant.approver


@every_look
def test_the_workbench_pleases_at_every_width(
    portal: tuple[str, Plant], browser: Browser, axe: str, width: int, scheme: Any
) -> None:
    from millwright.shopfloor import actions, workbench

    url, plant = portal
    actions.upload_program(plant.engineer, plant.project, "packer", dict(workbench.STARTER))
    source = workbench.STARTER["src/main.st"].replace("starts + 1", "starts + 2")
    second = actions.upload_program(
        plant.engineer, plant.project, "packer", {**workbench.STARTER, "src/main.st": source}
    )
    ProgramVersion.objects.update(state="ready")
    with open_desk():
        page = enter(browser, url, plant.engineer, width, color_scheme=scheme)
        for path in (
            f"/programs/{second.program_id}/",
            f"/programs/{second.program_id}/compare/",
            f"/programs/versions/{second.pk}/",
            f"/programs/versions/{second.pk}/edit/",
        ):
            page.goto(url + path)
            if path.endswith("/edit/"):
                _verdict(page, True)
                page.get_by_role("button", name="Run scenarios").click()
                page.locator("#rehearsal canvas").first.wait_for(timeout=TYPING)
            if path.endswith("/compare/"):
                # The line that was changed, and the version in the project file that was made for it.
                assert page.locator(".mw-diff-added").count() == 2
                page.locator("#verdict").get_by_text("the change can go online").wait_for()
            shot(page, f"{path.strip('/').split('/')[-1]}-{width}-{scheme}")
            assert no_overflow(page), path
            assert faults(page, axe) == [], path
        assert page.complaints == []  # type: ignore[attr-defined]


def test_without_javascript_a_program_is_written_and_rehearsed(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    with open_desk():
        page = enter(browser, url, plant.engineer, java_script_enabled=False)
        page.goto(f"{url}/programs/write/")
        page.get_by_label("Name of the program").fill("plain")
        page.get_by_role("button", name="Run scenarios").click()
        page.get_by_text("1 of 1 passed").wait_for(timeout=TYPING)
        page.go_back()
        page.get_by_label("Name of the program").fill("plain")
        page.get_by_role("button", name="Save as a new version").click()
        page.wait_for_url("**/programs/versions/*/")
    assert ProgramVersion.objects.get().program.name == "plain"
