"""Starting, stopping, restarting."""

from __future__ import annotations

from millwright.core.lifecycle import MachineObserved
from millwright.hypervisor import DomainState

from .errors import NotYet, StepFailed
from .provision import power_on
from .saga import Context, Step

_OFF = (DomainState.STOPPED, DomainState.CRASHED)


def _exists(context: Context) -> str:
    machine, host = context.host()
    info = host.domain(context.machine_id)
    if info is None:
        raise StepFailed(f"{machine.host} knows no {machine.domain_name}")
    return f"{info.state} on {machine.host}"


def _halt(context: Context) -> str:
    """Ask the guest to power off, and wait a while: a vPLC brings its outputs to safety first."""
    _, host = context.host()
    info = host.domain(context.machine_id)
    if info is None or info.state in _OFF:
        return "is off"
    clock = context.ports.clock
    host.shutdown(context.machine_id)
    deadline = clock.now() + 45.0
    while clock.now() < deadline:
        clock.sleep(1.0)
        info = host.domain(context.machine_id)
        if info is None or info.state in _OFF:
            return "powered off by itself"
    return "did not power off within 45 s"


def _power_off(context: Context) -> str:
    _, host = context.host()
    forced = host.destroy(context.machine_id)
    info = host.domain(context.machine_id)
    if info is not None and info.state not in _OFF:
        raise NotYet("it is still running")
    context.ports.store.observed(
        context.machine_id, MachineObserved.STOPPED, "stopped by request", context.operation.id
    )
    return "the power was taken away" if forced else "is off"


def _restarted(context: Context) -> str:
    _power_off(context)
    return power_on(context)


EXISTS = Step("exists", "Find the machine", _exists, no_undo="looking changes nothing")
HALT = Step(
    "halt",
    "Ask the guest to power off",
    _halt,
    no_undo="starting it is another operation",
    timeout_s=120.0,
)
POWER_OFF = Step("off", "Power off", _power_off, no_undo="starting it is another operation")
POWER_ON = Step("start", "Start", power_on, no_undo="stopping it is another operation")
RESTARTED = Step("start", "Start again", _restarted, no_undo="stopping it is another operation")
