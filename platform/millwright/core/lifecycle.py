"""States and which may follow which, as data. Everything that has a state asks this table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class RequestState(StrEnum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class EnvironmentState(StrEnum):
    RESERVED = "reserved"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    REMOVING = "removing"
    REMOVED = "removed"
    FAILED = "failed"


class MachineDesired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


class MachineObserved(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CRASHED = "crashed"
    MIGRATING = "migrating"
    ABSENT = "absent"
    #: Nobody could ask: not the same as down.
    UNKNOWN = "unknown"


class OperationKind(StrEnum):
    PROVISION = "provision"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    REMOVE = "remove"
    BUILD_PROGRAM = "build_program"
    DELIVER_PROGRAM = "deliver_program"
    DELIVER_CONFIG = "deliver_config"
    MIGRATE = "migrate"
    DRAIN = "drain"
    RECOVER = "recover"
    #: taking a host's power away before its machines start elsewhere
    FENCE = "fence"
    #: ending what a returned host still has of machines that were recovered elsewhere
    CLEAR_COPY = "clear_copy"
    SLEEP_HOST = "sleep_host"
    WAKE_HOST = "wake_host"


class OperationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    UNDOING = "undoing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNDONE = "undone"
    SKIPPED = "skipped"


class HostHealth(StrEnum):
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class HostAdministration(StrEnum):
    SCHEDULABLE = "schedulable"
    CORDONED = "cordoned"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"


class HostPower(StrEnum):
    """Whether a host sleeps by intent: beside its health, which says whether it answers when it should."""

    AWAKE = "awake"
    FALLING_ASLEEP = "falling_asleep"
    ASLEEP = "asleep"
    WAKING = "waking"


class ServiceClass(StrEnum):
    REALTIME = "realtime"
    GUARANTEED = "guaranteed"
    SHARED = "shared"


class Recovery(StrEnum):
    """Who may start a machine again: its host by itself, or the orchestrator alone."""

    AUTONOMOUS = "autonomous"
    RECOVERABLE = "recoverable"


class Movability(StrEnum):
    """What may move a machine: nothing, a planned window, a person's word, the balancer."""

    NEVER = "never"
    WINDOW = "window"
    APPROVAL = "approval"
    FREE = "free"


class LifecycleError(ValueError):
    """A state may not follow another; names subject, both states and what may follow."""

    def __init__(self, kind: str, current: str, wanted: str, allowed: frozenset[str]) -> None:
        self.kind, self.current, self.wanted, self.allowed = kind, current, wanted, allowed
        may = ", ".join(sorted(allowed)) or "nothing: the state is final"
        super().__init__(f"{kind}: {wanted!r} may not follow {current!r}; allowed: {may}")


def _table(rows: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType({state: frozenset(after.split()) for state, after in rows.items()})


#: kind → state → states that may follow.
TRANSITIONS: Mapping[str, Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "request": _table(
            {
                "draft": "submitted withdrawn",
                "submitted": "approved rejected withdrawn expired",
                "approved": "withdrawn expired",
                "rejected": "",
                "withdrawn": "",
                "expired": "",
            }
        ),
        "environment": _table(
            {
                "reserved": "provisioning removing failed",
                "provisioning": "running degraded failed removing",
                "running": "degraded stopped removing failed",
                "degraded": "running stopped removing failed",
                "stopped": "running degraded removing failed",
                "failed": "provisioning running degraded stopped removing",
                "removing": "removed failed",
                "removed": "",
            }
        ),
        "machine": _table(
            {
                state: " ".join(other for other in MachineObserved if other != state)
                for state in MachineObserved
            }
        ),
        "operation": _table(
            {
                "queued": "running cancelled failed",
                "running": "waiting undoing succeeded failed cancelled",
                "waiting": "running undoing failed cancelled",
                "undoing": "failed cancelled",
                "succeeded": "",
                "failed": "queued",
                "cancelled": "",
            }
        ),
        "host_health": _table({"up": "suspect down", "suspect": "up down", "down": "up suspect"}),
        "host_administration": _table(
            {
                "schedulable": "cordoned draining maintenance",
                "cordoned": "schedulable draining maintenance",
                "draining": "schedulable cordoned maintenance",
                "maintenance": "schedulable cordoned draining",
            }
        ),
        "host_power": _table(
            {
                "awake": "falling_asleep",
                "falling_asleep": "asleep awake",
                # It may come back by itself: somebody pressed its button.
                "asleep": "waking awake",
                "waking": "awake asleep",
            }
        ),
    }
)

#: Operations in these states still have work to do.
LIVE_OPERATION_STATES = frozenset(
    {OperationState.QUEUED, OperationState.RUNNING, OperationState.WAITING, OperationState.UNDOING}
)
#: Environments in these states hold quota and claims.
OCCUPYING_ENVIRONMENT_STATES = frozenset(set(EnvironmentState) - {EnvironmentState.REMOVED})

#: What switching makes sense in a state, in the order of buttons; in others there is nothing to switch yet.
OFFERED_POWER: dict[EnvironmentState, tuple[OperationKind, ...]] = {
    EnvironmentState.RUNNING: (OperationKind.RESTART, OperationKind.STOP),
    EnvironmentState.DEGRADED: (OperationKind.START, OperationKind.RESTART, OperationKind.STOP),
    EnvironmentState.STOPPED: (OperationKind.START,),
    EnvironmentState.FAILED: (OperationKind.START, OperationKind.RESTART, OperationKind.STOP),
}


def may_follow(kind: str, current: str, wanted: str) -> bool:
    """Whether the table of `kind` lets `wanted` follow `current`; the same state may always."""
    return current == wanted or str(wanted) in TRANSITIONS[kind][str(current)]


def check_transition(kind: str, current: str, wanted: str) -> None:
    """Raise `LifecycleError` unless `wanted` may follow `current`."""
    if not may_follow(kind, current, wanted):
        raise LifecycleError(kind, str(current), str(wanted), TRANSITIONS[kind][str(current)])
