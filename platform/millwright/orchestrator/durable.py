"""The durable runner: an operation is a DBOS workflow, a step of it a DBOS step.

The workflow's id is the operation's id and attempt, so that queueing one twice is harmless. Steps
return data and raise nothing that would have to be pickled. Before every effect the engine asks
`fence`; a process that has lost the lock ends at once.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from dbos import DBOS, DBOSConfig, SetWorkflowID
from django.db import connections

from millwright.core.lifecycle import OperationState
from millwright.operations import Engine, OperationError
from millwright.operations.saga import TERMINAL

#: Fixed by hand: a new release goes on with the workflows of the old one. Raised only when sagas change shape.
APPLICATION_VERSION = "1"
EXECUTOR = "orchestrator"

_engine: Engine | None = None


def _current() -> Engine:
    if _engine is None:
        raise RuntimeError("the durable runner was not launched")
    return _engine


class _Closing:
    """Gives the thread's database connections back after a step."""

    def __enter__(self) -> None:
        connections.close_all()

    def __exit__(self, *_: object) -> None:
        connections.close_all()


@DBOS.step(name="begin")
def _begin(operation: str) -> dict[str, Any]:
    with _Closing():
        saga, state = _current().begin(UUID(operation))
        return {"state": str(state), "steps": [step.name for step in saga.steps]}


@DBOS.step(name="execute")
def _execute(operation: str, name: str) -> str:
    """The error's text, or an empty one."""
    with _Closing():
        try:
            _current().execute(UUID(operation), name)
        except OperationError as error:
            _current().fail(UUID(operation), error)
            return str(error) or type(error).__name__
        except Exception as error:
            # A fault of ours must end as a failed operation that people can read, not as a lost thread.
            wrapped = OperationError(
                f"internal error in step {name}: {type(error).__name__}: {error}"
            )
            _current().fail(UUID(operation), wrapped)
            DBOS.logger.exception("operation %s, step %s", operation, name)
            return str(wrapped)
    return ""


@DBOS.step(name="undo")
def _undo(operation: str, name: str) -> None:
    with _Closing():
        _current().undo(UUID(operation), name)


@DBOS.step(name="end")
def _end(operation: str, succeeded: bool) -> str:
    with _Closing():
        engine = _current()
        return str(
            engine.finish(UUID(operation)) if succeeded else engine.end_undone(UUID(operation))
        )


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
            "max_executor_threads": 32,
        }
        DBOS(config=config)

    def launch(self) -> None:
        """Open the system database and continue what was interrupted."""
        DBOS.launch()

    def start(self, operation_id: UUID, attempt: int) -> None:
        """Start an operation, or do nothing if this attempt of it was started before."""
        with SetWorkflowID(f"{operation_id}:{attempt}"):
            DBOS.start_workflow(_operation, str(operation_id))

    def close(self) -> None:
        DBOS.destroy()
