"""What an operation is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from millwright.core.lifecycle import EnvironmentState, OperationState
from millwright.hypervisor import Hypervisor

from .errors import Cancelled, StepFailed
from .ports import MachineRecord, OperationRecord, Ports


@dataclass(slots=True)
class Context:
    """What a step works with. Nothing is remembered between steps but in the store."""

    operation: OperationRecord
    ports: Ports

    @property
    def machine_id(self) -> UUID:
        if self.operation.machine_id is None:
            raise StepFailed(f"operation {self.operation.id} has no machine")
        return self.operation.machine_id

    def machine(self) -> MachineRecord:
        """The machine as the store has it now."""
        return self.ports.store.machine(self.machine_id)

    def host(self) -> tuple[MachineRecord, Hypervisor]:
        """The machine and the host it is placed on."""
        machine = self.machine()
        if machine.host is None:
            raise StepFailed(f"{machine.domain_name} has no host")
        return machine, self.ports.hypervisors.get(machine.host)

    def answer(self) -> str:
        """What a person answered to this operation's question; "" as long as nobody has."""
        return self.ports.store.answer(self.operation.id)

    def check(self) -> None:
        """In a long step: stop when another process took over or a person cancelled.

        Raises:
            LockLost, Cancelled.
        """
        self.ports.fence()
        if self.ports.store.cancel_requested(self.operation.id):
            raise Cancelled("cancelled by request")

    def say(self, text: str) -> None:
        """Progress for people."""
        self.ports.store.progress(self.operation.id, text)


#: A step returns a detail for people, or nothing.
Do = Callable[[Context], str | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One idempotent step. Either `undo`, or `no_undo`: the sentence why none is needed."""

    name: str
    title: str
    do: Do
    undo: Do | None = None
    no_undo: str = ""
    #: how long "not yet" and retryable errors are borne, in seconds
    timeout_s: float = 60.0
    #: a machine of its own kind may be borne longer, never shorter, than `timeout_s`
    patience: Callable[[Context], float] | None = None
    #: seconds between tries; grows to `pause_max_s`
    pause_s: float = 0.5
    pause_max_s: float = 5.0
    #: whether a cancellation may come before it; a step that leaves things uncertain decides by itself
    cancels: bool = True

    def __post_init__(self) -> None:
        if (self.undo is None) == (not self.no_undo):
            raise ValueError(f"step {self.name}: exactly one of undo and no_undo is needed")


@dataclass(frozen=True, slots=True)
class Saga:
    """The steps of a kind, and what its environment becomes on the way and at the end."""

    kind: str
    steps: tuple[Step, ...]
    environment_before: EnvironmentState | None = None
    environment_after: EnvironmentState | None = None
    environment_failed: EnvironmentState | None = None
    #: on failure, whether the steps done are undone
    undoes: bool = False

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"saga {self.kind}: step names repeat")

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


TERMINAL = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})
