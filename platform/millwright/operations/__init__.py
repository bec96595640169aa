"""Durable operations on the ports: recorded before they start, made of steps that say "ensure"."""

from .engine import Engine, Killed
from .errors import Cancelled, FenceRefused, OperationError, Question, StepFailed, StepTimeout
from .kinds import SAGAS, saga_for
from .ports import (
    BuiltProgram,
    Clock,
    Fencer,
    Hypervisors,
    ImageFiles,
    LockLost,
    MachineRecord,
    MoveRecord,
    MoveState,
    OperationRecord,
    Ports,
    Prober,
    ProgramBuilder,
    RetainedOffer,
    Sleeper,
    StepRecord,
    Store,
)
from .saga import Context, Saga, Step

__all__ = [
    "SAGAS",
    "BuiltProgram",
    "Cancelled",
    "Clock",
    "Context",
    "Engine",
    "FenceRefused",
    "Fencer",
    "Hypervisors",
    "ImageFiles",
    "Killed",
    "LockLost",
    "MachineRecord",
    "MoveRecord",
    "MoveState",
    "OperationError",
    "OperationRecord",
    "Ports",
    "Prober",
    "ProgramBuilder",
    "Question",
    "RetainedOffer",
    "Saga",
    "Sleeper",
    "Step",
    "StepFailed",
    "StepRecord",
    "StepTimeout",
    "Store",
    "saga_for",
]
