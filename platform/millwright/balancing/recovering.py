"""After a host is lost: a person or its fence agent makes sure that it is off; then its machines start
elsewhere, the more important ones first.

A recovery is a row. Each round looks at the plant as it is and starts the next machines, so that it
goes on after any interruption, and plans anew when a start failed or the room has changed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Plant, Vm, parts_of, say, together
from millwright.core.balancing import recover as plan_recovery
from millwright.core.lifecycle import (
    EnvironmentState,
    HostAdministration,
    HostHealth,
    MachineDesired,
    MachineObserved,
    OperationKind,
    OperationState,
)
from millwright.core.lifecycle import Recovery as Restarts
from millwright.environments.enqueue import enqueue
from millwright.environments.models import Machine, Move, Operation
from millwright.environments.sizes import takes_programs
from millwright.inventory.actions import administer_host
from millwright.inventory.models import Host
from millwright.inventory.power import ask_wake
from millwright.shopfloor.models import Deployment
from millwright.shopfloor.retained import before_loss_s

from .arriving import on_their_way, with_others
from .if_woken import if_woken
from .models import HostRecovery
from .plant import machines_on_hosts, read_plant

#: Machines that start at once, and tries of one machine before it is left to a person.
AT_ONCE, TRIES = 4, 3


@dataclass(frozen=True, slots=True)
class PlannedStart:
    """Where one machine would start. `rebuild`: its disk died with the host.

    Of a controller that is rebuilt `retained_as_of` is of when the copy of its retained values is, None where there
    is none; what they were after it is lost, for `retained_before_loss_s` seconds up to the host's loss.
    """

    machine: str
    destination: str
    priority: int
    rebuild: bool
    #: 0: at once; higher ones when what they start after runs
    wave: int = 0
    retained_as_of: dt.datetime | None = None
    retained_before_loss_s: float | None = None
    #: whether it is a controller, which may retain something
    controller: bool = False
    #: a rule toward a machine that waits for the host, which it does not keep there
    note: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    machine: str
    why: str


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """In the order in which they would start; what waits for its host; what finds no room.

    `wakes`: what finds room once hosts are awake that sleep (`woken`), which are woken for it.
    """

    starts: tuple[PlannedStart, ...]
    waiting: tuple[Left, ...]
    left: tuple[Left, ...]
    wakes: tuple[Left, ...] = ()
    woken: tuple[str, ...] = ()


def preview(host: Host, *, gone: bool = False) -> RecoveryPlan:
    """What would start where if the host were confirmed off. Changes nothing."""
    rows = machines_on_hosts().filter(host=host).select_related("template_version")
    machines = {str(row): row for row in rows}
    plant = with_others(read_plant(), host.name, on_their_way())
    plant = _with_absent(plant, machines)
    answer = plan_recovery(plant, [host.name], [host.name] if gone else [])
    lacking = {row.vm for row in answer.left if row.vm in machines}

    def asked(other: Plant) -> dict[str, str]:
        made = plan_recovery(other, [host.name], [host.name] if gone else [])
        return {row.vm: row.target for row in made.restarts}

    would = if_woken(lacking, plant, asked, asked=False)
    shared = dict(Host.objects.values_list("name", "policy__shared_storage"))
    waiting = {row.vm: row.text for row in answer.waiting}
    for name, machine in machines.items():
        if machine.desired != MachineDesired.RUNNING:
            code = "note.to_be_stopped" if machine.desired == "stopped" else "note.to_be_absent"
            waiting[name] = say(code, machine=name)
    left = {row.vm: row.text for row in answer.left}
    after = {vm.name: vm.after for vm in plant.vms}
    for row in sorted(answer.restarts, key=lambda row: row.wave):
        # The balancer knows of none that a person has switched off: what starts after it waits with it.
        if off := [name for name in after[row.vm] if name in waiting or name in left]:
            left[row.vm] = say("dependency", machine=row.vm, names=off)

    def planned(name: str, target: str, wave: int, note: str) -> PlannedStart:
        machine = machines[name]
        rebuild = not (shared[host.name] and shared[host.name] == shared[target])
        as_of = machine.retained_as_of if rebuild else None
        return PlannedStart(
            name,
            target,
            machine.priority,
            rebuild,
            wave,
            as_of,
            before_loss_s(as_of, lost_at(machine)),
            takes_programs(machine.template_version.spec),
            note,
        )

    wakes = {
        name: say("note.once_awake", machine=name, host=target)
        for name, target in sorted(would.places.items())
        if name in left and name not in waiting
    }
    return RecoveryPlan(
        tuple(
            planned(row.vm, row.target, row.wave, row.note)
            for row in answer.restarts
            if row.vm in machines and row.vm not in waiting and row.vm not in left
        ),
        tuple(Left(name, why) for name, why in sorted(waiting.items()) if name in machines),
        tuple(
            Left(name, why)
            for name, why in left.items()
            if name not in waiting and name not in wakes
        ),
        tuple(Left(name, why) for name, why in wakes.items()),
        would.hosts if wakes else (),
    )


def _with_absent(plant: Plant, machines: Mapping[str, Machine]) -> Plant:
    """The plant with what these machines start after and what holds no place on any host. One query.

    A machine that was removed is gone for good: nobody waits for it.
    """
    here = {vm.name for vm in plant.vms}
    names = {row.pk: name for name, row in machines.items()}
    wanted: dict[str, list[str]] = defaultdict(list)
    rows = (
        Machine.after.through.objects.filter(from_machine_id__in=names)
        .exclude(to_machine__environment__state=EnvironmentState.REMOVED)
        .values_list("from_machine_id", "to_machine__environment__name", "to_machine__name")
    )
    for machine, environment, name in rows:
        if (other := f"{environment}/{name}") not in here:
            wanted[names[machine]].append(other)
    if not wanted:
        return plant
    absent = sorted({name for others in wanted.values() for name in others})
    return replace(
        plant,
        vms=(
            *(
                replace(vm, after=(*vm.after, *wanted[vm.name])) if vm.name in wanted else vm
                for vm in plant.vms
            ),
            *(Vm(name, vcpus=1, memory_bytes=0) for name in absent),
        ),
    )


def lost_at(machine: Machine) -> dt.datetime | None:
    """When it went out of sight with its host; None while it is in sight."""
    return machine.observed_at if machine.observed == MachineObserved.UNKNOWN else None


@transaction.atomic
def start(
    actor: Any,
    host: Host,
    *,
    confirm_off: bool = False,
    fence: bool = False,
    gone: bool = False,
    initial_values: Sequence[str] = (),
    reason: str = "",
) -> HostRecovery:
    """Start a lost host's machines elsewhere, once it is known to be off.

    `confirm_off`: a person has made sure. `fence`: its fence agent shall. `gone`: a person states that
    the host cannot return with its machines, so that autonomous ones may start too. `initial_values`:
    controllers (as `str(machine)`) that are rebuilt without the copy of what they retained; it wants a `reason`.

    Raises:
        PermissionRefused: for those who keep the pool.
        ValidationError: the host is not lost, nobody confirms, or no fence agent is configured; initial values for
            a machine that is not rebuilt here, or without a reason.
    """
    require(actor, "pool")
    host = Host.objects.select_for_update().get(pk=host.pk)
    if HostRecovery.objects.filter(host=host, state="active").exists():
        raise ValidationError(
            {"host": _("%(host)s's machines are being recovered already") % {"host": host}}
        )
    if host.health != HostHealth.DOWN:
        raise ValidationError(
            {
                "host": _(
                    "%(host)s is %(state)s: machines are started elsewhere only when their host is down"
                )
                % {"host": host, "state": host.health}
            }
        )
    if fence and not host.policy.get("fence"):
        raise ValidationError(
            {"fence": _("%(host)s has no fence agent in its policy") % {"host": host}}
        )
    if confirm_off == fence:
        raise ValidationError(
            {
                "confirm_off": _(
                    "either a person confirms that %(host)s has no power, or its fence agent takes it away"
                )
                % {"host": host}
            }
        )
    chosen = _initial(host, initial_values, reason, gone=gone)
    if host.administration == HostAdministration.SCHEDULABLE:
        # Should it return, it takes nothing before somebody has looked at it.
        administer_host(actor, host, HostAdministration.CORDONED, reason or "host lost")
    fencing = None
    if fence:
        fencing = enqueue(
            OperationKind.FENCE, actor=actor, reason=reason or "host lost", host=host.name
        )
        Operation.objects.filter(pk=fencing.pk).update(host=host)
    row = HostRecovery.objects.create(
        host=host,
        requested_by=actor,
        reason=reason[:300],
        confirmed_by="person" if confirm_off else "",
        gone=gone,
        initial_values=chosen,
        fencing=fencing,
    )
    record(
        actor,
        "recovery.start",
        row,
        host=host.name,
        confirmed_off=confirm_off,
        fence=fence,
        gone=gone,
        initial_values=chosen,
        reason=reason,
    )
    return row


def _initial(host: Host, names: Sequence[str], reason: str, *, gone: bool) -> list[str]:
    """The controllers for which a person chose initial values in place of a copy, each once."""
    chosen = sorted(set(names))
    if not chosen:
        return []
    if not reason.strip():
        raise ValidationError(
            {
                "reason": _("say why %(machines)s begins with initial values")
                % {"machines": ", ".join(chosen)}
            }
        )
    rows = machines_on_hosts().filter(host=host).select_related("template_version")
    there = {str(row): row for row in rows if takes_programs(row.template_version.spec)}
    kept = {start.machine for start in preview(host, gone=gone).starts if not start.rebuild}
    for name in chosen:
        if name not in there:
            raise ValidationError(
                {
                    "initial_values": _(
                        "%(machine)s: no controller on %(host)s; there are: %(known)s"
                    )
                    % {"machine": name, "host": host, "known": ", ".join(sorted(there)) or "–"}
                }
            )
        if name in kept:
            raise ValidationError(
                {
                    "initial_values": _(
                        "%(machine)s: it goes on from its shared disk and is not rebuilt"
                    )
                    % {"machine": name}
                }
            )
    return chosen


@transaction.atomic
def stop(actor: Any, row: HostRecovery, reason: str = "") -> HostRecovery:
    """Start nothing more. What has been started elsewhere stays there."""
    require(actor, "pool")
    row = HostRecovery.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if row.state != "active":
        raise ValidationError({"state": _("it is over already")})
    if row.fencing is not None and row.fencing.state in ("queued", "running", "waiting"):
        Operation.objects.filter(pk=row.fencing.pk).update(cancel_requested=True)
    _end(row, "cancelled", timezone.now(), reason or "stopped by a person")
    record(actor, "recovery.stop", row, host=row.host.name, reason=reason)
    return row


def recovery_round(now: dt.datetime | None = None) -> int:
    """Carry every active recovery a step on; returns how many machines were told to start."""
    active = HostRecovery.objects.filter(state="active").select_related(
        "host", "requested_by", "fencing"
    )
    return sum(_step(row, now or timezone.now()) for row in active)


def _step(row: HostRecovery, now: dt.datetime) -> int:
    host = row.host
    if row.confirmed_by == "" and not _fenced(row, now):
        return 0
    if host.health == HostHealth.UP:
        return _returned(row, now)
    left = {str(machine): machine for machine in machines_on_hosts().filter(host=host)}
    live = Operation.objects.live().filter(machine__in=list(left.values()))
    busy = {operation.machine_id: operation for operation in live}
    plan = preview(host, gone=row.gone)
    tried = _tried(row, list(left.values()))
    programs = _programs(list(left.values()))
    rest = (*plan.waiting, *plan.left, *plan.wakes)
    blockers = [_blocker(item.machine, item.why) for item in rest]
    for name in plan.woken:
        _wake(name, host)
    at_work = sum(op.kind == OperationKind.RECOVER for op in busy.values())
    free, started, later = AT_ONCE - at_work, 0, 0
    for planned in plan.starts:
        machine = left[planned.machine]
        if machine.pk in busy:
            if busy[machine.pk].kind != OperationKind.RECOVER:
                why = _("it is busy: %(kind)s is %(state)s") % {
                    "kind": busy[machine.pk].kind,
                    "state": busy[machine.pk].state,
                }
                blockers.append(_blocker(planned.machine, why))
            continue
        failures = tried.get(machine.pk, [])
        if len(failures) >= TRIES:
            blockers.append(_blocker(planned.machine, failures[-1]))
        elif started >= free or planned.wave > 0:
            # What it starts after is not there yet: the plan of a later round has it in the first wave.
            later += 1
        else:
            try:
                _begin(row, machine, planned.destination, programs.get(machine.pk))
                started += 1
            except ValidationError as error:
                blockers.append(_blocker(planned.machine, together(error.messages)))
    row.blockers = blockers
    row.save(update_fields=("blockers",))
    if not (started or later or at_work) and all(
        item["machine"] in {waits.machine for waits in plan.waiting} for item in blockers
    ):
        # Nothing is left but what waits for its host.
        _end(row, "done", now, "")
    return started


def _wake(name: str, lost: Host) -> None:
    """Have a host woken for a lost one's machines; a later round finds it awake, or goes without it."""
    # It may be awake by now.
    with contextlib.suppress(ValidationError):
        reason = f"machines of {lost} have room on no host that is awake"
        ask_wake(None, Host.objects.get(name=name), reason=reason)


