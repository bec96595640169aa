"""What a fake host remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.equipment import GuestCpu
from millwright.hypervisor.types import (
    DomainState,
    Metadata,
    MigrationResult,
    Share,
    VolumeInfo,
)

from .console import FakeConsole
from .guest import FakeGuest
from .screen import FakeScreen


@dataclass(slots=True)
class FakeDomain:
    """One domain. `spec` is None for a foreign one. `live` is what runs, `spec` what is stored."""

    uuid: UUID
    name: str
    spec: DomainSpec | None
    live: DomainSpec | None = None
    state: DomainState = DomainState.STOPPED
    autostart: bool = False
    reason: str = ""
    started_at_s: float = 0.0
    boots: int = 0
    guest: FakeGuest = field(default_factory=FakeGuest)
    #: whoever is at its console and its screen
    console: FakeConsole | None = None
    screen: FakeScreen | None = None
    #: the migration that brought it here
    arrival: MigrationResult | None = None
    #: what it was started with
    cpu: GuestCpu | None = None
    #: given since it runs
    share: Share | None = None

    @property
    def effective(self) -> DomainSpec | None:
        """The description that applies now: of the running guest, or the stored one."""
        return self.live or self.spec

    @property
    def metadata(self) -> Metadata | None:
        """The mark that a caller sees."""
        spec = self.effective
        return None if spec is None else spec.metadata


@dataclass(slots=True)
class FakeStore:
    """One storage pool."""

    name: str
    path: str
    capacity_bytes: int
    volumes: dict[str, VolumeInfo] = field(default_factory=dict)

    @property
    def allocated_bytes(self) -> int:
        """What the volumes take."""
        return sum(volume.allocation_bytes for volume in self.volumes.values())
