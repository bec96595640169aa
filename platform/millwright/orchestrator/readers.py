"""Reads hosts round by round, each in a thread of a pool: one that hangs keeps neither the rounds nor other hosts waiting.

A host has one reader at a time, and is asked again when its reader has come back. Every question has its deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connections

from millwright.hypervisor import Hypervisor, HypervisorError
from millwright.operations import Hypervisors

log = logging.getLogger(__name__)

#: Hosts that are read at once.
AT_ONCE = 8


class Readers:
    """Has hosts read by `read(driver, name)`, which says whether there was anything to read.

    Args:
        what: what is read, for the log and the names of threads.
    """

    def __init__(
        self, what: str, hosts: Hypervisors, read: Callable[[Hypervisor, str], bool]
    ) -> None:
        self._what = what
        self._hosts = hosts
        self._read = read
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=what)
        self._busy: dict[str, Future[bool]] = {}

    def round(self, names: Collection[str]) -> dict[str, Future[bool]]:
        """Have these hosts read, without waiting for any; returns the readings that were begun, by host.

        One whose reader has not come back is left out.
        """
        self._busy = {name: future for name, future in self._busy.items() if not future.done()}
        begun = {
            name: self._pool.submit(self._safely, name) for name in names if name not in self._busy
        }
        self._busy |= begun
        return begun

    def close(self) -> None:
        """Begin nothing more; what hangs ends by its deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _safely(self, name: str) -> bool:
        try:
            return self._read(self._hosts.get(name), name)
        except HypervisorError as error:
            # Away: what it said before stands, with its age.
            log.info("%s of %s: %s", self._what, name, error)
        except Exception:
            # One odd host keeps no other from being read; the trace says what it was.
            log.exception("%s of %s", self._what, name)
        finally:
            connections.close_all()
        return False
