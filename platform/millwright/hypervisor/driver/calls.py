"""Blocking calls in a thread that may be abandoned.

libvirt calls have no timeouts: on a frozen host they return when the keepalive gives up, and
`open` may never do so. The caller waits for its deadline only; the thread is left to itself. It
is a daemon thread, so that a hanging call never keeps the process from ending.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from millwright.hypervisor.errors import HostUnreachable

from .deadline import Deadline

T = TypeVar("T")

#: The thread ends after this time without work; 1,000 quiet hosts hold no threads.
IDLE_S = 20.0


class Calls:
    """Runs calls one after another, in one daemon thread that exists while there is work."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = False
        self._waiting = 0
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """1 while a call hangs whose caller gave up, else 0."""
        return self._abandoned

    @property
    def load(self) -> int:
        """Calls that run or wait."""
        return self._waiting

    def run(self, deadline: Deadline, function: Callable[[], T]) -> T:
        """Run `function` in the thread and wait for it.

        Raises:
            DeadlineExceeded: it did not end in time; it may still take effect.
            HostUnreachable: an earlier call hangs, so this one would never begin.
        """
        if self._abandoned:
            raise HostUnreachable(f"{deadline.verb}: an earlier call hangs", host=self._host)
        future = self.submit(function)
        try:
            return future.result(timeout=deadline.left_s)
        except FutureTimeout:
            # A function may itself have ended with a timeout; that one goes through.
            if future.done() and not future.cancelled():
                return future.result()
            self._abandon(future)
            raise deadline.exceeded() from None

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` in the thread, after what was asked for before; do not wait."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting += 1
            self._queue.put((future, function))
            if not self._running:
                self._running = True
                threading.Thread(
                    target=self._work, name=f"libvirt-{self._host}", daemon=True
                ).start()
        return future

    def _abandon(self, future: Future[Any]) -> None:
        if future.cancel():
            return  # it never began
        with self._lock:
            self._abandoned += 1

        def returned(_: Future[Any]) -> None:
            with self._lock:
                self._abandoned -= 1

        future.add_done_callback(returned)

    def _work(self) -> None:
        while True:
            try:
                future, function = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    # A caller may have queued work just now, counting on this thread.
                    if self._queue.empty():
                        self._running = False
                        return
                continue
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # handed to the caller
                    future.set_exception(error)
                else:
                    future.set_result(result)
            with self._lock:
                self._waiting -= 1
            del future, function


def expendable(name: str, function: Callable[[], T]) -> Future[T]:
    """Run `function` in a thread of its own that nobody has to wait for."""
    future: Future[T] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function())
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
