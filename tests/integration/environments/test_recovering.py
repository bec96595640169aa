"""A host is lost: confirmed off by a person or its fence agent, its machines start elsewhere by priority."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone, translation
from millwright.api.views.recovering import PlannedStartOutput
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, recovering, ruling
from millwright.balancing.models import HostRecovery, PlacementRule
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.environments.models import Machine, Move, Operation
from millwright.inventory.actions import validate_policy
from millwright.inventory.models import Host
from millwright.inventory.snapshot import snapshot
from millwright.operations import FenceRefused
from millwright.orchestrator.fencing import AgentFencer
from millwright.shopfloor.models import Deployment, Program, ProgramVersion

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant, build_plant

__all__ = ["machines"]


@pytest.fixture
def lost(plant: Plant, machines: list[Machine]) -> Host:
    """The first host is down; of its two machines one is autonomous."""
    Host.objects.filter(pk=plant.hosts[0].pk).update(health="down")
    Machine.objects.update(observed="unknown")
    Machine.objects.filter(pk=machines[0].pk).update(recovery="autonomous", priority=5)
    Machine.objects.filter(pk=machines[1].pk).update(recovery="recoverable")
    return Host.objects.get(pk=plant.hosts[0].pk)


def _recovers() -> list[Operation]:
    return list(Operation.objects.filter(kind="recover").order_by("created_at"))


def _arrived(operation: Operation, lost: Host) -> None:
    """As the store writes it when the machine runs elsewhere."""
    target = Host.objects.get(name=operation.payload["destination"])
    Move.objects.create(
        operation=operation,
        machine=operation.machine,
        source=lost,
        destination=target,
        generation=operation.machine.generation + 1,
        state="done",
        ended_at=timezone.now(),
    )
    Machine.objects.filter(pk=operation.machine_id).update(
        host=target, generation=operation.machine.generation + 1, observed="running"
    )
    Operation.objects.filter(pk=operation.pk).update(state="succeeded")


def test_nothing_begins_before_somebody_has_made_sure(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    plan = recovering.preview(lost)
    assert [(row.machine, row.rebuild) for row in plan.starts] == [(str(machines[1]), True)]
    assert [row.machine for row in plan.waiting] == [str(machines[0])]
    assert "autonomous" in plan.waiting[0].why
    with pytest.raises(ValidationError, match="confirms"):
        recovering.start(plant.operator, lost)
    with pytest.raises(ValidationError, match="confirms"):
        Host.objects.filter(pk=lost.pk).update(policy=lost.policy | {"fence": {"agent": "fence_x"}})
        recovering.start(plant.operator, lost, confirm_off=True, fence=True)
    for health in ("up", "suspect"):
        Host.objects.filter(pk=lost.pk).update(health=health)
        with pytest.raises(ValidationError, match="only when their host is down"):
            recovering.start(plant.operator, lost, confirm_off=True)
    assert not HostRecovery.objects.exists()
    assert recovering.recovery_round() == 0


def test_a_person_confirms_on_the_page_and_rounds_carry_it_on(
    plant: Plant, lost: Host, machines: list[Machine], client: Client
) -> None:
    client.force_login(plant.operator)
    page = client.get(f"/pool/{lost.name}/recover/").content.decode()
    assert "has no power" in page
    assert "fence agent" not in page.split("<fieldset>")[1]
    assert f"/pool/{lost.name}/recover/" in client.get(f"/pool/{lost.name}/").content.decode()
    client.post(f"/pool/{lost.name}/recover/", {"how": "person", "reason": "board burnt"})
    row = HostRecovery.objects.get()
    assert (row.confirmed_by, row.gone, row.requested_by) == ("person", False, plant.operator)
    # Should it return, it takes nothing new.
    assert Host.objects.get(pk=lost.pk).administration == "cordoned"
    assert AuditEntry.objects.filter(action="recovery.start").count() == 1
    assert recovering.recovery_round() == 1
    (operation,) = _recovers()
    assert (operation.machine, operation.host) == (machines[1], lost)
    assert operation.payload["destination"] == plant.hosts[1].name
    assert recovering.recovery_round() == 0
    page = client.get(f"/pool/{lost.name}/recover/").content.decode()
    assert str(operation.pk) in page
    assert str(machines[0]) in page
    _arrived(operation, lost)
    assert recovering.recovery_round() == 0
    row.refresh_from_db()
    assert row.state == "done"
    assert [item["machine"] for item in row.blockers] == [str(machines[0])]


def test_gone_for_good_starts_the_autonomous_too_the_more_important_first(
    plant: Plant, lost: Host, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovering, "AT_ONCE", 1)
    recovering.start(plant.operator, lost, confirm_off=True, gone=True)
    assert recovering.recovery_round() == 1
    assert recovering.recovery_round() == 0
    assert [row.machine for row in _recovers()] == [machines[0]]
    _arrived(_recovers()[0], lost)
    assert recovering.recovery_round() == 1
    assert [row.machine for row in _recovers()] == [machines[0], machines[1]]


def test_the_program_that_ran_last_goes_along(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    versions = [
        ProgramVersion.objects.create(
            program=Program.objects.create(project=plant.project, name=name),
            number=1,
            files={},
            state="ready",
            uploaded_by=plant.engineer,
        )
        for name in ("old", "last")
    ]
    for version in versions:
        Deployment.objects.create(
            machine=machines[1],
            program_version=version,
            state="active",
            deployed_by=plant.engineer,
        )
    recovering.start(plant.operator, lost, confirm_off=True)
    recovering.recovery_round()
    assert [row.payload["program_version"] for row in _recovers()] == [str(versions[1].pk)]


def test_initial_values_are_for_controllers_that_are_rebuilt_and_want_a_reason(
    plant: Plant, lost: Host, machines: list[Machine], client: Client
) -> None:
    client.force_login(plant.operator)
    path, name = f"/api/v1/hosts/{lost.name}/recover/", str(machines[1])

    def refused(**changes: Any) -> str:
        body = {"confirm_off": True, "reason": "burnt", "initial_values": [name]} | changes
        answer = client.post(path, body, content_type="application/json")
        assert answer.status_code == 400, answer.content
        assert not HostRecovery.objects.exists()
        return answer.content.decode()

    for outputs in ({}, {"modbus": 502}):
        for version in TemplateVersion.objects.all():
            version.spec = version.spec | {"outputs": outputs}
            version.save()
        if not outputs:
            assert f"{name}: no controller on {lost}" in refused()
    assert f"say why {name} begins with initial values" in refused(reason=" ")
    assert "nobody/vplc: no controller" in refused(initial_values=["nobody/vplc"])
    for host in plant.hosts:
        policy = Host.objects.get(pk=host.pk).policy | {"shared_storage": "san"}
        Host.objects.filter(pk=host.pk).update(policy=policy)
    assert "its shared disk" in refused()
    Host.objects.filter(pk=lost.pk).update(policy=lost.policy)
    body = {"confirm_off": True, "reason": "burnt", "initial_values": [name, name], "gone": True}
    answer = client.post(path, body, content_type="application/json")
    assert (answer.status_code, answer.json()["initial_values"]) == (202, [name])
    assert recovering.recovery_round() == 2
    told = {row.machine: row.payload.get("initial_values") for row in _recovers()}
    assert told == {
        machines[0]: None,
        machines[1]: {"by": str(plant.operator), "reason": "burnt"},
    }


def test_what_starts_after_another_waits_for_it(
    plant: Plant, lost: Host, machines: list[Machine], client: Client
) -> None:
    """The more important one needs the other: that goes first, and it when the other runs."""
    client.force_login(plant.operator)
    call = f"/api/v1/machines/{machines[0].pk}/entitlement/"
    told = client.post(call, {"after": ["two"]}, "application/json").json()
    assert told["after"] == ["two/vplc"]
    for wrong, words in ((["nobody"], "no machine is named"), (["one"], "would wait for itself")):
        refused = client.post(call, {"after": wrong}, "application/json")
        assert refused.status_code == 400
        assert words in refused.json()["detail"]
    # Nor by way of another one.
    with pytest.raises(ValidationError, match="would wait for itself"):
        entitling.set_entitlement(plant.operator, machines[1], after=["one/vplc"])
    page = client.get(f"/machines/{machines[0].pk}/place/").content.decode()
    assert 'value="two/vplc"' in page
    recovering.start(plant.operator, lost, confirm_off=True, gone=True)
    plan = recovering.preview(lost, gone=True)
    assert [(row.machine, row.wave) for row in plan.starts] == [("two/vplc", 0), ("one/vplc", 1)]
    assert recovering.recovery_round() == 1
    assert recovering.recovery_round() == 0
    assert HostRecovery.objects.get().state == "active"
    assert [row.machine for row in _recovers()] == [machines[1]]
    _arrived(_recovers()[0], lost)
    assert recovering.recovery_round() == 1
    assert [row.machine for row in _recovers()] == [machines[1], machines[0]]
    # And without it again.
    assert client.post(call, {"after": []}, "application/json").json()["after"] == []


def test_who_is_kept_near_one_that_waits_for_its_host_starts_all_the_same(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    """The autonomous one comes back on its host; in whose rack no other host is. A round mends the rule then."""
    rack = {"domain": "a"}
    Host.objects.filter(pk=lost.pk).update(labels=rack)
    Host.objects.exclude(pk=lost.pk).update(labels={"domain": "b"})
    near = PlacementRule.objects.create(name="near", kind="near")
    spread = PlacementRule.objects.create(name="spread", kind="spread", minimum=1)
    for rule in (near, spread):
        rule.machines.set(machines)
    plan = recovering.preview(lost)
    assert [row.machine for row in plan.starts] == [str(machines[1])]
    assert plan.starts[0].note == (
        f"far from {machines[0]}, which waits for {lost.name}: a round mends that once it is back"
    )
    with translation.override("de"):
        (told,) = PlannedStartOutput(plan.starts, many=True).data
    assert told["note"].startswith(f"fern von {machines[0]}, die auf {lost.name} wartet")
    assert not plan.left
    # Nor is it barred where it is carried out, of what is not there.
    PlacementRule.objects.filter(pk=near.pk).update(kind="spread", minimum=None)
    assert ruling.barred_hosts(machines[1]) == {}
    # One that runs stays a neighbour to be apart from.
    Machine.objects.filter(pk=machines[0].pk).update(host=plant.hosts[1])
    assert ruling.barred_hosts(Machine.objects.get(pk=machines[1].pk)) == {
        plant.hosts[1].name: "near"
    }


def test_what_fails_is_tried_again_and_then_left_to_a_person(plant: Plant, lost: Host) -> None:
    recovering.start(plant.operator, lost, confirm_off=True)
    for number in range(recovering.TRIES):
        assert recovering.recovery_round() == 1
        Operation.objects.filter(kind="recover", state="queued").update(
            state="failed", error=f"no room {number}"
        )
    assert recovering.recovery_round() == 0
    row = HostRecovery.objects.get()
    assert row.state == "active"
    assert "no room 2" in {item["why"] for item in row.blockers}
    recovering.stop(plant.operator, row)
    assert HostRecovery.objects.get().state == "cancelled"
    with pytest.raises(ValidationError, match="over already"):
        recovering.stop(plant.operator, row)


def test_the_fence_agent_goes_first_and_without_it_nothing_starts(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    with pytest.raises(ValidationError, match="no fence agent"):
        recovering.start(plant.operator, lost, fence=True)
    lost.policy["fence"] = {"agent": "fence_ipmilan", "options": {"ip": "10.0.0.9"}}
    lost.save()
    row = recovering.start(plant.operator, lost, fence=True)
    assert row.fencing is not None
    assert row.fencing.payload == {"host": lost.name}
    for state in ("queued", "running", "waiting"):
        Operation.objects.filter(pk=row.fencing.pk).update(state=state)
        assert recovering.recovery_round() == 0
    Operation.objects.filter(pk=row.fencing.pk).update(state="succeeded")
    assert recovering.recovery_round() == 1
    row.refresh_from_db()
    assert row.confirmed_by == "fence"


def test_a_refused_fencing_ends_it(plant: Plant, lost: Host) -> None:
    Host.objects.filter(pk=lost.pk).update(policy=lost.policy | {"fence": {"agent": "fence_x"}})
    row = recovering.start(plant.operator, lost, fence=True)
    Operation.objects.filter(pk=row.fencing_id).update(state="failed", error="nobody knows")
    assert recovering.recovery_round() == 0
    row.refresh_from_db()
    assert (row.state, row.note) == ("cancelled", "nobody knows")
    assert not _recovers()


def test_a_host_that_returns_keeps_what_was_not_started_elsewhere(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    recovering.start(plant.operator, lost, confirm_off=True)
    Host.objects.filter(pk=lost.pk).update(health="up")
    Machine.objects.update(observed="stopped")
    assert recovering.recovery_round() == 1
    (begun,) = Operation.objects.filter(kind="start")
    # The autonomous one is its host's own affair.
    assert begun.machine == machines[1]
    assert not _recovers()
    assert HostRecovery.objects.get().state == "cancelled"


def test_older_copies_on_a_returned_host_are_ended_once(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    recovering.start(plant.operator, lost, confirm_off=True)
    recovering.recovery_round()
    _arrived(_recovers()[0], lost)
    seen: set[Any] = {machine.pk for machine in machines}
    assert recovering.clear_returned(lost, seen) == 1
    assert recovering.clear_returned(lost, seen) == 0
    (operation,) = Operation.objects.filter(kind="clear_copy")
    assert operation.machine == machines[1]
    assert operation.payload == {"host": lost.name, "shared_storage": False}


def test_the_number_of_queries_does_not_grow(
    plant: Plant, lost: Host, machines: list[Machine], django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(14):
        recovering.preview(lost)


def test_what_starts_after_a_machine_that_does_not_run_is_told_so(
    plant: Plant, lost: Host, machines: list[Machine]
) -> None:
    """On another host that is down, on none, switched off by a person; not where it was removed."""
    base, app = machines
    app.after.add(base)
    Machine.objects.filter(pk=base.pk).update(host=plant.hosts[1])
    assert [row.machine for row in recovering.preview(lost).starts] == [str(app)]
    Host.objects.filter(pk=plant.hosts[1].pk).update(health="down")
    third = Host.objects.create(
        name="mw0-h3",
        uri="test:///h3",
        health="up",
        **{
            field: getattr(lost, field)
            for field in ("topology", "policy", "memory_bytes", "disk_bytes", "disk_free_bytes")
        },
    )

    def why() -> str:
        plan = recovering.preview(lost)
        assert not plan.starts
        (left,) = [row for row in plan.left if row.machine == str(app)]
        return left.why

    assert why() == f"{app} starts after {base}, whose host {plant.hosts[1].name} is down"
    recovering.start(plant.operator, lost, confirm_off=True)
    assert recovering.recovery_round() == 0
    row = HostRecovery.objects.get()
    assert row.state == "active"
    assert "is down" in row.blockers[0]["why"]
    Machine.objects.filter(pk=base.pk).update(host=None)
    assert why() == f"{app} starts after {base}, which has no host"
    Machine.objects.filter(pk=base.pk).update(host=lost, recovery="recoverable", desired="stopped")
    assert why() == f"{app} starts after {base}, which cannot be started"
    # Where it runs again, or is no more, nothing stands in the way.
    Machine.objects.filter(pk=base.pk).update(host=third, desired="running")
    assert recovering.preview(lost).starts[0].wave == 0
    Machine.objects.filter(pk=base.pk).update(host=None)
    type(base.environment).objects.filter(pk=base.environment_id).update(state="removed")
    assert recovering.recovery_round() == 1


def _agent(folder: Path, *, off: str = "exit 0", status: str = "exit 2") -> None:
    """A program that obeys the fence agents' convention: options on its standard input."""
    program = folder / "fence_try"
    program.write_text(
        "#!/bin/sh\nread line\ncat >> $(dirname $0)/options\n"
        f"case $line in action=off) {off};; action=status) {status};; esac\n"
    )
    program.chmod(0o755)


