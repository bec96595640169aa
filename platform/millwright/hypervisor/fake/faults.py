"""Faults to order: once, at a named verb, before or after its effect."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from millwright.hypervisor.errors import DeadlineExceeded, HostUnreachable

P = ParamSpec("P")
R = TypeVar("R")


class Effect(StrEnum):
    """When a fault strikes: nothing done yet, or everything done and the answer lost."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb, as the fake saw it."""

    host: str
    verb: str
    arguments: tuple[object, ...]


@dataclass(slots=True)
class _Fault:
    verb: str
    error: BaseException
    effect: Effect


class Faults:
    """The faults and the call log of one host.

    `error` may be any `BaseException`: a suite that plays "killed here" raises its own.
    """

    def __init__(self) -> None:
        self._pending: deque[_Fault] = deque()
        self._lock = threading.Lock()
        #: The latest calls, newest last; bounded so that a large fake stays small.
        self.calls: deque[Call] = deque(maxlen=10_000)

    def fail_next(
        self,
        verb: str,
        error: BaseException,
        *,
        effect: Effect | str = Effect.BEFORE,
        times: int = 1,
    ) -> None:
        """Let the next `times` calls of `verb` ("*": any verb) raise `error`."""
        with self._lock:
            self._pending.extend(_Fault(verb, error, Effect(effect)) for _ in range(times))

    def clear(self) -> None:
        """Forget faults that were not met."""
        with self._lock:
            self._pending.clear()

    @property
    def pending(self) -> int:
        """How many faults are still to be met."""
        return len(self._pending)

    def take(self, verb: str, effect: Effect) -> BaseException | None:
        """Remove and return the first fault that applies."""
        with self._lock:
            for fault in self._pending:
                if fault.effect is effect and fault.verb in (verb, "*"):
                    self._pending.remove(fault)
                    return fault.error
        return None


class FaultyHost(Protocol):
    """What `verb` needs of a fake host."""

    name: str
    faults: Faults
    unreachable: bool
    frozen: bool

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""


H = TypeVar("H", bound=FaultyHost)
#: How long a caller of a frozen host waits when it names no deadline.
DEFAULT_DEADLINE_S = 10.0


def verb(
    function: Callable[Concatenate[H, P], R],
) -> Callable[Concatenate[H, P], R]:
    """Make a method of a fake host fail as a real one would, and log the call."""
    name = function.__name__

    @functools.wraps(function)
    def wrapper(self: H, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.faults.calls.append(Call(self.name, name, tuple[Any, ...](args)))
        if self.unreachable:
            raise HostUnreachable(f"{name}: connection refused", host=self.name)
        if self.frozen:
            deadline = kwargs.get("deadline_s")
            waited = deadline if isinstance(deadline, int | float) else DEFAULT_DEADLINE_S
            self.pass_time(waited)
            raise DeadlineExceeded(f"{name}: no answer within {waited} s", host=self.name)
        error = self.faults.take(name, Effect.BEFORE)
        if error is not None:
            raise error
        result = function(self, *args, **kwargs)
        error = self.faults.take(name, Effect.AFTER)
        if error is not None:
            raise error
        return result

    return wrapper
