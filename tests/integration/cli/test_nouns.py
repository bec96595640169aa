"""Commands on the public API of a real portal: what they print, and what they say when refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import millwright.cli as command
import pytest
from click.testing import CliRunner, Result
from django.utils import timezone
from millwright.accounts.actions import issue_token
from millwright.accounts.models import User
from millwright.balancing import exporting, recommending
from millwright.balancing.models import Balancer, PlacementRule
from millwright.cli import client
from millwright.cli.errors import CliError
from millwright.core.balancing import read_plant
from millwright.environments import actions
from millwright.environments.models import Machine
from millwright.hypervisor.fake import FakePool
from millwright.inventory.equipment import as_kept
from millwright.inventory.models import Host

from tests.support.plant import Plant, build_plant, disk_set_aside

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plant(transactional_db: None) -> Plant:
    return build_plant()


class Shell:
    """Runs commands as one of the people."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url, self._monkeypatch = url, monkeypatch

    def __call__(self, user: User, *words: str) -> Result:
        _row, secret = issue_token(None, user, "test")
        api = client.Api(self._url, secret)
        self._monkeypatch.setattr(
            client.Api, "from_settings", classmethod(lambda _kind, _user="": api)
        )
        return CliRunner().invoke(command.cli, list(words))

    def json(self, user: User, *words: str) -> Any:
        result = self(user, *words, "--format", "json")
        assert result.exit_code == 0, result.output + str(result.exception)
        return json.loads(result.output)


