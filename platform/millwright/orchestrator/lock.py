"""One active orchestrator: a file lock beside SQLite, an advisory lock in PostgreSQL.

The lock lives with its file handle or session. `held` asks anew each time, so that a process that was
paused or cut off notices before it acts.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Protocol

import psycopg

log = logging.getLogger(__name__)

#: The key of the advisory lock: "millwrig" as eight bytes.
LOCK_KEY = int.from_bytes(b"millwrig", "big") % 2**63


class Lock(Protocol):
    def try_acquire(self) -> bool: ...
    def held(self) -> bool: ...
    def release(self) -> None: ...


class FileLock:
    """For one machine: the kernel drops it with the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def try_acquire(self) -> bool:
        if self._handle is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle
        return True

    def held(self) -> bool:
        if self._handle is None:
            return False
        # A lock on a file that was removed guards nothing: another process would lock the new one.
        try:
            return os.fstat(self._handle).st_ino == self.path.stat().st_ino
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class AdvisoryLock:
    """For several machines on one PostgreSQL: the server drops it with the session."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: psycopg.Connection | None = None
        self._said = ""

    def try_acquire(self) -> bool:
        if self.held():
            return True
        self.release()
        try:
            session = psycopg.connect(
                self.url, autocommit=True, connect_timeout=5, options="-c statement_timeout=5000"
            )
            row = session.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        except psycopg.Error as error:
            # Said once: a standby asks every second.
            if str(error) != self._said:
                self._said = str(error)
                log.warning("the database cannot be asked for the lock: %s", error)
            return False
        self._said = ""
        if row is None or not row[0]:
            session.close()
            return False
        self._session = session
        return True

    def held(self) -> bool:
        if self._session is None:
            return False
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return not self._session.closed

    def release(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
