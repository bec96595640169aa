"""What is on its way between hosts, and the room that it holds where it is not yet.

A machine that moves stands on its source until it has arrived, and holds room on both. Rounds decide nothing while
moves run; drains and recoveries go on beside each other, and plan with what others hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from millwright.core.balancing import Mode, Plant, RuleKind, Vm
from millwright.core.lifecycle import Movability, OperationKind
from millwright.environments.models import Operation

#: operations that hold room on a host before their machine is there
MOVING = (OperationKind.MIGRATE, OperationKind.RECOVER)

#: behind the name of a machine: its room on the other host
_TWIN = " (on its way)"


@dataclass(frozen=True, slots=True)
class Way:
    """One machine's way. `target`: "" where the placement has not said it yet.

    `claimed`: room is held there by now; what is only told to go there may be refused still. `cores`: CPUs of its
    own there; None: as many as it has.
    """

    machine: str
    source: str
    target: str
    claimed: bool
    cores: int | None = None


def on_their_way() -> list[Way]:
    """Machines that move or are started elsewhere, in the order in which it was told. One query."""
    rows = Operation.objects.live().filter(kind__in=MOVING, machine__host__isnull=False)
    found = []
    for row in rows.order_by("created_at").select_related(
        "machine__environment", "machine__host", "move__source", "move__destination"
    ):
        move = getattr(row, "move", None)
        if row.machine is None or row.machine.host is None:
            continue
        if move is None:
            told = str(row.payload.get("destination") or "")
            found.append(Way(str(row.machine), row.machine.host.name, told, claimed=False))
        elif move.state == "prepared":
            cores = len(move.cpu_assignment.get("claims", {}))
            ends = move.source.name, move.destination.name
            found.append(Way(str(row.machine), *ends, claimed=True, cores=cores))
    return found


def settled(plant: Plant, ways: Sequence[Way]) -> Plant:
    """The plant once they have arrived: what a drain plans with, since room that they leave is there for it then."""
    going = _going(plant, ways)
    return replace(
        plant,
        vms=tuple(
            _at(vm, going[vm.name].target, going[vm.name]) if vm.name in going else vm
            for vm in plant.vms
        ),
    )


def holding(plant: Plant, ways: Sequence[Way], but: str) -> Plant:
    """As `settled`, with the room that they still hold where they come from: what may begin now fits beside it.

    `but`: a host that takes nothing anyway.
    """
    going = _going(plant, ways)
    here = [_twin(vm, vm.host) for vm in plant.vms if vm.name in going and vm.host != but]
    return _beside(settled(plant, ways), here)


def with_others(plant: Plant, host: str, ways: Sequence[Way]) -> Plant:
    """The plant as it is, with the room that machines which do not come from this host hold where they go."""
    going = _going(plant, ways)
    there = [
        _twin(_at(vm, going[vm.name].target, going[vm.name]), going[vm.name].target)
        for vm in plant.vms
        if vm.name in going and host not in (going[vm.name].source, going[vm.name].target)
    ]
    return _beside(plant, there)


def _going(plant: Plant, ways: Sequence[Way]) -> dict[str, Way]:
    """By machine; those of which it is known whither."""
    known = {row.name for row in plant.hosts}
    return {way.machine: way for way in ways if way.target in known}


def _at(vm: Vm, host: str, way: Way) -> Vm:
    """The machine on that host, where it may have to do without CPUs of its own."""
    return replace(vm, host=host, node=None, cores=vm.cores if way.cores is None else way.cores)


def _twin(vm: Vm, host: str | None) -> Vm:
    """The room that the machine holds there, and nothing that anybody moves, restarts or divides by."""
    return replace(
        vm,
        name=f"{vm.name}{_TWIN}",
        host=host,
        movability=Movability.NEVER,
        mode=Mode.OFF,
        protected=False,
        pool="",
        after=(),
        # What is free of a disk is the host's own word, and no part of a move holds it back.
        disks={},
    )


def _beside(plant: Plant, twins: Sequence[Vm]) -> Plant:
    """With these; who is kept apart from a machine is kept apart from its room too."""
    if not twins:
        return plant
    names = {twin.name for twin in twins}
    rules = tuple(
        replace(
            rule,
            vms=(*rule.vms, *(f"{name}{_TWIN}" for name in rule.vms if f"{name}{_TWIN}" in names)),
        )
        if rule.kind is RuleKind.APART
        else rule
        for rule in plant.rules
    )
    return replace(plant, vms=(*plant.vms, *twins), rules=rules)