def _blocker(machine: str, why: str) -> dict[str, Any]:
    return {"machine": machine, "why": str(why), "parts": parts_of(why)}


def _begin(row: HostRecovery, machine: Machine, destination: str, program: str | None) -> None:
    # It is seen again before its retained values are given back.
    lost = lost_at(machine)
    initial = (
        {"by": str(row.requested_by or ""), "reason": row.reason}
        if str(machine) in row.initial_values
        else None
    )
    with transaction.atomic():
        operation = enqueue(
            OperationKind.RECOVER,
            actor=None,
            reason=row.reason or f"{row.host} is lost",
            environment=machine.environment,
            machine=machine,
            destination=destination,
            **({"program_version": program} if program else {}),
            **({"lost_at": lost.isoformat()} if lost else {}),
            **({"initial_values": initial} if initial else {}),
        )
        Operation.objects.filter(pk=operation.pk).update(host=row.host)
        record(
            None,
            "machine.recover",
            machine,
            project=machine.environment.project,
            source=row.host.name,
            destination=destination,
            initial_values=initial is not None,
        )


def _fenced(row: HostRecovery, now: dt.datetime) -> bool:
    """Whether the fence agent, or the person whom it asked, says that the host is off."""
    state = row.fencing.state if row.fencing is not None else OperationState.FAILED
    if state == OperationState.SUCCEEDED:
        row.confirmed_by = "fence"
        row.save(update_fields=("confirmed_by",))
        return True
    if state in (OperationState.FAILED, OperationState.CANCELLED):
        why = row.fencing.error if row.fencing is not None else "its operation is gone"
        _end(row, "cancelled", now, why or f"fencing was {state}")
    return False


