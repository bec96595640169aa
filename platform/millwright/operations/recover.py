"""Starting a machine elsewhere after its host was lost, and ending what a returned host still has of it.

That the host is off was confirmed before. It is asked all the same, at the beginning and at the last
moment, and so is the machine in its cell: a host that is only cut off leaves its machines running.
"""

from __future__ import annotations

import contextlib
from uuid import UUID

from millwright.core.lifecycle import MachineObserved
from millwright.hypervisor import Hypervisor, NotFound

from . import provision, retained
from .errors import NotYet, Question, StepFailed
from .migrate import (
    disk_there,
    ends,
    filter_there,
    image_there,
    network_there,
    spec_there,
    verify_there,
)
from .ports import MachineRecord, MoveRecord, MoveState
from .saga import Context, Step
from .volumes import filter_name, remove_disk
from .whereabouts import Sight, sight

_ALIVE = (Sight.RUNNING, Sight.HELD)


def _require_lost(context: Context, machine: MachineRecord, host: str) -> str:
    """Stop when the host answers; ask a person while the machine itself does."""
    seen = sight(context.ports.hypervisors.get(host), machine.id)
    if seen is not Sight.SILENT:
        raise StepFailed(
            f"{host} answers again: {machine.domain_name} is {seen} there and is not started elsewhere"
        )
    answering = _answers(context, machine)
    if not answering:
        return f"{host} does not answer, nor does the machine in its cell"
    if context.answer() == "leave":
        raise StepFailed(f"{machine.domain_name} still answers on {host}: it was left there")
    raise Question(
        f"{host} was confirmed off, but {machine.domain_name} answers {answering} at "
        f"{machine.address}: it still runs. Nothing is started elsewhere. Take the power of {host} "
        "away; it goes on by itself when the machine no longer answers.",
        {"leave": f"Leave it on {host}"},
    )


def _answers(context: Context, machine: MachineRecord) -> str:
    """The protocol in which the machine answers from its cell, or ""."""
    if machine.address is None:
        return ""
    for kind in ("modbus", "opcua"):
        port = machine.outputs.get(kind)
        if port and context.ports.prober.answers(kind, machine.address, port) is None:
            return kind
    return ""


def _certain(context: Context) -> str:
    move = context.ports.store.move(context.operation.id)
    if move is not None and move.state is MoveState.DONE:
        return f"it runs on {move.destination}"
    machine = context.machine()
    if machine.host is None:
        raise StepFailed(f"{machine.domain_name} has no host")
    return _require_lost(context, machine, machine.host)


def _prepare(context: Context) -> str:
    move = context.ports.store.prepare_move(
        context.operation.id, context.machine_id, context.operation.payload.get("destination")
    )
    own = sorted(move.assignment.claimed)
    cpus = f", CPU {', '.join(map(str, own))} of its own" if own else ""
    way = "from the shared disk" if move.shared_storage else "rebuilt from its template"
    return f"{move.source} → {move.destination}{cpus}, generation {move.generation}, {way}"


def _unprepare(context: Context) -> str:
    move = context.ports.store.move(context.operation.id)
    if move is None or move.state is MoveState.UNDONE:
        return "nothing was claimed"
    if move.state is MoveState.DONE:
        return f"it runs on {move.destination}, which keeps it"
    _require_nothing_there(context, move)
    context.ports.store.undo_move(context.operation.id, "the recovery was undone")
    return f"claims on {move.destination} given back"


def _require_nothing_there(context: Context, move: MoveRecord) -> None:
    """Before claims and files are given up: no guest may live on them."""
    seen = sight(context.ports.hypervisors.get(move.destination), context.machine_id)
    if seen is Sight.SILENT:
        raise NotYet(f"{move.destination} has to answer first")
    if seen in _ALIVE:
        raise StepFailed(
            f"a copy is {seen} on {move.destination}: its claims and files are kept there"
        )


def _undo_move(context: Context) -> tuple[MoveRecord | None, str]:
    """The move whose things may be taken away, or why they stay."""
    move = context.ports.store.move(context.operation.id)
    if move is None or move.state is MoveState.UNDONE:
        return None, "nothing was made"
    if move.state is MoveState.DONE:
        return None, f"it runs on {move.destination}: it stays"
    return move, ""


def _unfilter(context: Context) -> str:
    move, why = _undo_move(context)
    if move is None:
        return why
    host = context.ports.hypervisors.get(move.destination)
    return "removed" if host.remove_filter(filter_name(context.machine())) else "none there"


def _undisk(context: Context) -> str:
    move, why = _undo_move(context)
    if move is None:
        return why
    if move.shared_storage or context.machine().image.disk is None:
        return "the disk stays"
    _require_nothing_there(context, move)
    host = context.ports.hypervisors.get(move.destination)
    gone = remove_disk(host, context.machine(), of=move.generation)
    return "removed" if gone else "there was none"


