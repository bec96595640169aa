"""The fake's guest agent and console."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import UUID

from millwright.hypervisor.errors import (
    AgentUnavailable,
    Conflict,
    GuestCommandFailed,
    NotFound,
)
from millwright.hypervisor.port import ConsoleStream, Progress
from millwright.hypervisor.types import DomainState, ExecResult

from .clock import VirtualClock
from .console import FakeConsole
from .faults import Faults, verb
from .guest import FakeGuest
from .screen import FakeScreen
from .state import FakeDomain


class FakeAgent:
    """Guest agent verbs; mixed into `FakeHypervisor`."""

    name: str
    clock: VirtualClock
    faults: Faults
    unreachable: bool
    frozen: bool
    boot_s: float
    _lock: threading.RLock
    _domains: dict[UUID, FakeDomain]

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(seconds)

    def guest(self, uuid: UUID) -> FakeGuest:
        """Handle for tests: the inside of a guest, whatever its state."""
        with self._lock:
            return self._domains[uuid].guest

    def _answering(self, uuid: UUID) -> FakeGuest:
        domain = self._domains.get(uuid)
        if domain is None:
            raise NotFound(f"domain {uuid} does not exist", host=self.name)
        if domain.state is not DomainState.RUNNING:
            raise Conflict(f"domain {domain.name!r} is {domain.state.value}", host=self.name)
        spec = domain.live
        up_s = self.clock.now() - domain.started_at_s
        if spec is None or not spec.agent or up_s < self.boot_s:
            raise AgentUnavailable(f"the agent of {domain.name!r} does not answer", host=self.name)
        return domain.guest

    @verb
    def agent_ping(self, uuid: UUID, *, deadline_s: float | None = None) -> None:
        """See the port."""
        with self._lock:
            self._answering(uuid)

    @verb
    def agent_read_file(
        self,
        uuid: UUID,
        path: str,
        *,
        max_bytes: int = 1 << 20,
        deadline_s: float | None = None,
    ) -> bytes:
        """See the port."""
        with self._lock:
            data = self._answering(uuid).files.get(path)
        if data is None:
            raise NotFound(f"guest file {path!r} does not exist", host=self.name)
        if len(data) > max_bytes:
            raise Conflict(f"guest file {path!r} is longer than {max_bytes} bytes", host=self.name)
        return data

    @verb
    def agent_write_file(
        self,
        uuid: UUID,
        path: str,
        data: bytes,
        *,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """See the port."""
        with self._lock:
            self._answering(uuid).write(path, data)
        if progress is not None:
            progress(len(data), len(data))

    @verb
    def agent_exec(
        self,
        uuid: UUID,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> ExecResult:
        """See the port."""
        if not argv:
            raise GuestCommandFailed("no command was given", host=self.name)
        with self._lock:
            return self._answering(uuid).run(argv, stdin)

    @verb
    def console_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """See the port."""
        with self._lock:
            found = self._running_domain(uuid)
            if found.console is not None:
                found.console.end()
            found.console = FakeConsole(
                found.name, self.name, lambda: found.state is DomainState.RUNNING
            )
            return found.console

    @verb
    def screen_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """See the port."""
        with self._lock:
            found = self._running_domain(uuid)
            if found.effective is None or found.effective.screen is None:
                raise Conflict(f"domain {found.name!r} has no screen", host=self.name)
            if found.screen is not None:
                found.screen.end()
            found.screen = FakeScreen(
                found.name, self.name, lambda: found.state is DomainState.RUNNING
            )
            return found.screen

    def _running_domain(self, uuid: UUID) -> FakeDomain:
        domain = self._domains.get(uuid)
        if domain is None:
            raise NotFound(f"domain {uuid} does not exist", host=self.name)
        if domain.state is not DomainState.RUNNING:
            raise Conflict(f"domain {domain.name!r} is {domain.state.value}", host=self.name)
        return domain