def _returned(row: HostRecovery, now: dt.datetime) -> int:
    """The host answers: what it still has runs there, or is started there."""
    here = machines_on_hosts().filter(host=row.host)
    if Operation.objects.live().filter(machine__in=here, kind=OperationKind.RECOVER).exists():
        # They look at the host themselves, and end by what they see.
        return 0
    started = 0
    off = here.filter(
        desired=MachineDesired.RUNNING,
        recovery=Restarts.RECOVERABLE,
        observed__in=(MachineObserved.STOPPED, MachineObserved.CRASHED),
    )
    for machine in off:
        try:
            enqueue(
                OperationKind.START,
                actor=None,
                reason=f"{row.host} answers again",
                environment=machine.environment,
                machine=machine,
            )
            started += 1
        except ValidationError:
            # Busy: whoever is at it decides.
            continue
    state = "cancelled" if here.exists() else "done"
    _end(row, state, now, f"{row.host} answers again: what was not started elsewhere stays there")
    return started


def _tried(row: HostRecovery, machines: list[Machine]) -> dict[Any, list[str]]:
    """Errors of this recovery's tries, oldest first, per machine."""
    found: dict[Any, list[str]] = {}
    rows = Operation.objects.filter(
        machine__in=machines,
        kind=OperationKind.RECOVER,
        created_at__gte=row.created_at,
        state__in=(OperationState.FAILED, OperationState.CANCELLED),
    ).order_by("created_at")
    for machine, error, state in rows.values_list("machine_id", "error", "state"):
        found.setdefault(machine, []).append(error or state)
    return found


