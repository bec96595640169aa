"""The store's part for moves, questions and parts of operations. Each method is one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from millwright.balancing.ruling import barred_hosts
from millwright.core.lifecycle import OperationKind, OperationState, check_transition
from millwright.core.pinning import describe
from millwright.core.placement import HostVerdict
from millwright.environments.assignments import read_assignment
from millwright.environments.models import Machine, Move, Operation, StartedCpu
from millwright.environments.placement import place_machine
from millwright.environments.sizes import requires_of
from millwright.hypervisor import GuestCpu, VgpuSpec
from millwright.inventory.models import CpuClaim, DeviceClaim, Host
from millwright.operations import MoveRecord, MoveState, StepFailed
from millwright.operations.errors import NotYet


class MoveStore:
    """Mixed into `DjangoStore`."""

    # --- questions -----------------------------------------------------------------------------------

    @transaction.atomic
    def ask(self, operation_id: UUID, text: str, answers: Mapping[str, str]) -> None:
        row = Operation.objects.select_for_update(no_key=True, of=("self",)).get(pk=operation_id)
        if row.state == OperationState.RUNNING:
            row.state = OperationState.WAITING
        row.question = {"text": text, "answers": dict(answers)}
        if row.answer not in answers:
            # Given to another question: it does not count here.
            row.answer = ""
        row.progress = text[:300]
        row.save(update_fields=("state", "question", "answer", "progress"))

    def answer(self, operation_id: UUID) -> str:
        return str(Operation.objects.values_list("answer", flat=True).get(pk=operation_id))

    @transaction.atomic
    def answered(self, operation_id: UUID) -> None:
        row = Operation.objects.select_for_update(no_key=True, of=("self",)).get(pk=operation_id)
        if not row.question and row.state != OperationState.WAITING:
            return
        if row.state == OperationState.WAITING:
            check_transition("operation", row.state, OperationState.RUNNING)
            row.state = OperationState.RUNNING
        row.question, row.answer = {}, ""
        row.save(update_fields=("state", "question", "answer"))

    # --- moves ---------------------------------------------------------------------------------------

    def prepare_move(
        self,
        operation_id: UUID,
        machine_id: UUID,
        destination: str | None,
        *,
        started: GuestCpu | None = None,
        off: bool = False,
    ) -> MoveRecord:
        try:
            return self._prepare_move(operation_id, machine_id, destination, started, off)
        except IntegrityError:
            raise NotYet(
                "a CPU or a card was claimed by another machine at the same moment"
            ) from None

    @transaction.atomic
    def _prepare_move(
        self,
        operation_id: UUID,
        machine_id: UUID,
        destination: str | None,
        started: GuestCpu | None,
        off: bool,
    ) -> MoveRecord:
        # In one order with placements, so that nothing is promised twice.
        list(Host.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        known = Move.objects.filter(pk=operation_id).select_related("source", "destination").first()
        if known is not None and known.state != MoveState.UNDONE:
            return _record(known)
        row = (
            Machine.objects.select_for_update(of=("self",))
            .select_related("environment", "cell", "host", "template_version__template")
            .get(pk=machine_id)
        )
        if row.host is None:
            raise StepFailed(f"{row.domain_name} has no host")
        names = set(Host.objects.values_list("name", flat=True)) - {row.host.name}
        barred = barred_hosts(row)
        if destination in barred:
            raise StepFailed(f"{destination}: placement rule {barred[destination]} forbids it")
        names -= set(barred)
        if off and row.disk_bytes:
            names &= _seeing_disk(row, destination)
        if started is not None:
            row.started_cpu = kept_cpu(started)
            row.save(update_fields=("started_cpu",))
        plan = place_machine(
            row, names & {destination} if destination else names, running=started is not None
        )
        if plan.chosen is None or plan.chosen.assignment is None:
            raise StepFailed(f"no host can take it: {plan.explain() or 'there is no other host'}")
        had = read_assignment(row.cpu_assignment)
        if not destination and plan.chosen.assignment.unmet and had is not None and not had.unmet:
            # What has CPUs of its own goes to where it would do without only if a person names the host.
            raise StepFailed(
                f"no host can take it as it runs now: on {plan.chosen.host} it would run best effort,"
                f" without a CPU of its own for vCPU {', '.join(map(str, plan.chosen.assignment.unmet))}"
            )
        target = Host.objects.get(name=plan.chosen.host)
        CpuClaim.objects.bulk_create(
            [
                CpuClaim(host=target, cpu=cpu, machine=row, vcpu=vcpu, operation=operation_id)
                for vcpu, cpus in plan.chosen.assignment.claims.items()
                for cpu in sorted(cpus)
            ]
        )
        claim_devices(row, target, plan.chosen, operation_id)
        used = Move.objects.filter(machine=row).aggregate(most=Max("generation"))["most"] or 0
        move, _made = Move.objects.update_or_create(
            pk=operation_id,
            defaults={
                "machine": row,
                "source": row.host,
                "destination": target,
                # Above that of a copy that an earlier try may have left somewhere.
                "generation": max(row.generation, used) + 1,
                "cpu_assignment": describe(plan.chosen.assignment),
                "shared_storage": row.host.shares_storage_with(target),
                "off": off,
                "state": MoveState.PREPARED,
                "note": "",
                "ended_at": None,
            },
        )
        return _record(move)

    def move(self, operation_id: UUID) -> MoveRecord | None:
        row = Move.objects.filter(pk=operation_id).select_related("source", "destination").first()
        return None if row is None else _record(row)

    @transaction.atomic
    def complete_move(
        self,
        operation_id: UUID,
        *,
        elapsed_ms: int | None,
        downtime_ms: int | None,
        transferred_bytes: int | None,
    ) -> None:
        move = Move.objects.select_for_update().get(pk=operation_id)
        if move.state == MoveState.DONE:
            return
        for claims in (CpuClaim, DeviceClaim):
            claims.objects.filter(machine=move.machine_id, host=move.source_id).delete()
        row = Machine.objects.select_for_update().get(pk=move.machine_id)
        row.host_id, row.generation = move.destination_id, move.generation
        row.cpu_assignment = move.cpu_assignment
        if (
            move.off
            or Operation.objects.filter(pk=operation_id, kind=OperationKind.RECOVER).exists()
        ):
            # It is started there anew, with the CPU of its new host.
            row.started_cpu = None
        row.save(update_fields=("host", "generation", "cpu_assignment", "started_cpu"))
        move.state, move.ended_at = MoveState.DONE, timezone.now()
        move.elapsed_ms, move.downtime_ms = elapsed_ms, downtime_ms
        move.transferred_bytes = transferred_bytes
        move.save()

    @transaction.atomic
    def undo_move(self, operation_id: UUID, why: str) -> None:
        move = Move.objects.select_for_update().filter(pk=operation_id).first()
        if move is None or move.state != MoveState.PREPARED:
            return
        for claims in (CpuClaim, DeviceClaim):
            claims.objects.filter(machine=move.machine_id, host=move.destination_id).delete()
        move.state, move.note, move.ended_at = MoveState.UNDONE, why[:300], timezone.now()
        move.save(update_fields=("state", "note", "ended_at"))


def kept_cpu(cpu: GuestCpu) -> StartedCpu:
    """The row of a CPU that machines run with: the same for all that have the same."""
    facts = {
        "accel": str(cpu.accel),
        "model": cpu.model[:64],
        "passthrough": cpu.passthrough,
        "features": sorted(cpu.features),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return StartedCpu.objects.get_or_create(digest=digest, defaults=facts)[0]


def claim_devices(machine: Machine, host: Host, chosen: HostVerdict, operation_id: UUID) -> None:
    """Claim the cards and the vGPU instances of a placement for a machine.

    Raises:
        IntegrityError: somebody has one of them already.
    """
    DeviceClaim.objects.bulk_create(
        [
            DeviceClaim(host=host, address=address, machine=machine, operation=operation_id)
            for address in chosen.cards
        ]
        + [
            DeviceClaim(
                host=host, address=address, profile=profile, machine=machine, operation=operation_id
            )
            for address in chosen.vgpus
            for profile in (requires_of(machine.template_version.spec).gpu_profile,)
        ]
    )


def claimed_devices(machine_id: UUID, host_id: int | None) -> tuple[str, ...]:
    """PCI addresses of what a machine has claimed whole on a host, in order."""
    rows = DeviceClaim.objects.filter(machine=machine_id, host=host_id, profile="")
    return tuple(rows.order_by("address").values_list("address", flat=True))


def claimed_vgpus(machine_id: UUID, host_id: int | None) -> tuple[VgpuSpec, ...]:
    """The vGPU instances that a machine has claimed on a host, in the order of their numbers."""
    rows = DeviceClaim.objects.filter(machine=machine_id, host=host_id).exclude(profile="")
    return tuple(
        VgpuSpec(card=card, profile=profile)
        for card, profile in rows.order_by("pk").values_list("address", "profile")
    )


def _seeing_disk(machine: Machine, destination: str | None) -> set[str]:
    """Hosts to which a machine that is off may go: nothing copies its disk.

    Raises:
        StepFailed: there are none, or the one that was named is none of them.
    """
    home = machine.host
    if home is None:
        return set()
    seeing = {row.name for row in Host.objects.all() if row.shares_storage_with(home)}
    if destination and destination not in seeing:
        raise StepFailed(
            f"{machine.domain_name} is off, and {destination} does not see its disk on {home.name}:"
            " only hosts with the same shared storage do"
        )
    if seeing <= {home.name}:
        raise StepFailed(
            f"{machine.domain_name} is off, and its disk lies on {home.name} alone:"
            " only while it runs is the disk copied"
        )
    return seeing


def abilities_of(host: Any) -> frozenset[str]:
    """Probes that the host passed."""
    return frozenset(
        kind for kind, probe in host.capabilities.items() if probe.get("verdict") == "yes"
    )


def _record(row: Move) -> MoveRecord:
    assignment = read_assignment(row.cpu_assignment)
    if assignment is None:
        raise StepFailed(f"move {row.pk} has no CPU assignment")
    return MoveRecord(
        row.pk,
        row.machine_id,
        row.source.name,
        row.destination.name,
        row.generation,
        assignment,
        abilities_of(row.destination),
        row.shared_storage,
        MoveState(row.state),
        claimed_devices(row.machine_id, row.destination_id),
        claimed_vgpus(row.machine_id, row.destination_id),
        off=row.off,
    )
