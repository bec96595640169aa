"""Modules and inventory against a portal that listens: idempotent, true in check mode, errors with words."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from millwright.accounts.actions import issue_token
from millwright.balancing.draining import drain_round
from millwright.catalog.models import Template, TemplateVersion
from millwright.environments import actions
from millwright.environments.models import Environment, Request
from millwright.hypervisor.fake import FakeHypervisor, FakePool
from millwright.inventory.models import Host
from millwright.orchestrator.joining import checker
from millwright.service_levels.models import MaintenanceWindow

from tests.support import collection
from tests.support.desk import open_desk
from tests.support.history import machine_of
from tests.support.plant import Plant, build_plant

pytestmark = pytest.mark.django_db(transaction=True)


class Portal:
    """A plant, its listening portal, and Ansible's modules as Ansible runs them."""

    def __init__(self, url: str, plant: Plant, folder: Path) -> None:
        self.url, self.plant, self.folder = url, plant, folder
        self.environment = collection.link(folder)

    def token(self, user: Any, scope: str = "write") -> Path:
        path = self.folder / f"{user.username}.token"
        path.write_text(issue_token(None, user, "ansible", scope=scope)[1])
        return path

    def module(self, kind: str, user: Any, /, *, check: bool = False, **options: Any) -> Any:
        arguments = {
            "url": self.url,
            "token_file": str(self.token(user)),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(self.folder),
            **options,
        }
        done = collection.run(
            self.environment,
            collection.PYTHON,
            "-m",
            f"ansible_collections.millwright.plant.plugins.modules.{kind}",
            json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def portal(live_server: Any, tmp_path: Path) -> Portal:
    return Portal(live_server.url, build_plant(), tmp_path)


HOST = {"name": "press-1", "uri": "qemu+tls://10.0.0.9/system", "address": "10.0.0.9"}


def test_a_host_is_registered_once_and_changed_where_it_differs(portal: Portal) -> None:
    ada = portal.plant.administrator
    said = portal.module("host", ada, check=True, **HOST)
    assert said["changed"] and said["diff"]["after"]["uri"] == HOST["uri"]
    assert not Host.objects.filter(name="press-1").exists()
    # No orchestrator could ask it: it is entered all the same, and that is said.
    made = portal.module("host", ada, **HOST)
    assert made["changed"] and made["readiness"] == {}
    assert any("press-1 could not be asked" in str(text) for text in made["warnings"])
    assert not portal.module("host", ada, **HOST)["changed"]
    changed = portal.module("host", ada, name="press-1", policy={"housekeeping_cpus": "0"})
    assert changed["changed"] and changed["diff"]["before"]["policy"] == {}
    row = Host.objects.get(name="press-1")
    assert row.policy == {"housekeeping_cpus": "0"} and row.address == "10.0.0.9"


def test_a_new_host_comes_with_what_the_portal_found_on_it(portal: Portal) -> None:
    ada = portal.plant.administrator

    def factory(name: str, uri: str, site: str) -> FakeHypervisor:
        return FakePool(site).add_host(name)

    with open_desk(host_check=checker("site", factory)):
        made = portal.module("host", ada, **HOST)
        again = portal.module("host", ada, **HOST)
    report = made["readiness"]
    assert report["cpus"] and report["findings"], made
    # What is wanting is a warning too.
    lacking = [finding["text"] for finding in report["findings"] if not finding["ok"]]
    warnings = [str(text) for text in made.get("warnings", [])]
    assert [any(text in warning for warning in warnings) for text in lacking] == [True] * len(
        lacking
    )
    assert "readiness" not in again


def test_a_host_is_cordoned_and_returned(portal: Portal) -> None:
    ada = portal.plant.administrator
    for wanted in ("cordoned", "schedulable"):
        options = {"name": "mw0-h1", "administration": wanted}
        assert portal.module("host", ada, check=True, **options)["changed"]
        assert portal.module("host", ada, **options)["changed"]
        assert not portal.module("host", ada, **options)["changed"]
        assert Host.objects.get(name="mw0-h1").administration == wanted


def test_a_host_is_drained_once_and_returned(portal: Portal) -> None:
    ada, options = portal.plant.administrator, {"name": "mw0-h1", "administration": "drained"}
    said = portal.module("host", ada, check=True, **options)
    assert said["diff"]["after"]["administration"] == "drained"
    assert Host.objects.get(name="mw0-h1").administration == "schedulable"
    assert portal.module("host", ada, **options)["changed"]
    assert Host.objects.get(name="mw0-h1").administration == "draining"
    assert not portal.module("host", ada, **options)["changed"]
    drain_round()
    done = portal.module("host", ada, wait_s=5, **options)
    assert not done["changed"] and done["host"]["administration"] == "maintenance"
    assert portal.module("host", ada, **options | {"administration": "schedulable"})["changed"]
    assert Host.objects.get(name="mw0-h1").administration == "schedulable"


@pytest.mark.parametrize("check", [True, False])
def test_a_drain_is_refused_with_what_cannot_leave(portal: Portal, check: bool) -> None:
    machine = machine_of(portal.plant)
    machine.host, machine.observed, machine.movability = portal.plant.hosts[0], "running", "never"
    machine.save()
    options = {"name": "mw0-h1", "administration": "drained", "check": check}
    answer = portal.module("host", portal.plant.administrator, **options)
    assert answer["failed"] and str(machine) in answer["msg"], answer
    assert Host.objects.get(name="mw0-h1").administration == "schedulable"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "new-1"}, "uri is missing"),
        ({**HOST, "uri": "http://x"}, "expected qemu+tls://"),
        ({**HOST, "policy": {"cores": "1"}}, "policy"),
    ],
)
def test_a_wrong_host_is_refused_with_field_and_rule(
    portal: Portal, options: dict[str, Any], words: str
) -> None:
    answer = portal.module("host", portal.plant.administrator, **options)
    assert answer["failed"] and words in answer["msg"]


