"""A blocking call in a thread of its own, so that it can be watched and steered meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from millwright.hypervisor import MigrationResult, Way

_BY = {
    Way.RELAYS: ", by the hosts' relays",
    Way.QEMU: ", encrypted by QEMU",
    Way.OPEN: ", not encrypted",
    None: "",
}


class Flight:
    """Runs `work` at once. The thread is a daemon: a process that ends does not wait for it."""

    def __init__(self, work: Callable[[], MigrationResult | None]) -> None:
        self.result: MigrationResult | None = None
        self.error: Exception | None = None
        self._killed: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], MigrationResult | None]) -> None:
        try:
            self.result = work()
        except Exception as error:
            self.error = error
        except BaseException as error:
            self._killed = error
        finally:
            self._over.set()

    @property
    def flying(self) -> bool:
        """Whether the call is still under way.

        Raises:
            BaseException: what ended the thread as if it had been the process.
        """
        if self._killed is not None:
            raise self._killed
        return not self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        self._over.wait(seconds)


def took(host: str, result: MigrationResult) -> str:
    """What a move to the host took and by which way it went, for people."""
    pause = "not told" if result.downtime_ms is None else f"{result.downtime_ms} ms"
    return f"runs on {host} after {result.elapsed_ms / 1000:.1f} s, pause {pause}{_BY[result.way]}"
