"""What running machines are: the CPU that they were started with, how much they write, how large their disks have grown.

Asked slowly, a few machines in each round: first those whose move is considered and who were never asked, then
whoever was asked longest ago. Measuring costs the guest a little, and nobody needs it by the minute.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from millwright.balancing.models import Recommendation
from millwright.core.lifecycle import HostHealth, MachineObserved
from millwright.environments.models import Machine, Operation
from millwright.environments.sizes import requires_of
from millwright.hypervisor import GuestCpu, Hypervisor, HypervisorError
from millwright.inventory.models import Host

from .hosts import Hosts
from .moves import kept_cpu

log = logging.getLogger(__name__)

#: Machines in one round, seconds over which each is measured, and how long for an answer.
MOST, MEASURED_S, ANSWER_S = 4, 1, 6.0
#: A machine is asked anew after so long; sooner while its move waits for a person.
AGAIN, CONSIDERED_AGAIN = dt.timedelta(minutes=30), dt.timedelta(minutes=5)


def traits_round(hosts: Hosts, now: dt.datetime) -> int:
    """Ask the machines whose turn it is; returns how many were."""
    asked = 0
    for machine in due(now)[:MOST]:
        try:
            driver = hosts.get(str(machine.host))
            if not driver.connected:
                continue
            cpu, found = _ask(driver, machine)
        except HypervisorError as error:
            # Away, stopped meanwhile, or unable: it is not asked again before its turn.
            log.info("traits of %s: %s", machine, error)
            cpu, found = None, {}
        except Exception:
            # It must not stay first in the queue, nor keep the rounds after this one from their turn.
            log.exception("traits of %s", machine)
            cpu, found = None, {}
        _keep(machine, cpu, found, now)
        asked += 1
    return asked


def due(now: dt.datetime) -> list[Machine]:
    """Running machines whose turn it is, in order. Four queries."""
    # A few columns of all: of many thousand machines only those that are asked are read whole.
    rows = list(
        Machine.objects.filter(
            observed=MachineObserved.RUNNING, host__in=Host.objects.filter(health=HostHealth.UP)
        ).values_list("pk", "traits")
    )
    considered = set(Recommendation.objects.filter(state="open").values_list("machine", flat=True))
    busy = set(Operation.objects.live().values_list("machine", flat=True))
    turns = []
    for pk, traits in rows:
        last = _last(traits)
        rest = CONSIDERED_AGAIN if pk in considered else AGAIN
        if pk not in busy and (last is None or now - last >= rest):
            turns.append((pk not in considered, last is not None, last or now, pk))
    first = [turn[-1] for turn in sorted(turns)[:MOST]]
    found = Machine.objects.select_related("environment", "host", "template_version").in_bulk(first)
    return [found[pk] for pk in first if pk in found]


def _last(traits: dict[str, Any]) -> dt.datetime | None:
    with contextlib.suppress(KeyError, ValueError, TypeError):
        return dt.datetime.fromisoformat(traits["asked_at"])
    return None


def _ask(driver: Hypervisor, machine: Machine) -> tuple[GuestCpu, dict[str, Any]]:
    """Its CPU, and what else the host says; what it cannot say is left out."""
    cpu = driver.guest_cpu(machine.pk, deadline_s=ANSWER_S)
    found: dict[str, Any] = {}
    pool = requires_of(machine.template_version.spec).storage_pool
    volumes = driver.list_volumes(pool, deadline_s=ANSWER_S)
    own = [
        row
        for row in volumes
        if row.owner is not None and row.owner.machine == str(machine.pk) and not row.aside
    ]
    if own:
        found["disk_bytes"] = sum(row.allocation_bytes for row in own)
    with contextlib.suppress(HypervisorError):
        rate = driver.dirty_rate(machine.pk, seconds=MEASURED_S, deadline_s=ANSWER_S)
        if rate is not None:
            found |= {"dirty_bytes_s": rate, "dirty_at": timezone.now().isoformat()}
    return cpu, found


@transaction.atomic
def _keep(machine: Machine, cpu: GuestCpu | None, found: dict[str, Any], now: dt.datetime) -> None:
    row = Machine.objects.select_for_update().filter(pk=machine.pk).first()
    if row is not None and row.host_id == machine.host_id:
        # What moved or started anew meanwhile is asked at its next turn.
        row.traits = {**row.traits, **found, "asked_at": now.isoformat()}
        if cpu is not None:
            row.started_cpu = kept_cpu(cpu)
        row.save(update_fields=("traits", "started_cpu"))