def test_fence_agents_are_asked_whether_the_power_is_really_off(
    plant: Plant, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden\n")
    host = plant.hosts[0]
    options = {"ip": "10.0.0.9", "password_file": str(secret)}
    host.policy["fence"] = {"agent": "fence_try", "options": options}
    host.save()
    path = f"{tmp_path}:/usr/bin:/bin"
    with pytest.raises(FenceRefused, match="not installed"):
        AgentFencer(path).off(host.name)
    _agent(tmp_path)
    assert "is off" in AgentFencer(path).off(host.name)
    assert "ip=10.0.0.9\npassword=hidden\n" in (tmp_path / "options").read_text()
    _agent(tmp_path, status="exit 0")
    with pytest.raises(FenceRefused, match="finds it on"):
        AgentFencer(path).off(host.name)
    _agent(tmp_path, off="echo wrong password hidden >&2; exit 1")
    with pytest.raises(FenceRefused, match="wrong password …"):
        AgentFencer(path).off(host.name)
    with pytest.raises(FenceRefused, match="no fence agent"):
        AgentFencer(path).off(plant.hosts[1].name)


@pytest.mark.parametrize(
    ("fence", "field"),
    [
        ({"agent": "/bin/sh"}, "policy.fence.agent"),
        ({"agent": "fence_x", "options": {"password": "x"}}, "policy.fence.options.password"),
        ({"agent": "fence_x", "options": {"ip": "a\naction=on"}}, "policy.fence.options.ip"),
        ({"agent": "fence_x", "options": {"action": "on"}}, "policy.fence.options.action"),
        ({"agent": "fence_x", "more": 1}, "policy.fence"),
    ],
)
def test_a_policy_of_fencing_that_cannot_be_is_refused(fence: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as told:
        validate_policy({"fence": fence})
    assert list(told.value.message_dict) == [field]
    validate_policy({"fence": {"agent": "fence_x", "options": {"ip": "10.0.0.9"}}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("overcommit_ratio", float("nan")),
        ("overcommit_ratio", 0),
        ("overcommit_ratio", "8"),
        ("memory_reserved_bytes", -1),
        ("memory_reserved_bytes", True),
        ("memory_limit_bytes", 10**30),
        ("memory_limit_bytes", 1.5),
    ],
)
def test_a_number_of_a_policy_has_a_least_and_a_greatest(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as told:
        validate_policy({field: value})
    assert list(told.value.message_dict) == [f"policy.{field}"]
    validate_policy(
        {"overcommit_ratio": 1.5, "memory_reserved_bytes": 0, "memory_limit_bytes": None}
    )


@pytest.mark.parametrize("cells", [5, "line1", [1], [""]])
def test_cells_of_a_policy_are_a_list_of_names(cells: Any) -> None:
    with pytest.raises(ValidationError) as told:
        validate_policy({"cells": cells})
    assert list(told.value.message_dict) == ["policy.cells"]


@pytest.mark.django_db
def test_nothing_said_in_a_policy_is_as_if_it_were_left_out() -> None:
    plant = build_plant()
    host = plant.hosts[0]
    now = timezone.now()
    before = snapshot(), read_plant(now)
    assert host.policy.keys().isdisjoint({"memory_limit_bytes", "cells"})
    told = dict.fromkeys(("memory_limit_bytes", "cells", "overcommit_ratio"))
    if "memory_reserved_bytes" not in host.policy:
        told["memory_reserved_bytes"] = None
    validate_policy(host.policy | told)
    Host.objects.filter(pk=host.pk).update(policy=host.policy | told)
    assert (snapshot(), read_plant(now)) == before
