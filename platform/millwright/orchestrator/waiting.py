"""Machines that hold room on a host which is not awake yet: the store's part. The host is woken for them.

A machine is placed on the sleeping host and the order to wake it is written in one transaction. So its room is taken
from then on: others that wait share the host as far as it goes, and nobody puts it to sleep again before they came.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from millwright.core.lifecycle import HostAdministration, HostPower, OperationKind
from millwright.core.topology import format_cpu_list
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.power import ask_wake, wake_s
from millwright.inventory.snapshot import snapshot
from millwright.inventory.waking import left_asleep
from millwright.operations import AwaitedHost, MachineRecord, StepFailed
from millwright.operations.errors import NotYet


def have_woken(host: Host) -> None:
    """Write the order to wake a host for a machine that has claims there; one that is written already is enough."""
    try:
        # Who reads of hosts may not be of the machine's project.
        ask_wake(None, host, reason="a machine has room on no host that is awake")
    except ValidationError:
        # It woke just now.
        return


def left_s(host: Host, now: dt.datetime) -> float:
    """Seconds until a host that is being woken is expected to answer; below 0 it is late."""
    begun = host.power_since if host.power == HostPower.WAKING else None
    return wake_s(host) - ((now - begun).total_seconds() if begun is not None else 0.0)


class WaitingStore:
    """Mixed into `DjangoStore`."""

    if TYPE_CHECKING:

        def _claim(self, machine_id: UUID, operation_id: UUID) -> MachineRecord: ...
        def release(self, machine_id: UUID) -> None: ...

    def awaited_host(self, machine_id: UUID, operation_id: UUID) -> AwaitedHost | None:
        row = Machine.objects.select_related("host").get(pk=machine_id)
        host = row.host
        if host is None:
            raise StepFailed(f"{row.domain_name} has no host")
        if host.power == HostPower.AWAKE and not _lacks(host, machine_id):
            return None
        if host.power == HostPower.AWAKE or _given_up(host):
            host = self._elsewhere(machine_id, operation_id)
        elif not Operation.objects.live().filter(host=host, kind=OperationKind.WAKE_HOST).exists():
            host = self._again(machine_id)
        return None if host is None else AwaitedHost(host.name, left_s(host, timezone.now()))

    @transaction.atomic
    def _again(self, machine_id: UUID) -> Host | None:
        """Nobody wakes the host: whatever became of the order, it is written once more."""
        host = _locked(machine_id)
        if host.power == HostPower.AWAKE:
            return None
        have_woken(host)
        return host

    def _elsewhere(self, machine_id: UUID, operation_id: UUID) -> Host | None:
        try:
            with transaction.atomic():
                host = _locked(machine_id)
                awake = host.power == HostPower.AWAKE
                why = _lacks(host, machine_id) if awake else _given_up(host)
                if not why:
                    return None if awake else host
                self.release(machine_id)
                try:
                    record = self._claim(machine_id, operation_id)
                except StepFailed as error:
                    raise StepFailed(f"{host.name} {why}; {error}") from error
                found = Host.objects.get(name=record.host)
        except IntegrityError:
            raise NotYet(
                "a CPU, a card or an address was claimed by another machine at the same moment"
            ) from None
        return None if found.power == HostPower.AWAKE else found


def _locked(machine_id: UUID) -> Host:
    """The machine's host, with all hosts held in the order in which placements hold them."""
    list(Host.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
    return Host.objects.get(machines=machine_id)


def _lacks(host: Host, machine_id: UUID) -> str:
    """What of a machine's claims a host that has slept does not have any more; "": all is there.

    It was claimed while the host slept, by what it had then; what it has was read when it woke. No query where it
    never slept.
    """
    if host.power_since is None:
        return ""
    (seen,) = snapshot([host]).hosts
    if seen.memory_free_bytes < 0:
        lacking = math.ceil(-seen.memory_free_bytes / 2**20)
        return f"woke with {lacking} MiB less memory than is promised there"
    claimed = CpuClaim.objects.filter(host=host, machine=machine_id).values_list("cpu", flat=True)
    if gone := sorted(set(claimed) - {cpu.id for cpu in seen.topology.cpus}):
        return f"woke without CPU {format_cpu_list(gone)}, which the machine had claimed"
    return ""


def _given_up(host: Host) -> str:
    """Why a host that is not awake is waited for no longer; "": it is waited for."""
    if host.administration != HostAdministration.SCHEDULABLE:
        return "takes nothing new"
    return left_asleep([host]).get(host.pk, "")
