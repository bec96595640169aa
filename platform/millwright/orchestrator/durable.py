"""The durable runner: an operation is a DBOS workflow, a step of it a DBOS step.

The workflow's id is the operation's id and attempt, so that queueing one twice is harmless. Steps
return data and raise nothing that would have to be pickled. Before every effect the engine asks
`fence`; a process that has lost the lock ends at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from django.db import InterfaceError, OperationalError, connections

from millwright.core.lifecycle import OperationState
from millwright.operations import Engine, OperationError
from millwright.operations.saga import TERMINAL

#: Fixed by hand: a new release goes on with the workflows of the old one. Raised only when sagas change shape.
APPLICATION_VERSION = "1"
EXECUTOR = "orchestrator"
_AT_WORK = ("PENDING", "ENQUEUED", "DELAYED")

T = TypeVar("T")
log = logging.getLogger(__name__)

_engine: Engine | None = None


def _current() -> Engine:
    if _engine is None:
        raise RuntimeError("the durable runner was not launched")
    return _engine


#: Seconds between tries while the database is away; doubles up to the second.
PAUSE_S, PAUSE_MAX_S = 0.2, 5.0


def _durably(operation: str, work: Callable[[], T]) -> T:
    """Run a part of an operation; while the database is away it waits: that is no reason to fail or to undo.

    The thread's connections are given back. Where the lock is in that database it is lost with it, and
    `fence` ends the process: the next one continues.
    """
    pause_s = PAUSE_S
    while True:
        _current().ports.fence()
        try:
            with structlog.contextvars.bound_contextvars(operation=operation):
                return work()
        except (OperationalError, InterfaceError) as error:
            log.warning("operation %s waits for the database: %s", operation, error)
        finally:
            connections.close_all()
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_MAX_S)


@DBOS.step(name="begin")
def _begin(operation: str) -> dict[str, Any]:
    def work() -> dict[str, Any]:
        saga, state = _current().begin(UUID(operation))
        return {"state": str(state), "steps": [step.name for step in saga.steps]}

    return _durably(operation, work)


@DBOS.step(name="execute")
def _execute(operation: str, name: str) -> str:
    """The error's text, or an empty one."""

    def work() -> str:
        try:
            _current().execute(UUID(operation), name)
        except OperationError as error:
            log.info("operation %s, step %s: %s", operation, name, error)
            _current().fail(UUID(operation), error)
            return str(error) or type(error).__name__
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            # A fault of ours must end as a failed operation that people can read, not as a lost thread.
            log.exception("operation %s, step %s", operation, name)
            wrapped = OperationError(
                f"internal error in step {name}: {type(error).__name__}: {error}"
            )
            _current().fail(UUID(operation), wrapped)
            return str(wrapped)
        return ""

    return _durably(operation, work)


@DBOS.step(name="undo")
def _undo(operation: str, name: str) -> None:
    _durably(operation, lambda: _current().undo(UUID(operation), name))


@DBOS.step(name="end")
def _end(operation: str, succeeded: bool) -> str:
    def work() -> str:
        end = _current().finish if succeeded else _current().end_undone
        return str(end(UUID(operation)))

    return _durably(operation, work)


@DBOS.workflow(name="operation")
def _operation(operation: str) -> str:
    begun = _begin(operation)
    state = OperationState(begun["state"])
    if state in TERMINAL:
        return str(state)
    if state is not OperationState.UNDOING:
        for name in begun["steps"]:
            if _execute(operation, name):
                break
        else:
            return _end(operation, True)
    for name in reversed(begun["steps"]):
        _undo(operation, name)
    return _end(operation, False)


class DurableRunner:
    """Starts operations and, at launch, continues those that a killed process left."""

    def __init__(self, engine: Engine, database_url: str) -> None:
        global _engine
        _engine = engine
        config: DBOSConfig = {
            "name": "millwright",
            "system_database_url": database_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "log_level": "WARNING",
            # As many as the poller lets be at work at once (MAX_AT_WORK, MAX_WAITING, MAX_WAKING), and some.
            "max_executor_threads": 48,
        }
        DBOS(config=config)

    def launch(self, unfinished: Iterable[tuple[UUID, int]] = ()) -> None:
        """Open the system database and continue what was interrupted.

        `unfinished` are operations (id, attempt) at work by our own record. Those that the system database
        does not know, or holds for ended, are run again from their record: each step's effect is ensured.
        """
        DBOS.launch()
        for operation, attempt in unfinished:
            name = f"{operation}:{attempt}"
            status = DBOS.get_workflow_status(name)
            if status is not None and status.status in _AT_WORK:
                continue
            log.warning("operation %s is continued from its record", operation)
            # A name that was used stands for its end: a fresh one is needed.
            with SetWorkflowID(name if status is None else f"{name}:{uuid4()}"):
                DBOS.start_workflow(_operation, str(operation))

    def start(self, operation_id: UUID, attempt: int) -> None:
        """Start an operation, or do nothing if this attempt of it was started before."""
        with SetWorkflowID(f"{operation_id}:{attempt}"):
            DBOS.start_workflow(_operation, str(operation_id))

    def close(self) -> None:
        DBOS.destroy()
