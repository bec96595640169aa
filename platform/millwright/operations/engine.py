"""Runs sagas: step by step, resumable at every point. The durable runner drives the same methods.

A step that has succeeded by the record is not run again; one that was interrupted is. So a
killed process is continued by calling `run` once more, from any process.
"""

from __future__ import annotations

from uuid import UUID

from millwright.core.lifecycle import OperationState, StepState
from millwright.hypervisor import HypervisorError

from .errors import Cancelled, NotYet, OperationError, Question, StepFailed, StepTimeout
from .kinds import saga_for
from .ports import Ports
from .saga import TERMINAL, Context, Saga, Step

#: Seconds between two looks while a person is asked.
ASK_S = 5.0


class Killed(BaseException):
    """What tests throw to play a killed process: nothing may catch it."""


class Engine:
    """Executes operations on the ports."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports

    # --- the whole, for the inline runner and for tests ---------------------------------------

    def run(self, operation_id: UUID) -> OperationState:
        """Run or continue an operation to its end."""
        saga, state = self.begin(operation_id)
        if state in TERMINAL:
            return state
        try:
            if state is not OperationState.UNDOING:
                for name in (step.name for step in saga.steps):
                    self.execute(operation_id, name)
                return self.finish(operation_id)
        except OperationError as error:
            self.fail(operation_id, error)
        for name in reversed([step.name for step in saga.steps]):
            self.undo(operation_id, name)
        return self.end_undone(operation_id)

    # --- the parts, each of them a durable step ------------------------------------------------

    def begin(self, operation_id: UUID) -> tuple[Saga, OperationState]:
        """Record the start; returns the saga and the state there is."""
        record = self.ports.store.operation(operation_id)
        saga = saga_for(record.kind)
        if record.state in TERMINAL or record.state is OperationState.UNDOING:
            return saga, record.state
        self.ports.fence()
        # Only at the very start: an operation that is continued may have set the final state already.
        if (
            record.state is OperationState.QUEUED
            and saga.environment_before is not None
            and record.environment_id is not None
        ):
            self.ports.store.environment_state(
                record.environment_id, saga.environment_before, "", operation_id
            )
        self.ports.store.begin(operation_id, tuple((step.name, step.title) for step in saga.steps))
        return saga, OperationState.RUNNING

    def execute(self, operation_id: UUID, name: str) -> None:
        """Run one step, unless the record says it has succeeded.

        Raises:
            OperationError: the operation cannot go on.
        """
        store = self.ports.store
        record = store.operation(operation_id)
        if record.state is OperationState.UNDOING:
            # Killed between recording the failure and saying so: it is not tried once more.
            raise StepFailed("it is being undone")
        if any(step.name == name and step.state is StepState.SUCCEEDED for step in record.steps):
            return
        step = saga_for(record.kind).step(name)
        context = Context(record, self.ports)
        store.step(operation_id, name, StepState.RUNNING)
        try:
            detail = self._patiently(step, context)
        except OperationError as error:
            store.answered(operation_id)
            store.step(operation_id, name, StepState.FAILED, str(error))
            raise
        store.step(operation_id, name, StepState.SUCCEEDED, detail or "")

    def _patiently(self, step: Step, context: Context) -> str | None:
        """Try a step until it is done, its time is up, or it cannot be."""
        clock = self.ports.clock
        limit_s = max(step.timeout_s, step.patience(context) if step.patience else 0.0)
        deadline = clock.now() + limit_s
        pause = step.pause_s
        while True:
            self.ports.fence()
            if step.cancels and self.ports.store.cancel_requested(context.operation.id):
                raise Cancelled("cancelled by request")
            try:
                said = step.do(context)
            except Question as question:
                # No deadline on people; and the world may answer first, so it is asked again.
                self.ports.store.ask(context.operation.id, str(question), question.answers)
                clock.sleep(ASK_S)
                deadline = clock.now() + limit_s
                continue
            except NotYet as waiting:
                reason = str(waiting)
            except HypervisorError as error:
                if not error.retryable:
                    raise StepFailed(str(error)) from error
                reason = str(error)
            else:
                self.ports.store.answered(context.operation.id)
                return said
            if clock.now() + pause > deadline:
                raise StepTimeout(f"{step.title}: not within {limit_s:.0f} s: {reason}")
            clock.sleep(pause)
            pause = min(pause * 1.5, step.pause_max_s)

    def finish(self, operation_id: UUID) -> OperationState:
        """Record success. Once recorded, the environment may belong to the next operation: untouched."""
        self.ports.fence()
        record = self.ports.store.operation(operation_id)
        if record.state in TERMINAL:
            return record.state
        after = saga_for(record.kind).environment_after
        if after is not None and record.environment_id is not None:
            self.ports.store.environment_state(record.environment_id, after, "", operation_id)
        self.ports.store.operation_state(operation_id, OperationState.SUCCEEDED)
        return OperationState.SUCCEEDED

    def fail(self, operation_id: UUID, error: OperationError) -> None:
        """Record why it cannot go on; from here it is undone. The first reason stands."""
        if self.ports.store.operation(operation_id).state is OperationState.UNDOING:
            return
        self.ports.store.operation_state(operation_id, OperationState.UNDOING, error=_words(error))

    def undo(self, operation_id: UUID, name: str) -> None:
        """Undo one step that had begun. What cannot be undone now is said and left to a person."""
        store = self.ports.store
        record = store.operation(operation_id)
        saga = saga_for(record.kind)
        step = saga.step(name)
        begun = {entry.name: entry.state for entry in record.steps}.get(name, StepState.PENDING)
        if not saga.undoes or step.undo is None or begun in (StepState.PENDING, StepState.UNDONE):
            return
        self.ports.fence()
        clock = self.ports.clock
        deadline, pause = clock.now() + 60.0, 0.5
        while True:
            try:
                detail = step.undo(Context(record, self.ports))
            except (HypervisorError, OperationError) as error:
                if error.retryable and clock.now() + pause <= deadline:
                    clock.sleep(pause)
                    pause = min(pause * 2, 5.0)
                    continue
                store.step(operation_id, name, StepState.FAILED, f"could not be undone: {error}")
                return
            store.step(operation_id, name, StepState.UNDONE, detail or "undone")
            return

    def end_undone(self, operation_id: UUID) -> OperationState:
        """Record the end of a failed or cancelled operation."""
        self.ports.fence()
        store = self.ports.store
        record = store.operation(operation_id)
        if record.state in TERMINAL:
            return record.state
        saga = saga_for(record.kind)
        state = (
            OperationState.CANCELLED
            if store.cancel_requested(operation_id)
            else OperationState.FAILED
        )
        if saga.environment_failed is not None and record.environment_id is not None:
            store.environment_state(
                record.environment_id,
                saga.environment_failed,
                f"{record.kind}: {state}",
                operation_id,
            )
        store.operation_state(operation_id, state)
        return state


def _words(error: OperationError) -> str:
    return str(error) or type(error).__name__
