"""Entitlements: what a machine is promised of the CPUs and memory, set by people, given by its host each round."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Mode, allotments
from millwright.core.lifecycle import HostHealth, MachineObserved, ServiceClass
from millwright.environments.models import Machine, Move
from millwright.inventory.snapshot import OVERHEAD_BYTES

from .models import MachineShare, ResourcePool
from .plant import machines_on_hosts, read_plant
from .pool_memory import room_for
from .pooling import mib
from .recommending import balancer
from .ruling import machines_called

log = logging.getLogger(__name__)

#: A share is given again when it differs by a twentieth, and after ten minutes.
DIFFERS, AGAIN = 0.05, dt.timedelta(minutes=10)
#: What a machine weighs that nobody weighs, and the least that every host takes.
USUAL_WEIGHT, LEAST_WEIGHT = 1024, 2
#: Bounds of what people set.
MOST_SHARES, MOST_PRIORITY, LEAST_MEMORY = 100_000, 1000, 64 * 2**20


class Shared(Protocol):
    """A share as a host speaks of it."""

    @property
    def cpu_weight(self) -> int: ...
    @property
    def cpu_quota(self) -> float | None: ...
    @property
    def memory_bytes(self) -> int | None: ...


#: (host, machine, weight, quota, memory) → what the host says it gives; raises what the host's driver raises.
Give = Callable[[str, UUID, int, float | None, int | None], Shared]


@transaction.atomic
def set_entitlement(actor: Any, machine: Machine, reason: str = "", **wanted: Any) -> Machine:
    """Set shares, cpu_reservation, cpu_limit, memory_minimum_bytes, priority, pool (a name, "" for none),
    balance_mode ("": as its pool's, else the plant's) or after (names of the machines that must run before it).

    What is left out stays.

    Raises:
        PermissionRefused: entitlements are for those who keep the pool.
        ValidationError: out of bounds, or a reservation above the limit.
    """
    require(actor, "pool")
    known = (
        "shares",
        "cpu_reservation",
        "cpu_limit",
        "memory_minimum_bytes",
        "priority",
        "pool",
        "balance_mode",
    )
    if unknown := set(wanted) - {*known, "after"}:
        raise ValidationError({name: _("no such entitlement") for name in unknown})
    machine = Machine.objects.select_for_update(of=("self",)).get(pk=machine.pk)
    if "pool" in wanted:
        wanted["pool"] = _pool(wanted["pool"])
    first = _first(machine, wanted.pop("after")) if "after" in wanted else None
    values = {name: getattr(machine, name) for name in known} | wanted
    _check(machine, values)
    before = _said({name: getattr(machine, name) for name in wanted})
    held = _held(machine)
    for name, value in wanted.items():
        setattr(machine, name, value)
    _check_limits(machine, wanted, held)
    machine.save(update_fields=list(wanted))
    if first is not None:
        before["after"] = after_names(machine)
        machine.after.set(first)
        wanted["after"] = after_names(machine)
    record(
        actor,
        "machine.entitlement",
        machine,
        project=machine.environment.project,
        before=before,
        after=_said(wanted),
        reason=reason,
    )
    return machine


def after_names(machine: Machine) -> list[str]:
    """Machines that must run before it starts."""
    return sorted(str(other) for other in machine.after.select_related("environment"))


def _first(machine: Machine, names: list[str]) -> list[Machine]:
    """The machines of these names, none of which waits for this one in turn."""
    rows, unknown = machines_called(names)
    if unknown:
        text = _("no machine is named %(name)r")
        raise ValidationError({"after": [text % {"name": name} for name in unknown]})
    edges: dict[UUID, list[UUID]] = {}
    pairs = Machine.after.through.objects.values_list("from_machine_id", "to_machine_id")
    for waits, other in pairs:
        edges.setdefault(waits, []).append(other)
    todo: list[UUID] = [row.pk for row in rows]
    seen: set[UUID] = set()
    while todo:
        at = todo.pop()
        if at == machine.pk:
            text = _("%(machine)s would wait for itself") % {"machine": machine}
            raise ValidationError({"after": text})
        if at not in seen:
            seen.add(at)
            todo.extend(edges.get(at, ()))
    return rows


def _pool(name: str | None) -> ResourcePool | None:
    if not name:
        return None
    found = ResourcePool.objects.filter(name=name).first()
    if found is None:
        raise ValidationError({"pool": _("no pool is named %(name)r") % {"name": name}})
    return found


def _held(machine: Machine) -> tuple[int | None, int]:
    return machine.pool_id, machine.memory_minimum_bytes or machine.memory_bytes


def _check_limits(
    machine: Machine, wanted: Mapping[str, Any], before: tuple[int | None, int]
) -> None:
    """A machine that has a place comes into a pool, or keeps more of its memory, only within the pools' limits."""
    pool, least = _held(machine)
    if machine.host_id is None or (pool == before[0] and least <= before[1]):
        return
    room = room_for(machine, lock=True)
    if room is None or room.wanted_bytes <= room.free_bytes:
        return
    text = _(
        "%(wanted)s are wanted, and %(free)s are left of the %(limit)s to which %(name)s is limited"
    )
    values = {
        "wanted": mib(room.wanted_bytes),
        "free": mib(max(0, room.free_bytes)),
        "limit": mib(room.limit_bytes),
        "name": room.name,
    }
    field = "pool" if "pool" in wanted else "memory_minimum_bytes"
    raise ValidationError({field: text % values})


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the trail keeps them: a pool by its name."""
    return {
        name: (str(value) if value else "") if name == "pool" else value
        for name, value in values.items()
    }


def _check(machine: Machine, values: Mapping[str, Any]) -> None:
    bounds = {
        "shares": (1, MOST_SHARES),
        "cpu_reservation": (0, machine.vcpus),
        "cpu_limit": (0.1, machine.vcpus),
        "memory_minimum_bytes": (LEAST_MEMORY, machine.memory_bytes),
        "priority": (-MOST_PRIORITY, MOST_PRIORITY),
    }
    for name, (low, high) in bounds.items():
        value = values[name]
        if value is None and name in ("cpu_limit", "memory_minimum_bytes"):
            continue
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValidationError(
                {
                    name: _("%(value)s: from %(low)s to %(high)s")
                    % {"value": value, "low": low, "high": high}
                }
            )
    mode = values["balance_mode"]
    if mode and mode not in set(Mode):
        text = _("%(value)r: one of %(known)s") % {"value": mode, "known": ", ".join(Mode)}
        raise ValidationError({"balance_mode": text})
    limit = values["cpu_limit"]
    if limit is not None and values["cpu_reservation"] > limit:
        raise ValidationError(
            {
                "cpu_reservation": _("%(value)s is above the limit of %(limit)s")
                % {"value": values["cpu_reservation"], "limit": limit}
            }
        )
    if (
        machine.service_class == ServiceClass.REALTIME
        and values["memory_minimum_bytes"] is not None
    ):
        raise ValidationError(
            {"memory_minimum_bytes": _("a realtime machine's memory is never taken back")}
        )


def apply_round(give: Give, now: dt.datetime | None = None) -> int:
    """Give every running machine its part of its host; returns how many hosts' answers were written.

    Mode off: what was given is taken back. Shadow: noted only. A realtime machine has CPUs of its own:
    it is left alone. A machine on its way is left alone too.
    """
    now = now or timezone.now()
    mode = balancer().mode
    known = {row.machine_id: row for row in MachineShare.objects.all()}
    if mode == Mode.OFF:
        return _take_back(give, known, now) if known else 0
    allotted = allotments(read_plant(now))
    moving = set(Move.objects.filter(state="prepared").values_list("machine_id", flat=True))
    silent: set[str] = set()
    rows = []
    for machine in machines_on_hosts().filter(
        observed=MachineObserved.RUNNING, host__health=HostHealth.UP
    ):
        given = allotted.get(str(machine))
        if (
            given is None
            or machine.service_class == ServiceClass.REALTIME
            or machine.pk in moving
            or machine.host.name in silent
        ):
            continue
        memory = (
            None if machine.memory_minimum_bytes is None else given.balloon_bytes - OVERHEAD_BYTES
        )
        row = MachineShare(
            machine=machine,
            host=machine.host,
            cpu_weight=max(LEAST_WEIGHT, given.cpu_weight),
            cpu_quota=given.cpu_quota,
            memory_bytes=memory,
            at=now,
        )
        if _same(known.get(machine.pk), row, machine, mode):
            continue
        if mode != Mode.SHADOW and not _give(give, row, machine):
            silent.add(machine.host.name)
            continue
        rows.append(row)
    MachineShare.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["machine"],
        update_fields=[
            "host", "cpu_weight", "cpu_quota", "memory_bytes", "applied", "error", "at",
        ],
    )  # fmt: skip
    return len(rows)


def _same(had: MachineShare | None, row: MachineShare, machine: Machine, mode: str) -> bool:
    """Whether the host has it so already, and has had no reason to forget it."""
    if had is None or had.host_id != row.host_id or row.at - had.at > AGAIN:
        return False
    if had.applied == (mode == Mode.SHADOW) and not had.error:
        return False
    if machine.observed_at is not None and machine.observed_at > had.at:
        return False
    if had.cpu_quota != row.cpu_quota or (had.memory_bytes is None) != (row.memory_bytes is None):
        return False
    pairs = ((had.cpu_weight, row.cpu_weight), (had.memory_bytes or 0, row.memory_bytes or 0))
    return all(abs(new - old) <= DIFFERS * max(old, 1) for old, new in pairs)


def _give(give: Give, row: MachineShare, machine: Machine) -> bool:
    """Ask the host; False when it does not answer."""
    try:
        said = give(machine.host.name, machine.pk, row.cpu_weight, row.cpu_quota, row.memory_bytes)
    except Exception as error:
        if getattr(error, "retryable", False):
            return False
        log.info("%s: its share was refused: %s", machine, error)
        row.applied, row.error = False, str(error)[:300]
        return True
    row.applied, row.error = True, ""
    row.cpu_weight, row.cpu_quota = said.cpu_weight, said.cpu_quota
    return True


def _take_back(give: Give, known: Mapping[UUID, MachineShare], now: dt.datetime) -> int:
    """Balancing is off: machines weigh what they weighed, without quota, with all their memory."""
    machines = machines_on_hosts().filter(pk__in=list(known), observed=MachineObserved.RUNNING)
    done = set(known) - {machine.pk for machine in machines}
    for machine in machines:
        row = known[machine.pk]
        memory = None if row.memory_bytes is None else machine.memory_bytes
        usual = MachineShare(
            machine=machine, host=machine.host, cpu_weight=USUAL_WEIGHT, memory_bytes=memory, at=now
        )
        if not row.applied or row.host_id != machine.host_id or _give(give, usual, machine):
            done.add(machine.pk)
    MachineShare.objects.filter(machine__in=done).delete()
    return len(done)
