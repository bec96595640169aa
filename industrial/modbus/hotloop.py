"""An event loop that answers Modbus requests while it waits for anything else.

asyncio takes several microseconds to bring readiness of a socket to a callback: as long as the answer itself. Here the
selector calls a connection's handler itself and waits on; everything else of asyncio is as it was.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

#: Rounds after which the rest of the loop has its turn, whatever still comes.
_ROUNDS = 64
#: A lone client that asks at once again is looked for so long before this process sleeps, in seconds: being woken
#: takes longer. On a busy machine it waits for the very CPU on which it is looked for: where it was not there, it is
#: looked for again after twice as many requests each time, at most so many.
_LOOK_S, _RARELY = 25e-6, 4096


class HotSelector(selectors.EpollSelector):
    """Descriptors with handlers are served inside `select`; a handler says whether the loop has to look itself."""

    def __init__(self) -> None:
        super().__init__()
        self._hot = select.epoll()
        self._base = self.fileno()
        # A set of descriptors is itself one: it is readable when one of asyncio's is.
        self._hot.register(self._base, select.EPOLLIN)
        self._handlers: dict[int, Callable[[], bool]] = {}
        self._pause = self._paused = 0

    def watch(self, fd: int, handler: Callable[[], bool]) -> None:
        """Call the handler when the descriptor can be read; True makes the loop look at its own things."""
        if fd not in self._handlers:
            self._hot.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        """End it; before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._hot.unregister(fd)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self._handlers:
            return super().select(timeout)
        if timeout is not None and timeout <= 0:
            self._serve(self._hot.poll(0))
            return super().select(0)
        end = None if timeout is None else time.monotonic() + timeout
        for _ in range(_ROUNDS):
            events = self._hot.poll(timeout)
            if not events or self._serve(events):
                break
            if len(self._handlers) == 1 and (events := self._look_again()) and self._serve(events):
                break
            if end is not None:
                timeout = end - time.monotonic()
                if timeout <= 0:
                    break
        return super().select(0)

    def _look_again(self) -> list[tuple[int, int]]:
        if self._paused < self._pause:
            self._paused += 1
            return []
        self._paused = 0
        poll, clock, rest = self._hot.poll, time.monotonic, os.sched_yield
        end = clock() + _LOOK_S
        while clock() < end:
            if events := poll(0):
                self._pause = 0
                return events
            rest()
        self._pause = min(2 * self._pause + 1, _RARELY)
        return []

    def _serve(self, events: list[tuple[int, int]]) -> bool:
        look = False
        for fd, _ in events:
            handler = self._handlers.get(fd)
            # Without one it is asyncio's own, or one that a handler before has ended.
            if handler is None or handler():
                look = True
        return look

    def close(self) -> None:
        self._hot.close()
        super().close()


class HotLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on that selector."""

    def __init__(self) -> None:
        self.hot = HotSelector()
        super().__init__(self.hot)


def run(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` with this loop."""
    with asyncio.Runner(loop_factory=HotLoop) as runner:
        runner.run(main)