@pytest.fixture
def shell(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(live_server.url, monkeypatch)


def test_hosts_are_listed_for_those_who_may(shell: Shell, plant: Plant) -> None:
    rows = shell.json(plant.operator, "host", "list")
    assert [row["name"] for row in rows] == ["mw0-h1", "mw0-h2"]
    table = shell(plant.operator, "host", "list").output
    assert "mw0-h1" in table
    assert "unknown" in shell(plant.operator, "host", "show", "mw0-h1").output
    fake = FakePool("x").add_host("h")
    fake.parts.hugepages = {2**21: 8}
    told = as_kept(fake.equipment(), timezone.now())
    Host.objects.filter(name="mw0-h1").update(equipment=told)
    said = shell(plant.operator, "host", "show", "mw0-h1").output
    assert "8 of 8 of 2097152 bytes free in node 0" in said
    assert "eno1: 1000000000 bit/s" in said
    assert shell.json(plant.operator, "host", "show", "mw0-h1")["equipment"] == told
    refused = shell(plant.engineer, "host", "list")
    assert isinstance(refused.exception, CliError)
    assert refused.exit_code == 1


def test_a_host_is_put_to_sleep_and_woken(shell: Shell, plant: Plant) -> None:
    host = plant.hosts[0]
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": sleep}, health="up")
    order = ("host", "sleep", host.name, "--reason", "night", "--until")
    assert "sleep_host" in shell(plant.operator, *order, "2099-01-01T06:00Z").output
    assert "busy" in str(shell(plant.operator, *order, "2099-01-01T06:00Z").exception)
    Host.objects.filter(pk=host.pk).update(power="asleep")
    assert "asleep" in shell(plant.operator, "host", "list").output
    assert (
        "wake_host" in shell(plant.operator, "host", "wake", host.name, "--reason", "work").output
    )


def test_a_host_is_cordoned_and_uncordoned(shell: Shell, plant: Plant) -> None:
    assert (
        "cordoned"
        in shell(plant.operator, "host", "cordon", "mw0-h1", "--reason", "new fan").output
    )
    assert "schedulable" in shell(plant.operator, "host", "uncordon", "mw0-h1").output


def test_a_plan_names_every_host(shell: Shell, plant: Plant) -> None:
    words = (
        "plan",
        "--project",
        "line-1",
        "--template",
        "vplc",
        "--size",
        "small",
        "--cell",
        "line1",
    )
    answer = shell.json(plant.engineer, *words)
    assert {row["host"] for row in answer["hosts"]} == {"mw0-h1", "mw0-h2"}
    text = shell(plant.engineer, *words).output
    assert "chosen: mw0-h1" in text
    assert "mw0-h2" in text
    assert "quota" in text


def test_a_plan_in_a_large_pool_counts_hosts_and_names_the_first(
    shell: Shell, plant: Plant
) -> None:
    like = plant.hosts[0]
    Host.objects.bulk_create(
        Host(
            name=f"mw9-h{n:02}", uri=f"test:///{n}", policy=like.policy, topology=like.topology,
            memory_bytes=2**20, health=like.health,
        )
        for n in range(60)
    )  # fmt: skip
    asked = ("--project", "line-1", "--template", "vplc", "--size", "small", "--cell", "line1")
    text = shell(plant.engineer, "plan", *asked).output
    assert "  2 × would take it\n" in text and "  60 × too little memory free\n" in text
    assert text.count("mw9-h") == 48 and "these are the first 50 of 62 hosts" in text
    assert len(shell.json(plant.engineer, "plan", *asked)["hosts"]) == 62
    shell(plant.engineer, "request", "create", "mixer-3", *asked)
    shown = shell(plant.engineer, "request", "show", "mixer-3").output
    assert "chosen: mw0-h1" in shown and "these are the first 50 of 62 hosts" in shown
    assert "{" not in shown
    kept = shell.json(plant.engineer, "request", "show", "mixer-3")["placement"]
    assert kept["asked"] == 62 and len(kept["hosts"]) == 50


def test_a_request_is_made_approved_and_its_operation_shown(shell: Shell, plant: Plant) -> None:
    made = shell.json(
        plant.engineer, "request", "create", "mixer-2", "--project", "line-1", "--template", "vplc",
        "--size", "small", "--cell", "line1",
    )  # fmt: skip
    assert made["state"] == "submitted"
    assert "mixer-2: approved" in shell(plant.approver, "request", "approve", "mixer-2").output
    rows = shell.json(plant.engineer, "env", "list")
    assert [row["name"] for row in rows] == ["mixer-2"]
    operations = shell.json(plant.engineer, "operation", "list", "--env", "mixer-2")
    assert [row["kind"] for row in operations] == ["provision"]
    shown = shell(plant.engineer, "operation", "show", operations[0]["id"])
    assert shown.exit_code == 0
    assert "provision" in shown.output
    detail = shell(plant.engineer, "env", "show", "mixer-2")
    assert detail.exit_code == 0, detail.output


def test_what_the_portal_refuses_is_said_with_field_and_value(shell: Shell, plant: Plant) -> None:
    result = shell(
        plant.engineer, "request", "create", "mixer-2", "--project", "line-1", "--template", "vplc",
        "--size", "giant", "--cell", "line1",
    )  # fmt: skip
    assert isinstance(result.exception, CliError)
    assert "size: 'giant' is not a size of vplc; there are: small" in str(result.exception)


def test_an_environment_is_not_removed_without_yes(shell: Shell, plant: Plant) -> None:
    shell(
        plant.engineer,
        "request",
        "create",
        "mixer-2",
        "--project",
        "line-1",
        "--template",
        "vplc",
        "--size",
        "small",
        "--cell",
        "line1",
    )
    shell(plant.approver, "request", "approve", "mixer-2")
    result = shell(plant.engineer, "env", "remove", "mixer-2")
    assert "add --yes" in str(result.exception)
    assert shell.json(plant.engineer, "env", "list")[0]["state"] != "removing"


def test_devices_come_and_go(shell: Shell, plant: Plant) -> None:
    made = shell.json(
        plant.engineer,
        "device",
        "add",
        "station-7",
        "10.90.1.57",
        "--project",
        "line-1",
        "--cell",
        "line1",
    )
    assert made["address"] == "10.90.1.57"
    wrong = shell(
        plant.engineer,
        "device",
        "add",
        "station-8",
        "192.0.2.1",
        "--project",
        "line-1",
        "--cell",
        "line1",
    )
    assert "192.0.2.1" in str(wrong.exception)
    assert "removed" in shell(plant.engineer, "device", "remove", "station-7").output
    assert shell.json(plant.engineer, "device", "list") == []


def test_many_rows_come_page_by_page(shell: Shell, plant: Plant, live_server: Any) -> None:
    for number in range(7):
        shell(
            plant.engineer,
            "device",
            "add",
            f"d{number}",
            f"10.90.1.{60 + number}",
            "--project",
            "line-1",
            "--cell",
            "line1",
        )
    _row, secret = issue_token(None, plant.engineer, "test")
    api = client.Api(live_server.url, secret)
    assert [row["name"] for row in api.rows("devices/", page_size=3)] == [f"d{n}" for n in range(7)]
    assert api.first("devices/", name="d5")["address"] == "10.90.1.65"  # type: ignore[index]  # is there
    assert api.first("devices/", name="nobody") is None


def test_a_portal_that_does_not_answer_is_said() -> None:
    with pytest.raises(CliError, match="does not answer"):
        client.Api("http://127.0.0.1:9", "x").get("status/")


def test_rules_from_the_shell(shell: Shell, plant: Plant) -> None:
    for name in ("one", "two"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    pair = ("--machine", "one", "--machine", "two")
    added = shell(plant.operator, "rule", "add", "pair", "apart", *pair)
    assert added.exit_code == 0, added.output
    assert "nothing stands against it" in added.output
    tried = shell(plant.operator, "rule", "add", "joined", "together", *pair, "--dry-run")
    assert tried.exit_code == 1
    assert "never: " in tried.output
    assert "pair keeps one/vplc, two/vplc on different hosts" in tried.output
    refused = shell(plant.operator, "rule", "add", "joined", "together", *pair)
    assert isinstance(refused.exception, CliError)
    assert "can never hold" in str(refused.exception)
    changed = shell.json(plant.operator, "rule", "change", "pair", "--soft", "--weight", "2")
    assert (changed["hard"], changed["weight"], changed["machines"]) == (
        False,
        2.0,
        ["one/vplc", "two/vplc"],
    )
    assert "out of force" in shell(plant.operator, "rule", "disable", "pair").output
    assert [row["name"] for row in shell.json(plant.operator, "rule", "list")] == ["pair"]
    assert shell(plant.engineer, "rule", "disable", "pair").exit_code == 1
    assert "removed" in shell(plant.operator, "rule", "remove", "pair", "--yes").output


def test_balancing_from_the_shell(shell: Shell, plant: Plant, tmp_path: Path) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields("one"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running")
    told = shell.json(plant.operator, "recommendation", "mode", "shadow", "--spare", "1")
    assert (told["mode"], told["spare_hosts"]) == ("shadow", 1)
    assert (
        "give the mode too"
        in shell(plant.operator, "recommendation", "mode", "--spare", "1").output
    )
    assert "no round has been made yet" in shell(plant.operator, "recommendation", "round").output
    assert shell.json(plant.operator, "recommendation", "shadow") == []
    PlacementRule.objects.create(name="else", kind="on_hosts").machines.add(Machine.objects.get())
    before = Machine.objects.values("movability", "service_class", "cpu_assignment").get()
    Machine.objects.update(movability="never", service_class="shared", cpu_assignment={})
    recommending.balance_round()
    said = shell(plant.operator, "recommendation", "round").output
    assert "shadow, level 3, 0 moves decided" in said
    assert "rule else: on mw0-h1, which it does not name; not mended: " in said
    assert "not mended: " in shell(plant.operator, "rule", "show", "else").output
    [summed] = shell.json(plant.operator, "recommendation", "shadow")
    assert (summed["pool"], summed["moves"]) == ("(all)", 0)
    PlacementRule.objects.all().delete()
    Machine.objects.update(**before)
    file = tmp_path / "shifts.json"
    line = {"name": "rush", "vms": ["one/vplc"], "until": "2030-05-08T12:00", "priority": 9}
    file.write_text(json.dumps([line]), encoding="utf-8")
    kept = shell(plant.operator, "recommendation", "calendar", str(file))
    assert "1 lines hold" in kept.output
    assert shell.json(plant.operator, "recommendation", "calendar") == [line]
    file.write_text(json.dumps([line | {"vms": ["nobody/vplc"]}]), encoding="utf-8")
    wrong = shell(plant.operator, "recommendation", "calendar", str(file))
    assert "'nobody/vplc': no such vm" in str(wrong.exception)
    itself = shell(plant.operator, "machine", "entitlement", "one", "--after", "one")
    assert "would wait for itself" in str(itself.exception)
    none = ("machine", "entitlement", "one", "--after", "")
    assert shell.json(plant.operator, *none)["after"] == []
    mode = ("machine", "entitlement", "one", "--balance-mode", "off")
    assert shell.json(plant.operator, *mode)["balance_mode"] == "off"
    said = shell(plant.operator, "env", "disruption", "one", "600", "--reason", "coating")
    assert "one: 600 core-seconds" in said.output
    why = shell(plant.operator, "machine", "explain", "one").output
    assert "a move counts 600 core-seconds for its users, says its environment" in why
    wrong = shell(plant.operator, "env", "disruption", "one", "much")
    assert "'much': a number of core-seconds, or the word template" in wrong.output + str(
        wrong.exception
    )
    said = shell(plant.operator, "env", "disruption", "one", "template")
    assert "one: as its templates say" in said.output
    plan = shell.json(plant.operator, "host", "drain", "mw0-h1", "--dry-run")
    assert plan["possible"]
    Host.objects.filter(name="mw0-h1").update(health="down")
    refused = shell(plant.operator, "host", "drain", "mw0-h1", "--dry-run")
    assert refused.exit_code == 1
    assert "machines leave only a host that answers" in refused.output
    heat = shell.json(plant.operator, "host", "heat")
    assert [row["host"] for row in heat] == ["mw0-h1", "mw0-h2"]
    # The one host that lives has nobody; the other one is down, and its machines are lost already.
    told = shell.json(plant.operator, "host", "losses")
    assert [row["host"] for row in told["hosts"]] == ["mw0-h2"]
    assert (told["k"], told["complete"], told["broken"], told["domains"]) == (1, True, 0, 0)
    Host.objects.filter(name="mw0-h1").update(health="up", labels={"domain": "rack"})
    Host.objects.filter(name="mw0-h2").update(health="down")
    lost = shell(plant.operator, "host", "losses")
    assert lost.exit_code == 1
    assert lost.output.count("one/vplc") == 2
    assert "rack" in lost.output
    Host.objects.filter(name="mw0-h1").update(health="down", labels={})
    Host.objects.filter(name="mw0-h2").update(health="up")
    fits = shell.json(plant.operator, "host", "capacity", "vplc", "small")
    # The plant of this test has no core for another controller.
    assert fits["fits"] == sum(fits["per_host"].values())
    assert set(fits["limited_by"]) == {"dedicated cores", "host state or rules"}
    why = shell(plant.operator, "machine", "explain", "one")
    assert "which is down" in why.output


def test_the_running_plant_is_a_snapshot(shell: Shell, plant: Plant, tmp_path: Path) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields("one"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running", movability="window")
    recommending.set_mode(plant.operator, "shadow", level=4)
    lines = [
        {"name": "night", "vms": ["one/vplc"], "start": "22:00", "end": "23:00", "window": True},
        {"name": "gone", "vms": ["nobody/vplc"], "mode": "off"},
        {"name": "vain", "vms": ["one/vplc"], "since": "2027-01-01", "until": "2026-01-01"},
    ]
    Balancer.objects.update(calendar=lines)
    # Who does not see the whole pool does not see machines of others by this way either.
    refused = shell(plant.engineer, "pool", "snapshot")
    assert isinstance(refused.exception, CliError)
    told = shell(plant.operator, "pool", "snapshot")
    assert told.exit_code == 0, told.exception
    file = tmp_path / "plant.json"
    file.write_text(told.output, encoding="utf-8")
    data = json.loads(told.output)
    assert [row["name"] for row in data["vms"]] == ["one/vplc"]
    assert [row["name"] for row in data["calendar"]] == ["night"]
    assert (data["settings"]["mode"], data["settings"]["level"]) == ("shadow", 4)
    for source in (("--snapshot", str(file)), ()):
        night = ("drain", "mw0-h1", "--now", "2026-05-04T22:00", *source)
        assert shell(plant.operator, *night).exit_code == 0
        noon = shell(plant.operator, "drain", "mw0-h1", "--now", "2026-05-04T12:00", *source)
        assert noon.exit_code == 1
        assert "none is open" in noon.output
    assert shell(plant.operator, "plan", "--from-plant").exit_code == 0
    assert isinstance(shell(plant.engineer, "balance").exception, CliError)
    api = client.Api(shell._url, issue_token(None, plant.operator, "test")[1])
    for wrong, words in (("noon", "a moment like"), ("9999-12-31", "a year from 2000")):
        with pytest.raises(CliError, match=words):
            api.get("hosts/snapshot/", at=wrong)
    assert "calendar" not in api.get("hosts/snapshot/", at="now")


def test_a_plant_that_a_snapshot_would_refuse_is_told_as_one_that_can_be_read(plant: Plant) -> None:
    Host.objects.filter(name="mw0-h1").update(memory_bytes=0)
    made = read_plant(exporting.snapshot())
    assert {host.name: host.memory_bytes >= 1 for host in made.hosts}["mw0-h1"]


def test_stations_from_the_shell(shell: Shell, plant: Plant) -> None:
    where = ("--project", "line-1", "--cell", "line1")
    write = ("--write", "holding 3-9,coil 320")
    refused = shell(plant.engineer, "station", "set", "desk", "10.90.1.8", *where)
    assert refused.exit_code == 1
    made = shell.json(plant.administrator, "station", "set", "desk", "10.90.1.8", *where, *write)
    assert (made["cidr"], made["write_ranges"]) == ("10.90.1.8/32", "holding 3-9, coil 320-320")
    odd = shell(plant.administrator, "station", "set", "desk", "fd00::8", *where)
    assert "cidr: fd00::8 is not in cell line1" in str(odd.exception)
    wrong = shell(
        plant.administrator, "station", "set", "desk", "10.90.1.8", *where, "--write", "3"
    )
    assert "--write: '3' is written like holding 3-9 or coil 320" in str(wrong.exception)
    rows = shell.json(plant.engineer, "station", "list", "--project", "line-1")
    assert [row["name"] for row in rows] == ["desk"]
    assert shell(plant.engineer, "station", "remove", "desk", "--project", "line-1").exit_code == 1
    gone = shell(plant.administrator, "station", "remove", "desk", "--project", "line-1")
    assert "desk: removed" in gone.output
    assert shell.json(plant.engineer, "station", "list") == []


def test_a_draft_from_the_shell(shell: Shell, plant: Plant) -> None:
    made = shell.json(
        plant.engineer, "request", "create", "mixer-2", "--project", "line-1", "--template", "vplc",
        "--size", "small", "--cell", "line1", "--draft",
    )  # fmt: skip
    assert made["state"] == "draft"
    changed = shell.json(plant.engineer, "request", "change", "mixer-2", "--lease-days", "7")
    assert (changed["lease_days"], changed["size"]) == (7, "small")
    unknown = shell(plant.engineer, "request", "change", "mixer-2", "--device", "press")
    assert "press: no such device" in str(unknown.exception)
    nothing = shell(plant.engineer, "request", "change", "mixer-2")
    assert "say what changes" in str(nothing.exception)
    assert "mixer-2: submitted" in shell(plant.engineer, "request", "submit", "mixer-2").output
    late = shell(plant.engineer, "request", "change", "mixer-2", "--lease-days", "9")
    assert "only a draft can be changed" in str(late.exception)


def test_a_disk_set_aside_is_only_removed_by_a_word(shell: Shell, plant: Plant) -> None:
    row = disk_set_aside(plant)
    assert "old.qcow2" in shell(plant.operator, "disk", "list").output
    assert shell.json(plant.operator, "disk", "list", "--host", "mw0-h2") == []
    said = shell(plant.operator, "disk", "remove", str(row.pk)).output
    assert "nothing was removed" in said
    assert f"disk remove {row.pk} --word old.qcow2" in said
    refused = shell(plant.operator, "disk", "remove", str(row.pk), "--word", "yes")
    assert "the disk's name is wanted, old.qcow2" in str(refused.exception)
    row.refresh_from_db()
    assert row.removal_asked_at is None
    asked = shell.json(
        plant.operator, "disk", "remove", str(row.pk), "--word", "old.qcow2", "--reason", "room"
    )
    assert (asked["removal_name"], asked["removal_reason"]) == (str(plant.operator), "room")
