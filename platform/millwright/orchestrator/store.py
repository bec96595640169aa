"""The `Store` of operations on Django's models. Each method is one transaction."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from industrial.package import pack
from millwright.audit.actions import record
from millwright.balancing import emptying
from millwright.balancing.models import ResourcePool
from millwright.balancing.on_request import decided
from millwright.balancing.ruling import barred_hosts
from millwright.balancing.sparing import standing_machine
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import (
    EnvironmentState,
    MachineObserved,
    OperationState,
    Recovery,
    StepState,
    check_transition,
    may_follow,
)
from millwright.core.pinning import describe
from millwright.core.placement import MOST_TOLD
from millwright.environments.access import access_word, has_access
from millwright.environments.assignments import read_assignment
from millwright.environments.history import environment_transition, machine_observed
from millwright.environments.models import Environment, Machine, Operation, OperationStep
from millwright.environments.placement import place_machine
from millwright.environments.sizes import control_vcpus, has_screen, requires_of
from millwright.hypervisor import Direction, Flow
from millwright.inventory.models import AddressClaim, CpuClaim, DeviceClaim, Host
from millwright.operations import (
    BuiltProgram,
    ImageFiles,
    MachineRecord,
    OperationRecord,
    StepFailed,
    StepRecord,
)
from millwright.operations.errors import NotYet
from millwright.shopfloor.actions import request_config
from millwright.shopfloor.config import config_files, firewall_pairs
from millwright.shopfloor.models import Deployment, ProgramVersion, RetainedCopy

from .moves import MoveStore, abilities_of, claim_devices, claimed_devices, claimed_vgpus
from .retaining import RetainedStore
from .signing import public_text
from .sleeping import PowerStore
from .waiting import WaitingStore, have_woken


class DjangoStore(RetainedStore, MoveStore, PowerStore, WaitingStore):
    """Keeps the contract of `millwright.operations.Store`."""

    def __init__(self, site: str, key: Ed25519PrivateKey, bundles: Path) -> None:
        self.site = site
        self._key = key
        self._bundles = bundles

    # --- operations --------------------------------------------------------------------------------

    def operation(self, operation_id: UUID) -> OperationRecord:
        row = Operation.objects.prefetch_related("steps").get(pk=operation_id)
        steps = tuple(
            StepRecord(step.name, StepState(step.state), step.attempt) for step in row.steps.all()
        )
        return OperationRecord(
            row.pk,
            row.kind,
            OperationState(row.state),
            row.machine_id,
            row.environment_id,
            row.attempt,
            row.payload,
            steps,
        )

    @transaction.atomic
    def begin(self, operation_id: UUID, steps: tuple[tuple[str, str], ...]) -> None:
        row = Operation.objects.select_for_update().get(pk=operation_id)
        if row.state in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED):
            return
        if row.state == OperationState.QUEUED:
            # A new attempt begins with a clean record; a continued one keeps what it has done.
            row.steps.all().delete()
            row.started_at = timezone.now()
        row.state = OperationState.RUNNING
        row.save(update_fields=("state", "started_at"))
        OperationStep.objects.bulk_create(
            [
                OperationStep(operation=row, position=position, name=name, title=title)
                for position, (name, title) in enumerate(steps)
            ],
            ignore_conflicts=True,
        )

    @transaction.atomic
    def step(self, operation_id: UUID, name: str, state: StepState, detail: str = "") -> None:
        changes: dict[str, Any] = {"state": state, "detail": detail}
        now = timezone.now()
        if state is StepState.RUNNING:
            changes |= {"started_at": now, "ended_at": None, "attempt": F("attempt") + 1}
        else:
            changes["ended_at"] = now
        OperationStep.objects.filter(operation_id=operation_id, name=name).update(**changes)
        Operation.objects.filter(pk=operation_id).update(progress="")

    def progress(self, operation_id: UUID, text: str) -> None:
        Operation.objects.filter(pk=operation_id).update(progress=text[:300])

    @transaction.atomic
    def operation_state(
        self,
        operation_id: UUID,
        state: OperationState,
        error: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None:
        row = Operation.objects.select_for_update().get(pk=operation_id)
        check_transition("operation", row.state, state)
        row.state = state
        if error:
            row.error = error
        if result is not None:
            row.result = dict(result)
        if state in (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED):
            row.ended_at, row.progress = timezone.now(), ""
        row.save(update_fields=("state", "error", "result", "ended_at", "progress"))

    def cancel_requested(self, operation_id: UUID) -> bool:
        return bool(Operation.objects.filter(pk=operation_id, cancel_requested=True).exists())

    # --- machines ----------------------------------------------------------------------------------

    def machine(self, machine_id: UUID) -> MachineRecord:
        row = Machine.objects.select_related(
            "environment", "host", "cell", "address_claim", "template_version__template"
        ).get(pk=machine_id)
        return self._record(row)

    def _record(self, row: Machine) -> MachineRecord:
        spec = row.template_version.spec
        needs = requires_of(spec)
        claim = getattr(row, "address_claim", None)
        host = row.host
        abilities = abilities_of(host) if host else frozenset()
        outputs = spec.get("outputs") or {}
        return MachineRecord(
            id=row.pk,
            name=row.name,
            domain_name=row.domain_name,
            environment_id=row.environment_id,
            environment=row.environment.name,
            site=self.site,
            service_class=row.service_class,
            generation=row.generation,
            autostart=row.recovery == Recovery.AUTONOMOUS,
            vcpus=row.vcpus,
            control_vcpus=control_vcpus(spec, row.size),
            memory_bytes=row.memory_bytes,
            disk_bytes=row.disk_bytes,
            host=host.name if host else None,
            assignment=read_assignment(row.cpu_assignment),
            address=claim.address if claim else None,
            mac=row.mac,
            network=row.cell.network_name if row.cell else None,
            bridge=row.cell.bridge if row.cell else None,
            prefix_length=ipaddress.ip_network(row.cell.cidr).prefixlen if row.cell else 24,
            # A machine of a cell has no way out of it.
            route=None,
            flows=tuple(sorted(_flows(row))),
            abilities=abilities,
            image=image_files(row.template_version),
            outputs=outputs if isinstance(outputs, dict) else {},
            health=spec.get("health") or {},
            credentials=self._credentials(row),
            screen=has_screen(spec),
            pool=needs.storage_pool,
            hugepage_bytes=needs.hugepage_bytes,
            cpu_features=tuple(sorted(needs.cpu_features)),
            gpus=claimed_devices(row.pk, row.host_id) if needs.gpus else (),
            vgpus=claimed_vgpus(row.pk, row.host_id) if needs.gpu_profile else (),
        )

    def _credentials(self, row: Machine) -> dict[str, str]:
        identity = {
            "machine_id": str(row.pk),
            "hostname": row.domain_name.removeprefix("mw-")[:63],
            "environment": row.environment.name,
            "generation": row.generation,
        }
        given = {
            "vplc.identity": json.dumps(identity),
            "vplc.trust": json.dumps([public_text(self._key)]),
        }
        if has_access(row.template_version.spec):
            given["mw.access"] = access_word(row.pk)
        return given

    def claim(self, machine_id: UUID, operation_id: UUID) -> MachineRecord:
        try:
            return self._claim(machine_id, operation_id)
        except IntegrityError:
            # Another orchestrator's leftover or a person took the same CPU or address just now: plan anew.
            raise NotYet(
                "a CPU, a card or an address was claimed by another machine at the same moment"
            ) from None

    @transaction.atomic
    def _claim(self, machine_id: UUID, operation_id: UUID) -> MachineRecord:
        # All hosts are locked in one order, so that two placements never promise the same memory.
        list(Host.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        row = (
            Machine.objects.select_for_update(of=("self",))
            .select_related("environment", "cell", "template_version__template")
            .get(pk=machine_id)
        )
        if row.host_id is not None:
            return self.machine(machine_id)
        if row.pool_id is not None:
            # And their limits of memory.
            list(ResourcePool.objects.select_for_update().order_by("pk").values_list("pk"))
        barred = barred_hosts(row)
        open_hosts = set(Host.objects.values_list("name", flat=True)) - set(barred)
        plan = place_machine(row, open_hosts if barred else None)
        plan, short = decided(plan, standing_machine(row))
        if plan.chosen is None or plan.chosen.assignment is None:
            why = short or plan.explain() or "the pool has no hosts"
            raise StepFailed(f"no host can take it: {why}")
        host = Host.objects.get(name=plan.chosen.host)
        CpuClaim.objects.bulk_create(
            [
                CpuClaim(host=host, cpu=cpu, machine=row, vcpu=vcpu, operation=operation_id)
                for vcpu, cpus in plan.chosen.assignment.claims.items()
                for cpu in sorted(cpus)
            ]
        )
        if row.cell is not None:
            AddressClaim.objects.create(cell=row.cell, address=_free_address(row.cell), machine=row)
        claim_devices(row, host, plan.chosen, operation_id)
        # Raised at every placement, also after a release: an older copy is never started again.
        row.generation += 1
        row.host, row.placement, row.cpu_assignment = (
            host,
            plan.as_dict(MOST_TOLD),
            describe(plan.chosen.assignment),
        )
        row.mac = row.mac or mac_for(row.pk)
        row.save(update_fields=("generation", "host", "placement", "cpu_assignment", "mac"))
        if plan.chosen.emptied:
            emptying.needed(host, row, timezone.now())
        if plan.chosen.wake is not None:
            have_woken(host)
            record(None, "machine.await", row, project=row.environment.project, host=host.name)
        return self.machine(machine_id)

    @transaction.atomic
    def release(self, machine_id: UUID) -> None:
        CpuClaim.objects.filter(machine=machine_id).delete()
        DeviceClaim.objects.filter(machine=machine_id).delete()
        AddressClaim.objects.filter(machine=machine_id).delete()
        # With its disk goes what was kept for the loss of that.
        RetainedCopy.objects.filter(machine=machine_id).delete()
        Machine.objects.filter(pk=machine_id).update(
            host=None, cpu_assignment={}, best_effort=[], retained_as_of=None
        )

    @transaction.atomic
    def observed(
        self, machine_id: UUID, state: MachineObserved, cause: str, operation_id: UUID
    ) -> None:
        machine_observed(
            Machine.objects.select_related("environment").get(pk=machine_id),
            state,
            cause=cause,
            operation=operation_id,
        )

    def shortfalls(self, machine_id: UUID, words: tuple[str, ...]) -> None:
        Machine.objects.filter(pk=machine_id).update(best_effort=list(words))

    def guest_status(self, machine_id: UUID, status: Mapping[str, Any]) -> None:
        Machine.objects.filter(pk=machine_id).update(
            guest_status=dict(status), guest_status_at=timezone.now()
        )

    @transaction.atomic
    def environment_state(
        self, environment_id: UUID, state: EnvironmentState, reason: str, operation_id: UUID
    ) -> None:
        row = Environment.objects.select_for_update().get(pk=environment_id)
        if (
            state is EnvironmentState.REMOVED
            and row.machines.exclude(observed=MachineObserved.ABSENT).exists()
        ):
            return
        if state is EnvironmentState.FAILED and not may_follow("environment", row.state, state):
            return
        environment_transition(row, state, reason=reason, operation=operation_id)

    # --- programs ----------------------------------------------------------------------------------

    def _path(self, sha256: str) -> Path:
        return self._bundles / f"{sha256}.bundle"

    def bundle(self, program_version_id: UUID) -> tuple[bytes, str] | None:
        row = ProgramVersion.objects.get(pk=program_version_id)
        if row.state != "ready":
            return None
        data = self._path(row.bundle_sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != row.bundle_sha256:
            raise StepFailed(f"{row}: the stored bundle is damaged; upload the program again")
        return data, row.bundle_sha256

    def program_state(self, program_version_id: UUID) -> tuple[str, str]:
        row = ProgramVersion.objects.get(pk=program_version_id)
        first = row.diagnostics[0] if row.diagnostics else {}
        said = (
            f"{first.get('file')}:{first.get('line')}: {first.get('message')}"
            if first
            else row.error
        )
        return row.state, said

    def program_sources(self, program_version_id: UUID) -> tuple[str, str, Mapping[str, str]]:
        row = ProgramVersion.objects.select_related("program").get(pk=program_version_id)
        ProgramVersion.objects.filter(pk=row.pk, state="queued").update(state="building")
        return row.program.name, str(row.number), row.files

    def program_built(self, program_version_id: UUID, built: BuiltProgram) -> None:
        changes: dict[str, Any] = {
            "state": "ready" if built.ok else "failed",
            "diagnostics": list(built.diagnostics),
            "error": built.error,
        }
        if built.ok:
            sha256 = hashlib.sha256(built.bundle).hexdigest()
            self._bundles.mkdir(parents=True, exist_ok=True, mode=0o700)
            scratch = self._path(sha256).with_suffix(".part")
            scratch.write_bytes(built.bundle)
            scratch.rename(self._path(sha256))
            changes |= {
                "bundle_sha256": sha256,
                "bundle_size": len(built.bundle),
                "symbols": dict(built.symbols),
            }
        ProgramVersion.objects.filter(pk=program_version_id).update(**changes)

    @transaction.atomic
    def deployment(
        self, machine_id: UUID, program_version_id: UUID, state: str, message: str
    ) -> None:
        pending = Deployment.objects.filter(
            machine=machine_id, program_version=program_version_id, state__in=("pending", "active")
        ).first()
        now = timezone.now()
        if pending is None:
            pending = Deployment.objects.create(
                machine_id=machine_id, program_version_id=program_version_id
            )
        pending.state, pending.message = state, message
        pending.activated_at = now if state == "active" else None
        pending.save(update_fields=("state", "message", "activated_at"))
        if state == "active":
            Deployment.objects.filter(machine=machine_id, state="active").exclude(
                pk=pending.pk
            ).update(state="replaced")
            machine = Machine.objects.select_related("environment").get(pk=machine_id)
            if machine.set_points.exists():
                # The new program may show the same tag at another register.
                request_config(pending.deployed_by, machine, "registers of set-points")

    def config_bundle(self, machine_id: UUID) -> bytes:
        row = Machine.objects.select_related("environment", "cell", "template_version").get(
            pk=machine_id
        )
        files = {path: text.encode() for path, text in config_files(row).items()}
        version = hashlib.sha256(
            json.dumps(
                {path: text.decode() for path, text in files.items()}, sort_keys=True
            ).encode()
        ).hexdigest()
        return pack("config", row.domain_name, version[:16], files, self._key)


def _flows(row: Machine) -> list[Flow]:
    return [
        Flow(
            direction=Direction.INBOUND if pair.inbound else Direction.OUTBOUND,
            peer=pair.peer.removesuffix("/32"),
            port=pair.port,
        )
        for pair in firewall_pairs(row)
    ]


def image_files(version: TemplateVersion) -> ImageFiles:
    """The built image of a template version.

    Raises:
        StepFailed: it is not built.
    """
    image = version.image
    if version.image_state != "ready" or not image:
        raise StepFailed(
            f"the image of template {version} is not built; run: millwright template build {version.template.name}"
        )

    def file(name: str) -> tuple[Path, str, int] | None:
        entry = image["files"].get(name)
        return (Path(entry["path"]), entry["sha256"], int(entry["size"])) if entry else None

    kernel, initrd = file("kernel"), file("initrd")
    if kernel is None or initrd is None:
        raise StepFailed(f"the image of template {version} lacks kernel or initrd; build it again")
    return ImageFiles(
        image["name"],
        kernel,
        initrd,
        file("disk"),
        int(image.get("virtual_bytes", 0)),
        image.get("cmdline", ""),
    )


def mac_for(machine_id: UUID) -> str:
    """A locally administered address that follows from the machine's id."""
    digest = hashlib.sha256(machine_id.bytes).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _free_address(cell: Any) -> str:
    """The lowest address of the cell's range that nobody has claimed and no device holds."""
    taken = set(cell.address_claims.values_list("address", flat=True)) | set(
        cell.devices.values_list("address", flat=True)
    )
    address, last = (
        ipaddress.ip_address(cell.first_address),
        ipaddress.ip_address(cell.last_address),
    )
    while address <= last:
        if str(address) not in taken:
            return str(address)
        address += 1
    raise StepFailed(
        f"cell {cell.slug}: no free address between {cell.first_address} and {cell.last_address}"
    )
