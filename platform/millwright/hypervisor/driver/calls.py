"""Blocking calls in threads that may be abandoned.

libvirt calls have no timeouts: on a frozen host they return when the keepalive gives up, and
`open` may never do so. The caller waits for its deadline only; the thread is left to itself.
Such threads are bounded per host: when all hang, further calls fail at once. They are daemon
threads, so that a hanging call never keeps the process from ending.
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

#: Threads per host. More calls than this wait their turn.
WORKERS = 8
#: A worker without work ends after this; 1,000 quiet hosts hold no threads.
IDLE_S = 20.0


class Calls:
    """A bounded pool of daemon threads for one host."""

    def __init__(self, host: str, workers: int = WORKERS) -> None:
        self._host = host
        self._limit = workers
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._abandoned = 0

    @property
    def abandoned(self) -> int:
        """Calls whose callers gave up and that still hang."""
        return self._abandoned

    @property
    def threads(self) -> int:
        """Threads alive now."""
        return self._threads

    def run(self, deadline: Deadline, function: Callable[[], T]) -> T:
        """Run `function` in a worker and wait for it.

        Raises:
            DeadlineExceeded: it did not end in time; it may still take effect.
            HostUnreachable: every thread of this host hangs already.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._abandoned >= self._limit:
                raise HostUnreachable(
                    f"{deadline.verb}: {self._abandoned} earlier calls hang", host=self._host
                )
            self._queue.put((future, function))
            if self._idle == 0 and self._threads < self._limit:
                self._threads += 1
                threading.Thread(
                    target=self._work, name=f"libvirt-{self._host}", daemon=True
                ).start()
        try:
            return future.result(timeout=deadline.left_s)
        except FutureTimeout:
            # A function may itself have ended with a timeout; that one goes through.
            if future.done() and not future.cancelled():
                return future.result()
            self._abandon(future)
            raise deadline.exceeded() from None

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
            with self._lock:
                self._idle += 1
            try:
                future, function = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    # A caller may have queued work just now, counting on this idle thread.
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, function


def expendable(name: str, function: Callable[[], T]) -> Future[T]:
    """Run `function` in a thread of its own that nobody has to wait for."""
    future: Future[T] = Future()

    def work() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
