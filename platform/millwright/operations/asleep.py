"""Putting an empty host to sleep, and waking it.

Asleep is what a host is when it was told to sleep while it answered, with nobody on it, and then fell silent. Whether
it would wake is seen when it is woken: one that does not answer in time stays asleep by the record, the operation
fails, and rounds try again.
"""

from __future__ import annotations

import datetime as dt

from millwright.core.lifecycle import HostPower
from millwright.hypervisor import DomainState, HypervisorError

from .errors import FenceRefused, NotYet, StepFailed
from .saga import Context, Step

#: Seconds for an answer, and between two questions to a host of which the silence is to be sure.
ANSWER_S, SILENCE_S = 5.0, 5.0
#: Seconds within which a host that was told to sleep has to fall silent: libvirt alone waits ten.
FALLS_S = 180.0
#: Seconds within which a host answers at the latest: so many times what it is expected to take, and no less than this.
PATIENCE, LEAST_PATIENCE_S = 3.0, 300.0
#: Seconds between two orders to wake: a magic packet is confirmed by nobody.
AGAIN_S = 10.0

_OFF = (DomainState.STOPPED, DomainState.CRASHED)


def _host(context: Context) -> str:
    name = str(context.operation.payload.get("host") or "")
    if not name:
        raise StepFailed("no host was named")
    return name


def _until(context: Context) -> dt.datetime | None:
    told = str(context.operation.payload.get("until") or "")
    return dt.datetime.fromisoformat(told) if told else None


def _answers(context: Context, host: str) -> bool:
    try:
        context.ports.hypervisors.get(host).bulk_state(deadline_s=ANSWER_S)
    except HypervisorError as error:
        if not error.retryable:
            raise
        return False
    return True


# --- to sleep ------------------------------------------------------------------------------------


def _keep_empty(context: Context) -> str:
    host = _host(context)
    context.ports.store.let_sleep(context.operation.id, host)
    return f"nothing is placed on {host} any more"


def _stay_awake(context: Context) -> str:
    host = _host(context)
    context.ports.store.set_power(
        context.operation.id, host, HostPower.AWAKE, "it was not put to sleep"
    )
    return f"{host} is awake"


def _look(context: Context) -> str:
    """Nobody's domain may run there: what sleeps with its host does not work."""
    host = _host(context)
    rows = context.ports.hypervisors.get(host).bulk_state(deadline_s=ANSWER_S)
    running = sorted(row.name for row in rows if row.state not in _OFF)
    if not running:
        return f"nothing runs on {host}"
    probes = [row for row in rows if row.metadata and row.metadata.operation == "probe"]
    if len(probes) == len(running):
        raise NotYet(f"{host} is being probed")
    raise StepFailed(f"{host} is not empty: {', '.join(running[:5])} runs there")


def _order(context: Context) -> str:
    host = _host(context)
    try:
        return context.ports.sleeper.sleep(host, _until(context))
    except FenceRefused as error:
        raise StepFailed(str(error)) from error
    except HypervisorError as error:
        if not error.retryable:
            raise
        # It may have taken the order and be gone with its answer; whether it is shows in the next step.
        return f"the answer was lost: {error}"


def _silent(context: Context) -> str:
    host = _host(context)
    if _answers(context, host):
        # What was ordered may have been lost with its answer.
        try:
            context.ports.sleeper.sleep(host, _until(context))
        except (FenceRefused, HypervisorError) as error:
            raise NotYet(f"{host} still answers: {error}") from error
        raise NotYet(f"{host} still answers")
    context.ports.clock.sleep(SILENCE_S)
    if _answers(context, host):
        raise NotYet(f"{host} answers again")
    return f"{host} answers no longer"


def _asleep(context: Context) -> str:
    host = _host(context)
    context.ports.store.set_power(context.operation.id, host, HostPower.ASLEEP, "")
    return f"{host} sleeps"


SLEEP: tuple[Step, ...] = (
    Step("keep_empty", "Keep the host empty", _keep_empty, undo=_stay_awake),
    Step(
        "look",
        "Ask the host whether anything runs there",
        _look,
        no_undo="looking changes nothing",
        timeout_s=120.0,
    ),
    Step(
        "order",
        "Tell the host to sleep",
        _order,
        no_undo="waking it is another operation",
        timeout_s=120.0,
        cancels=False,
    ),
    Step(
        "silent",
        "Wait until it answers no longer",
        _silent,
        no_undo="looking changes nothing",
        timeout_s=FALLS_S,
        pause_s=3.0,
        cancels=False,
    ),
    Step(
        "asleep",
        "Record that it sleeps",
        _asleep,
        no_undo="waking it is another operation",
        cancels=False,
    ),
)


# --- awake ---------------------------------------------------------------------------------------


def _begin(context: Context) -> str:
    host = _host(context)
    power = context.ports.store.power(host)
    if power is HostPower.FALLING_ASLEEP:
        raise NotYet(f"{host} is falling asleep")
    if power is HostPower.AWAKE:
        return f"{host} is awake"
    context.ports.store.set_power(context.operation.id, host, HostPower.WAKING, "")
    return f"{host} is woken"


def _sleep_on(context: Context) -> str:
    host = _host(context)
    context.ports.store.set_power(context.operation.id, host, HostPower.ASLEEP, "it did not wake")
    return f"{host} is taken to sleep on"


def _patience(context: Context) -> float:
    return max(LEAST_PATIENCE_S, PATIENCE * context.ports.sleeper.wake_s(_host(context)))


def _wake(context: Context) -> str:
    """Order it until the host answers."""
    host = _host(context)
    if _answers(context, host):
        return f"{host} answers"
    try:
        how = context.ports.sleeper.wake(host)
    except FenceRefused as error:
        raise NotYet(f"{host} does not answer; it could not be woken: {error}") from error
    context.say(how)
    raise NotYet(f"{host} does not answer ({how})")


def _read(context: Context) -> str:
    host = _host(context)
    context.ports.sleeper.read(host)
    return f"{host} has said what it has"


def _awake(context: Context) -> str:
    host = _host(context)
    context.ports.store.set_power(context.operation.id, host, HostPower.AWAKE, "")
    return f"{host} is awake"


WAKE: tuple[Step, ...] = (
    # As long as the other operation may take for all its steps.
    Step("begin", "Have the host woken", _begin, undo=_sleep_on, timeout_s=600.0),
    Step(
        "wake",
        "Wake it until it answers",
        _wake,
        no_undo="a host that wakes later is seen and is awake",
        patience=_patience,
        pause_s=AGAIN_S,
        pause_max_s=AGAIN_S,
    ),
    Step(
        "read",
        "Read what the host has",
        _read,
        no_undo="reading changes nothing",
        timeout_s=180.0,
    ),
    Step("awake", "Record that it is awake", _awake, no_undo="it is awake"),
)
