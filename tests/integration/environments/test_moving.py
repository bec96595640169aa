"""Moves as rows: who may, what forbids them, claims on both hosts, questions and their answers."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions, moving
from millwright.environments.models import Machine, Move, Operation
from millwright.hypervisor import DomainState, DomainStats, GuestCpu, Metadata
from millwright.inventory.models import CpuClaim
from millwright.inventory.snapshot import snapshot
from millwright.operations import MoveState, StepFailed
from millwright.orchestrator.moves import kept_cpu
from millwright.orchestrator.reconciler import reconcile
from millwright.orchestrator.store import DjangoStore
from millwright.service_levels.models import MaintenanceWindow

from tests.support.plant import Plant, image_data

SITE = "site-1"


@pytest.fixture
def store(plant: Plant, tmp_path: Path) -> DjangoStore:
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    return DjangoStore(SITE, Ed25519PrivateKey.generate(), tmp_path)


@pytest.fixture
def machine(plant: Plant, store: DjangoStore) -> Machine:
    """A running controller with its claims."""
    made = actions.create_request(plant.engineer, **plant.request_fields("one"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    row = Machine.objects.get()
    operation = Operation.objects.get()
    store.claim(row.pk, operation.pk)
    Operation.objects.update(state="succeeded")
    Machine.objects.update(observed="running")
    row.refresh_from_db()
    return row


def _claims(machine: Machine) -> dict[str, int]:
    rows = CpuClaim.objects.filter(machine=machine).values_list("host__name", flat=True)
    return {name: list(rows).count(name) for name in rows}


def test_a_controller_moves_only_when_a_person_says_so(plant: Plant, machine: Machine) -> None:
    assert machine.movability == "approval"
    assert "approves" in moving.why_not_movable(machine, approved=False)
    assert moving.why_not_movable(machine, approved=True) == ""
    moving.set_movability(plant.operator, machine, "never")
    with pytest.raises(ValidationError, match="never moved"):
        moving.move_machine(plant.operator, machine)
    moving.set_movability(plant.operator, machine, "window")
    with pytest.raises(ValidationError, match="maintenance window"):
        moving.move_machine(plant.operator, machine)
    now = timezone.now()
    MaintenanceWindow.objects.create(
        environment=machine.environment,
        requested_by=plant.engineer,
        begins_at=now - dt.timedelta(hours=1),
        ends_at=now + dt.timedelta(hours=1),
        reason="gear",
        state="approved",
    )
    operation = moving.move_machine(plant.operator, machine, reason="gear")
    assert (operation.kind, operation.state) == ("migrate", "queued")
    assert AuditEntry.objects.filter(action="machine.move", actor=plant.operator).count() == 1
    # One thing at a time.
    with pytest.raises(ValidationError):
        moving.move_machine(plant.operator, machine)


def test_both_hosts_hold_its_room_until_the_move_has_ended(
    plant: Plant, machine: Machine, store: DjangoStore
) -> None:
    source = machine.host
    other = next(host for host in plant.hosts if host != source)
    operation = moving.move_machine(plant.operator, machine, other)
    # Over there is no CPU to be its own: without a person's word it is not moved to do without.
    with pytest.raises(StepFailed, match="best effort"):
        store.prepare_move(operation.pk, machine.pk, None)
    other.policy, other.topology = source.policy, source.topology
    other.save()
    Operation.objects.filter(pk=operation.pk).update(state="failed")
    free = {host.name: host for host in snapshot().hosts}
    operation = moving.move_machine(plant.operator, machine, other)
    move = store.prepare_move(operation.pk, machine.pk, other.name)
    assert store.prepare_move(operation.pk, machine.pk, other.name) == move
    assert (move.source, move.destination) == (source.name, other.name)
    assert move.generation == machine.generation + 1
    assert _claims(machine) == {source.name: 1, other.name: 1}
    now = {host.name: host for host in snapshot().hosts}
    assert now[source.name] == free[source.name]
    assert now[other.name] != free[other.name]
    # Seen over there while its row is still here, it is no stranger.
    coming = DomainStats(
        uuid=machine.pk,
        name=machine.domain_name,
        state=DomainState.RUNNING,
        metadata=Metadata(
            site=SITE,
            environment="one",
            machine=str(machine.pk),
            operation=str(operation.pk),
            generation=move.generation,
        ),
    )
    reconcile(other, [coming], {}, SITE, timezone.now())
    assert not other.drifts.exists()
    store.undo_move(operation.pk, "the host went away")
    assert _claims(machine) == {source.name: 1}
    assert {host.name: host for host in snapshot().hosts} == free
    # Another try takes a generation above that of a copy that may have been left.
    again = store.prepare_move(operation.pk, machine.pk, other.name)
    assert (again.state, again.generation) == (MoveState.PREPARED, move.generation + 1)
    store.complete_move(operation.pk, elapsed_ms=9, downtime_ms=3, transferred_bytes=7)
    machine.refresh_from_db()
    assert (machine.host, machine.generation) == (other, again.generation)
    assert _claims(machine) == {other.name: 1}
    assert Move.objects.get().downtime_ms == 3
    # What has ended is not undone.
    store.undo_move(operation.pk, "late")
    assert Move.objects.get().state == "done"


def test_a_machine_that_is_off_is_claimed_only_where_its_disk_is_seen(
    plant: Plant, machine: Machine, store: DjangoStore
) -> None:
    source = machine.host
    other = next(host for host in plant.hosts if host != source)
    other.policy, other.topology = source.policy, source.topology
    other.save()
    kept = kept_cpu(GuestCpu(accel="tcg", model="qemu64"))
    Machine.objects.update(observed="stopped", started_cpu=kept)
    operation = Operation.objects.create(kind="migrate", machine=machine)
    for named in (other.name, None):
        with pytest.raises(StepFailed, match=r"does not see its disk|lies on .* alone"):
            store.prepare_move(operation.pk, machine.pk, named, off=True)
    assert _claims(machine) == {source.name: 1}
    for host in (source, other):
        host.policy["shared_storage"] = "san"
        host.save()
    move = store.prepare_move(operation.pk, machine.pk, None, off=True)
    assert (move.off, move.shared_storage, move.destination) == (True, True, other.name)
    assert store.move(operation.pk) == move
    store.complete_move(operation.pk, elapsed_ms=None, downtime_ms=None, transferred_bytes=None)
    machine.refresh_from_db()
    # It is started there anew, with what its new host has.
    assert (machine.host, machine.started_cpu) == (other, None)
    assert _claims(machine) == {other.name: 1}


def test_no_room_says_so_and_claims_nothing(
    plant: Plant, machine: Machine, store: DjangoStore
) -> None:
    other = next(host for host in plant.hosts if host != machine.host)
    other.administration = "cordoned"
    other.save()
    operation = moving.move_machine(plant.operator, machine, other)
    with pytest.raises(StepFailed, match=other.name):
        store.prepare_move(operation.pk, machine.pk, other.name)
    assert _claims(machine) == {machine.host.name: 1}
    assert not Move.objects.exists()


def test_a_question_is_answered_on_its_page(
    plant: Plant, machine: Machine, store: DjangoStore, client: Client
) -> None:
    client.force_login(plant.operator)
    page = client.post(
        "/environments/one/act/", {"verb": "move", "machine": machine.pk, "reason": "noise"}
    )
    assert page.status_code == 302
    operation = Operation.objects.get(kind="migrate")
    with pytest.raises(ValidationError, match="asks nothing"):
        moving.answer_operation(plant.operator, operation, "leave_off")
    Operation.objects.filter(pk=operation.pk).update(state="running")
    store.ask(operation.pk, "It is nowhere.", {"leave_off": "Leave it off"})
    url = f"/operations/{operation.pk}/"
    assert b"It is nowhere." in client.get(url).content
    with pytest.raises(ValidationError, match="leave_off"):
        moving.answer_operation(plant.operator, operation, "keep_source")
    client.post(f"{url}act/", {"verb": "answer", "answer": "leave_off"})
    operation.refresh_from_db()
    assert operation.answer == "leave_off"
    assert b"Leave it off" in client.get(url).content
    assert AuditEntry.objects.filter(action="operation.answer").count() == 1