def test_who_may_not_is_refused(portal: Portal) -> None:
    answer = portal.module("host", portal.plant.engineer, **HOST)
    assert answer["failed"] and answer["status"] == 403
    assert not Host.objects.filter(name="press-1").exists()


WANTED = {
    "name": "filling-line-1",
    "project": "line-1",
    "template": "vplc",
    "size": "small",
    "cell": "line1",
    "wait_s": 0,
}


def test_an_environment_is_requested_once_and_waits_for_approval(portal: Portal) -> None:
    erin = portal.plant.engineer
    assert portal.module("environment", erin, check=True, **WANTED)["changed"]
    assert not Request.objects.exists()
    made = portal.module("environment", erin, **WANTED)
    assert made["changed"] and made["request"]["state"] == "submitted"
    assert not portal.module("environment", erin, **WANTED)["changed"]
    assert Request.objects.count() == 1
    approved = portal.module("environment", portal.plant.approver, approve=True, **WANTED)
    assert approved["changed"] and approved["request"]["state"] == "approved"
    again = portal.module("environment", erin, **WANTED)
    assert not again["changed"] and again["environment"]["name"] == WANTED["name"]
    other = portal.module("environment", erin, **{**WANTED, "size": "large"})
    assert other["failed"] and "size = 'large'" in other["msg"]


def test_an_environment_that_is_not_there_is_absent_already(portal: Portal) -> None:
    answer = portal.module("environment", portal.plant.engineer, name="nothing", state="absent")
    assert not answer.get("failed") and not answer["changed"]


def test_a_device_is_registered_and_forgotten(portal: Portal) -> None:
    erin = portal.plant.engineer
    device = {"name": "filler", "project": "line-1", "cell": "line1", "address": "10.90.1.50"}
    assert portal.module("device", erin, check=True, **device)["changed"]
    made = portal.module("device", erin, **device)
    assert made["changed"], made
    assert not portal.module("device", erin, **device)["changed"]
    other = portal.module("device", erin, **{**device, "address": "10.90.1.51"})
    assert other["failed"] and "address = '10.90.1.51': it has '10.90.1.50'" in other["msg"]
    assert portal.module("device", erin, **device, state="absent")["changed"]
    assert not portal.module("device", erin, **device, state="absent")["changed"]


def test_without_a_portal_the_error_says_so(portal: Portal) -> None:
    answer = portal.module("host", portal.plant.operator, **{**HOST, "url": "http://127.0.0.1:9"})
    assert answer["failed"] and "does not answer" in answer["msg"]


def test_the_inventory_groups_machines(portal: Portal) -> None:
    plant = portal.plant
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    machine = Environment.objects.get().machines.get()
    source = portal.folder / "plant.millwright.yml"
    source.write_text(
        f"plugin: millwright.plant.environments\nurl: {portal.url}\nonly_with_address: false\n"
        f"token_file: {portal.token(plant.operator, 'read')}\n"
    )
    done = collection.run(
        portal.environment, "ansible-inventory", "-i", str(source), "--list", limit_s=60
    )
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    name = f"filling-line-1-{machine.name}"
    assert listed["project_line_1"]["hosts"] == [name]
    assert listed["line_line1"]["hosts"] == [name]
    assert listed["template_vplc"]["hosts"] == [name]
    assert listed["_meta"]["hostvars"][name]["millwright_environment"] == "filling-line-1"


def test_a_template_is_offered_or_not(portal: Portal) -> None:
    ada = portal.plant.administrator
    hidden = {"name": "vplc", "state": "hidden"}
    assert portal.module("template", ada, check=True, **hidden)["changed"]
    assert Template.objects.get(name="vplc").offered
    said = portal.module("template", ada, **hidden)
    assert said["changed"] and said["diff"]["after"] == {"offered": False}
    assert not portal.module("template", ada, **hidden)["changed"]
    assert not Template.objects.get(name="vplc").offered
    assert portal.module("template", ada, name="vplc")["changed"]
    assert not portal.module("template", ada, name="vplc")["changed"]
    assert Template.objects.get(name="vplc").offered


