"""The kinds of operations: which saga runs for which."""

from __future__ import annotations

from millwright.core.lifecycle import EnvironmentState, OperationKind

from . import asleep, deliver, fence, migrate, provision, recover
from .power import EXISTS, HALT, POWER_OFF, POWER_ON, RESTARTED
from .program import COMPILE
from .remove import DELETE_DISK, FORGET, RELEASE, STOPPED
from .saga import Saga

SAGAS: dict[str, Saga] = {
    saga.kind: saga
    for saga in (
        Saga(
            OperationKind.PROVISION,
            provision.STEPS,
            environment_before=EnvironmentState.PROVISIONING,
            environment_after=EnvironmentState.RUNNING,
            environment_failed=EnvironmentState.FAILED,
            undoes=True,
        ),
        Saga(
            OperationKind.START,
            (EXISTS, POWER_ON, provision.WAIT_AGENT, provision.WAIT_PROTOCOLS),
            environment_after=EnvironmentState.RUNNING,
        ),
        Saga(
            OperationKind.STOP,
            (EXISTS, HALT, POWER_OFF),
            environment_after=EnvironmentState.STOPPED,
        ),
        Saga(
            OperationKind.RESTART,
            (EXISTS, HALT, RESTARTED, provision.WAIT_AGENT, provision.WAIT_PROTOCOLS),
            environment_after=EnvironmentState.RUNNING,
        ),
        Saga(
            OperationKind.REMOVE,
            (STOPPED, FORGET, DELETE_DISK, RELEASE),
            environment_before=EnvironmentState.REMOVING,
            environment_after=EnvironmentState.REMOVED,
            environment_failed=EnvironmentState.FAILED,
        ),
        Saga(OperationKind.MIGRATE, migrate.STEPS, undoes=True),
        Saga(
            OperationKind.RECOVER,
            recover.STEPS,
            environment_after=EnvironmentState.RUNNING,
            undoes=True,
        ),
        Saga(OperationKind.FENCE, fence.STEPS),
        Saga(OperationKind.SLEEP_HOST, asleep.SLEEP, undoes=True),
        Saga(OperationKind.WAKE_HOST, asleep.WAKE, undoes=True),
        Saga(OperationKind.CLEAR_COPY, recover.CLEAR),
        Saga(OperationKind.BUILD_PROGRAM, (COMPILE,)),
        Saga(OperationKind.DELIVER_PROGRAM, (deliver.FIREWALL, deliver.PROGRAM)),
        Saga(OperationKind.DELIVER_CONFIG, (deliver.FIREWALL, deliver.CONFIG)),
    )
}


def saga_for(kind: str) -> Saga:
    """The saga of a kind.

    Raises:
        KeyError: there is none.
    """
    return SAGAS[kind]
