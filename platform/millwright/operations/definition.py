"""Moving a machine that is off: its definition is made at the destination and then taken away at the source.

Both are there for a moment, off and started by nobody: what is defined at the destination has the raised generation,
and neither is started with its host until one of them is gone. From then on the machine is the destination's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from millwright.hypervisor import DomainSpec, Hypervisor

from .errors import NotYet, Question, StepFailed
from .ports import MachineRecord, MoveRecord
from .saga import Context
from .whereabouts import Sight, Verdict, Whereabouts, look, seen

#: Seconds between two looks at hosts of which one is silent, and how long that is borne before a person is told.
POLL_S, SILENT_S = 1.0, 90.0
_LIVES = (Sight.RUNNING, Sight.HELD)


def is_off(host: Hypervisor, machine: MachineRecord) -> bool:
    """Whether the machine is off on its host; else it runs.

    Raises:
        StepFailed: the host knows none, it is held, or its memory is kept in a file of the host.
    """
    info = host.domain(machine.id)
    if info is None:
        raise StepFailed(f"{host.name} knows no {machine.domain_name}")
    found = seen(info)
    if found not in (Sight.RUNNING, Sight.OFF):
        raise StepFailed(
            f"{machine.domain_name} is {info.state}: only a machine that runs or is off is moved"
        )
    if found is Sight.OFF and info.reason == "saved":
        raise StepFailed(
            f"{machine.domain_name} was suspended to a file of {host.name}: start it first, then it moves"
        )
    return found is Sight.OFF


def move_definition(
    context: Context,
    move: MoveRecord,
    source: Hypervisor,
    destination: Hypervisor,
    spec: Callable[[], DomainSpec],
) -> str:
    """Define it over there, forget it here; then the claims change hands. `spec`: as it shall be over there.

    Raises:
        StepFailed: it was started meanwhile, or neither host knows it.
        Question: a host does not answer.
        Cancelled: by a person, before anything was defined.
    """
    machine = context.machine()
    found = _asked(context, move, source, destination)
    if found.source in _LIVES:
        raise StepFailed(
            f"{machine.domain_name} was started on {move.source} meanwhile: it stays there"
        )
    if found.source is Sight.OFF:
        if found.destination in _LIVES:
            raise StepFailed(
                f"a copy is {found.destination} on {move.destination}: a person must look"
            )
        context.check()
        # Should a host lose its power between the two, it must not start its copy by itself.
        source.set_autostart(machine.id, False)
        destination.define(replace(spec(), autostart=False))
        # Refused by the driver if it runs by now.
        source.undefine(machine.id)
    if not arrived(context, move, source, destination):
        raise StepFailed(
            f"neither {move.source} nor {move.destination} knows {machine.domain_name}"
        )
    return f"it is defined on {move.destination} alone, and off"


def arrived(
    context: Context, move: MoveRecord, source: Hypervisor, destination: Hypervisor
) -> bool:
    """Whether the destination alone has it, as it was defined for this move: then it is recorded as the destination's.

    Raises:
        NotYet: a host does not answer.
    """
    found = look(source, destination, context.machine_id)
    if found.verdict is Verdict.UNKNOWN:
        raise NotYet(f"{move.source} and {move.destination} have to answer first")
    info = destination.domain(context.machine_id)
    if found.source is not Sight.ABSENT or info is None:
        return False
    if info.metadata is None or info.metadata.generation != move.generation:
        return False
    destination.set_autostart(context.machine_id, context.machine().autostart)
    context.ports.store.complete_move(
        context.operation.id, elapsed_ms=None, downtime_ms=None, transferred_bytes=None
    )
    return True


def _asked(
    context: Context, move: MoveRecord, source: Hypervisor, destination: Hypervisor
) -> Whereabouts:
    """What both hosts say. A silent one is waited for: on it the machine may have been started."""
    clock = context.ports.clock
    began = clock.now()
    while True:
        context.ports.fence()
        found = look(source, destination, context.machine_id)
        if found.verdict is not Verdict.UNKNOWN:
            return found
        silent = " and ".join(
            name
            for name, sight in ((move.source, found.source), (move.destination, found.destination))
            if sight is Sight.SILENT
        )
        if clock.now() - began > SILENT_S:
            raise Question(
                f"{silent} does not answer. It goes on by itself as soon as the host answers.", {}
            )
        context.say(f"{silent} does not answer; waiting for it")
        clock.sleep(POLL_S)