def _programs(machines: list[Machine]) -> dict[Any, str]:
    """The program version that last ran on each machine."""
    rows = (
        Deployment.objects.filter(machine__in=machines, state="active")
        .order_by("created_at")
        .values_list("machine_id", "program_version_id")
    )
    return {machine: str(version) for machine, version in rows}


def _end(row: HostRecovery, state: str, now: dt.datetime, note: str) -> int:
    row.state, row.ended_at, row.note = state, now, note[:300]
    row.save(update_fields=("state", "ended_at", "note"))
    return 0


def clear_returned(host: Host, seen: set[Any]) -> int:
    """End what a host that came back still has of machines that were recovered elsewhere.

    `seen`: uuids of our domains there. Returns how many operations were written.
    """
    mine = set(Machine.objects.filter(pk__in=seen, host=host).values_list("pk", flat=True))
    strangers = seen - mine
    if not strangers:
        return 0
    moves = Move.objects.filter(
        machine__in=strangers,
        source=host,
        state="done",
        operation__kind=OperationKind.RECOVER,
    ).select_related("machine__environment")
    under_way = set(
        Operation.objects.live()
        .filter(machine__in=strangers, kind=OperationKind.CLEAR_COPY, host=host)
        .values_list("machine_id", flat=True)
    )
    made = 0
    for move in {move.machine_id: move for move in moves.order_by("ended_at")}.values():
        if move.machine_id in under_way:
            continue
        operation = enqueue(
            OperationKind.CLEAR_COPY,
            actor=None,
            reason=f"{host} answers again",
            environment=move.machine.environment,
            machine=move.machine,
            exclusive=False,
            host=host.name,
            shared_storage=move.shared_storage,
        )
        Operation.objects.filter(pk=operation.pk).update(host=host)
        made += 1
    return made