def test_what_is_wrong_with_a_template_is_said(portal: Portal) -> None:
    ada = portal.plant.administrator
    TemplateVersion.objects.update(image_state="missing")
    unbuilt = portal.module("template", ada, name="vplc", image="ready")
    assert unbuilt["failed"] and "millwright template build vplc" in unbuilt["msg"]
    unknown = portal.module("template", ada, name="none")
    assert unknown["failed"] and "millwright template sync" in unknown["msg"]
    refused = portal.module("template", portal.plant.engineer, name="vplc", state="hidden")
    assert refused["failed"] and refused["status"] == 403
    Template.objects.update(offered=False)
    spec = TemplateVersion.objects.get().spec
    TemplateVersion.objects.update(spec={**spec, "offered": False})
    own = portal.module("template", ada, name="vplc")
    assert own["failed"] and "never offered" in own["msg"]


@pytest.fixture
def window(portal: Portal) -> dict[str, str]:
    """In nine days from six to eight, for a running environment."""
    erin, max_ = portal.plant.engineer, portal.plant.approver
    made = actions.create_request(erin, **portal.plant.request_fields("one"))
    actions.approve_request(max_, actions.submit_request(erin, made))
    Environment.objects.update(state="running")
    day = (timezone.now() + dt.timedelta(days=9)).date()
    return {
        "environment": "one",
        "begins_at": f"{day}T06:00:00+01:00",
        "ends_at": f"{day}T08:00:00+01:00",
        "reason": "new valves",
    }


def test_a_window_is_asked_for_once_approved_by_another_and_taken_back(
    portal: Portal, window: dict[str, str]
) -> None:
    erin, max_ = portal.plant.engineer, portal.plant.approver
    assert portal.module("maintenance_window", erin, check=True, **window)["changed"]
    assert not MaintenanceWindow.objects.exists()
    made = portal.module("maintenance_window", erin, **window)
    assert made["changed"] and made["window"]["state"] == "requested"
    # The same moments in another zone are the same window.
    utc = {**window, "begins_at": window["begins_at"].replace("06:00:00+01", "05:00:00+00")}
    assert not portal.module("maintenance_window", erin, **utc)["changed"]
    assert MaintenanceWindow.objects.count() == 1
    own = portal.module("maintenance_window", erin, state="approved", **window)
    assert own["failed"] and own["status"] == 403
    approve = {**window, "state": "approved"}
    assert portal.module("maintenance_window", max_, check=True, **approve)["changed"]
    approved = portal.module("maintenance_window", max_, **approve)
    assert approved["changed"] and approved["window"]["state"] == "approved"
    assert not portal.module("maintenance_window", max_, **approve)["changed"]
    assert not portal.module("maintenance_window", erin, **window)["changed"]
    absent = {**window, "state": "absent"}
    assert portal.module("maintenance_window", erin, check=True, **absent)["changed"]
    assert portal.module("maintenance_window", erin, **absent)["changed"]
    assert not portal.module("maintenance_window", erin, **absent)["changed"]
    assert MaintenanceWindow.objects.get().state == "withdrawn"


def test_a_window_that_has_begun_is_closed(portal: Portal, window: dict[str, str]) -> None:
    erin, max_ = portal.plant.engineer, portal.plant.approver
    now = timezone.now().replace(microsecond=0)
    window["begins_at"] = (now - dt.timedelta(hours=1)).isoformat()
    window["ends_at"] = (now + dt.timedelta(hours=1)).isoformat()
    portal.module("maintenance_window", erin, **window)
    assert portal.module("maintenance_window", max_, state="approved", **window)["changed"]
    assert portal.module("maintenance_window", erin, state="absent", **window)["changed"]
    assert not portal.module("maintenance_window", erin, state="absent", **window)["changed"]
    assert MaintenanceWindow.objects.get().state == "closed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"begins_at": "tomorrow"}, "begins_at = 'tomorrow': ISO 8601 with an offset"),
        ({"ends_at": "2027-01-01T06:00:00"}, "ends_at = '2027-01-01T06:00:00': ISO 8601"),
        ({"reason": " "}, "reason is missing"),
        ({"state": "approved"}, "nobody has asked for it"),
        ({"every_days": 7}, "a recurring window needs a last day"),
    ],
)
def test_a_wrong_window_is_refused_with_field_and_rule(
    portal: Portal, window: dict[str, str], change: dict[str, Any], words: str
) -> None:
    said = portal.module("maintenance_window", portal.plant.engineer, **{**window, **change})
    assert said["failed"] and words in said["msg"], said