def _define(context: Context) -> str:
    move, _, destination = ends(context)
    if move.state is MoveState.DONE:
        return "it is defined"
    spec, words = spec_there(context, move, destination)
    destination.define(spec)
    return "; ".join(words) or "its class is honoured in full"


def _undefine(context: Context) -> str:
    move, why = _undo_move(context)
    if move is None:
        return why
    host = context.ports.hypervisors.get(move.destination)
    _switch_off(host, context.machine_id)
    return "forgotten" if host.undefine(context.machine_id) else "there was none"


def _switch_off(host: Hypervisor, machine: UUID) -> bool:
    with contextlib.suppress(NotFound):
        return host.destroy(machine)
    return False


def _start(context: Context) -> str:
    """The last look at the lost host, the start, and one look more; then the claims change hands."""
    move, source, destination = ends(context)
    if move.state is MoveState.DONE:
        return f"runs on {move.destination}"
    machine = context.machine()
    here = sight(destination, machine.id)
    if here is Sight.SILENT:
        raise NotYet(f"{move.destination} does not answer")
    if here is not Sight.RUNNING:
        _require_lost(context, machine, move.source)
        destination.start(machine.id, generation=move.generation)
    if sight(source, machine.id) in _ALIVE:
        # The older copy has the process in its memory; the new one knows nothing yet.
        _switch_off(destination, machine.id)
        raise StepFailed(
            f"{move.source} came back with {machine.domain_name} while it was being started on "
            f"{move.destination}: the new copy was switched off"
        )
    store = context.ports.store
    store.complete_move(
        context.operation.id, elapsed_ms=None, downtime_ms=None, transferred_bytes=None
    )
    store.observed(
        machine.id, MachineObserved.RUNNING, f"recovered from {move.source}", context.operation.id
    )
    return f"runs on {move.destination}"


_STAYS = "it runs there: what it was given stays"

STEPS: tuple[Step, ...] = (
    Step(
        "certain",
        "Make sure that it does not run",
        _certain,
        no_undo="looking changes nothing",
    ),
    Step("prepare", "Claim at the destination", _prepare, undo=_unprepare),
    Step("network", "Cell network on the destination", network_there, no_undo="others use it"),
    Step("filter", "Firewall on the destination", filter_there, undo=_unfilter),
    Step(
        "image",
        "Template image on the destination",
        image_there,
        no_undo="verified images are kept for the next machine",
        timeout_s=900.0,
    ),
    Step("disk", "Disk on the destination", disk_there, undo=_undisk),
    Step("define", "Define the machine", _define, undo=_undefine),
    Step("start", "Start", _start, undo=_undefine, timeout_s=120.0, cancels=False),
    Step("verify", "Pins, address and firewall", verify_there, no_undo=_STAYS, cancels=False),
    provision.WAIT_AGENT,
    retained.GIVE,
    *(step for step in provision.STEPS if step.name in ("config", "program")),
    provision.WAIT_PROTOCOLS,
    retained.TOLD,
)


# --- when the host is back --------------------------------------------------------------------------


def _stale(context: Context) -> tuple[MachineRecord, Hypervisor, str]:
    """The machine and the host that must not have it any more."""
    name = str(context.operation.payload.get("host") or "")
    machine = context.machine()
    if machine.host == name:
        raise StepFailed(f"{machine.domain_name} lives on {name}: nothing is taken away")
    return machine, context.ports.hypervisors.get(name), name


def _end_copy(context: Context) -> str:
    machine, host, name = _stale(context)
    info = host.domain(machine.id)
    if info is None:
        return f"{name} knows none"
    if info.metadata is None or info.metadata.generation >= machine.generation:
        raise StepFailed(
            f"what {name} has of {machine.domain_name} is not older than generation "
            f"{machine.generation}: a person must look"
        )
    # Were the host to die again before all is done, it must not start it by itself.
    host.set_autostart(machine.id, False)
    return "the older copy was switched off" if _switch_off(host, machine.id) else "it was off"


def _forget_copy(context: Context) -> str:
    machine, host, name = _stale(context)
    host.undefine(machine.id)
    host.remove_filter(filter_name(machine))
    if machine.image.disk is not None and not context.operation.payload.get("shared_storage"):
        remove_disk(host, machine, before=machine.generation)
    return f"{name} is clear of it"


_OLDER = "an older copy is never started again"
CLEAR: tuple[Step, ...] = (
    Step("end", "End the older copy", _end_copy, no_undo=_OLDER, timeout_s=3600.0, pause_max_s=5.0),
    Step(
        "forget",
        "Clear the host that came back",
        _forget_copy,
        no_undo=_OLDER,
        timeout_s=3600.0,
        pause_max_s=15.0,
    ),
)
