"""Parts of a fake host, given to running domains."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.errors import Conflict, Unsupported
from millwright.hypervisor.rules import ACTIVE, check_share
from millwright.hypervisor.types import ProbeKind, Share

from .faults import Faults, verb
from .state import FakeDomain

#: What a domain without shares of its own weighs.
USUAL_WEIGHT = 1024


class FakeShares:
    """`set_share` and `share`. The simulated guest gives its balloon back at once."""

    name: str
    abilities: frozenset[ProbeKind]
    faults: Faults
    unreachable: bool
    frozen: bool
    _lock: threading.RLock

    if TYPE_CHECKING:  # what the host itself has

        def pass_time(self, seconds: float) -> None: ...
        def _owned(self, uuid: UUID) -> FakeDomain: ...

    def _running(self, uuid: UUID) -> tuple[FakeDomain, DomainSpec]:
        domain = self._owned(uuid)
        if domain.live is None or domain.state not in ACTIVE:
            raise Conflict(f"domain {domain.name!r} is off", host=self.name)
        if ProbeKind.CGROUP_CPU not in self.abilities:
            raise Unsupported("the host has no CPU controller for its guests", host=self.name)
        return domain, domain.live

    @verb
    def set_share(self, uuid: UUID, share: Share, *, deadline_s: float | None = None) -> Share:
        """See the port."""
        with self._lock:
            domain, live = self._running(uuid)
            check_share(
                share,
                memory_bytes=live.memory_bytes,
                balloon=live.tuning.balloon,
                host=self.name,
            )
            had = self._share(domain, live)
            domain.share = (
                replace(share, memory_bytes=had.memory_bytes)
                if share.memory_bytes is None
                else share
            )
            return domain.share

    @verb
    def share(self, uuid: UUID, *, deadline_s: float | None = None) -> Share:
        """See the port."""
        with self._lock:
            return self._share(*self._running(uuid))

    @staticmethod
    def _share(domain: FakeDomain, live: DomainSpec) -> Share:
        usual = Share(live.tuning.cpu_shares or USUAL_WEIGHT, None, live.memory_bytes)
        return domain.share or usual
