"""The port: what the control plane may ask of one host.

Small synchronous verbs. Each returns or raises within its deadline (`deadline_s`; None means
the verb's default, never "for ever"). Verbs named `ensure_*`, `define`, `start`, `destroy`,
`undefine`, `remove_*` and `upload_volume` are idempotent: a second call changes nothing.
Implementations are thread-safe. All raise `HypervisorError` and nothing else of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable
from uuid import UUID

from .domain.spec import DomainSpec
from .equipment import Equipment, GuestCpu
from .types import (
    Capability,
    DomainInfo,
    DomainStats,
    Event,
    ExecResult,
    FilterSpec,
    HostFacts,
    JobInfo,
    MigrationResult,
    MigrationSpec,
    NetworkSpec,
    Pins,
    PoolInfo,
    ProbeGuest,
    ProbeKind,
    ProbeResult,
    Share,
    UploadSource,
    VolumeFormat,
    VolumeInfo,
    VolumeOwner,
)

#: Called with (bytes done, bytes in all) while a volume is sent or verified.
Progress = Callable[[int, int], None]
#: Called from the driver's own thread; must return at once.
EventCallback = Callable[[Event], None]


class ConsoleStream(Protocol):
    """A domain's serial console or screen. Not thread-safe; one reader, one writer."""

    def read(self, *, timeout_s: float) -> bytes:
        """Return what has arrived, waiting up to `timeout_s`; b"" when nothing came.

        Raises:
            HostUnreachable: the stream ended.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send keystrokes, or what a viewer of the screen says."""
        ...

    def close(self) -> None:
        """Give the console back; may be called twice."""
        ...


@runtime_checkable
class Hypervisor(Protocol):
    """One host. `site` is the mark by which domains and volumes are known as ours."""

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        ...

    @property
    def site(self) -> str:
        """The site whose objects this connection may change."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this driver can do on this connection."""
        ...

    @property
    def connected(self) -> bool:
        """Whether a live connection exists now. Never blocks."""
        ...

    def close(self) -> None:
        """Drop the connection and its threads; never blocks on a frozen host."""
        ...

    def rest(self, resting: bool) -> None:
        """While it rests (the host sleeps by intent), do not connect by itself: the next call does. Never blocks."""
        ...

    # --- the host ---------------------------------------------------------------------------

    def facts(self, *, deadline_s: float | None = None) -> HostFacts:
        """What the host says of itself: CPUs, NUMA, memory, versions, machine types."""
        ...

    def equipment(
        self, *, parts: Collection[str] | None = None, deadline_s: float | None = None
    ) -> Equipment:
        """What the host has beside CPUs and memory: hugepages, CPU features, pools, NICs, cards.

        With `parts` only those fields of `Equipment` are asked for; the others are None. A part that the host cannot tell is None, with the reason in `unread`. Reads, changes nothing.
        """
        ...

    def probe(
        self, kind: ProbeKind, guest: ProbeGuest | None = None, *, deadline_s: float | None = None
    ) -> ProbeResult:
        """Find out by doing, leaving nothing behind.

        Raises:
            InvalidSpec: the probe boots a guest and none was given.
        """
        ...

    def bulk_state(self, *, deadline_s: float | None = None) -> tuple[DomainStats, ...]:
        """All domains, ours and foreign, in one call that does not wait for busy ones."""
        ...

    def suspend(self, *, wake_after_s: int, deadline_s: float | None = None) -> None:
        """Have the host sleep in memory, with everything on it, until its own alarm or somebody wakes it.

        Returns when the order is taken; the host stops answering some seconds later. Ordered again before that, nothing
        more happens. `wake_after_s`: when its alarm rings, at least 60.

        Raises:
            InvalidSpec: less than 60 s.
            Unsupported: the host cannot sleep in memory.
        """
        ...

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:
        """Get events from now on; the returned function ends the subscription."""
        ...

    # --- storage ----------------------------------------------------------------------------

    def ensure_pool(
        self, name: str, path: str | None = None, *, deadline_s: float | None = None
    ) -> PoolInfo:
        """Have the directory pool defined, started and autostarted.

        Raises:
            NotFound: no such pool, and no `path` to make one.
        """
        ...

    def refresh_pool(self, name: str, *, deadline_s: float | None = None) -> None:
        """Have the host look again at what lies in a pool: of what others make in a shared one it knows nothing.

        Raises:
            NotFound: no such pool.
            Busy: an upload goes on there for as long as the deadline.
        """
        ...

    def upload_volume(
        self,
        pool: str,
        name: str,
        source: UploadSource,
        *,
        format: VolumeFormat = VolumeFormat.RAW,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> VolumeInfo:
        """Have the image in the pool, complete and verified (read back and hashed).

        An upload that a crash cut short is recognised and done again. A volume of the same
        name with another verified content is never overwritten.

        Raises:
            NoSpace: with what is needed and what is free.
            VerificationFailed: what arrived differs; the volume was removed again.
            Conflict: the name holds another image.
            OwnershipError: the name is taken by a volume that is not ours.
        """
        ...

    def volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> VolumeInfo | None:
        """One volume, or None."""
        ...

    def volume_exists(
        self, pool: str, name: str, sha256: str | None = None, *, deadline_s: float | None = None
    ) -> bool:
        """Whether the volume is there and complete (and verified as `sha256` when given)."""
        ...

    def list_volumes(self, pool: str, *, deadline_s: float | None = None) -> tuple[VolumeInfo, ...]:
        """All volumes of the pool, markers folded into the volumes they mark."""
        ...

    def ensure_overlay(
        self,
        pool: str,
        name: str,
        *,
        base: str,
        capacity_bytes: int,
        owner: VolumeOwner,
        deadline_s: float | None = None,
    ) -> VolumeInfo:
        """Have a copy-on-write volume on the verified image `base` of the same pool, made for `owner.generation`.

        One of an earlier generation is not taken over: it is marked as set aside and stays as it is, and the new one
        lies beside it under the name that the answer has.

        Raises:
            NotFound: the base is missing or its upload was never completed.
            Conflict: a volume of that name has another base or owner, or is of a later generation; or a running domain
                uses the one that would have to be set aside.
            InvalidSpec: the capacity is less than the base's.
        """
        ...

    def overlays(
        self, pool: str, name: str, *, deadline_s: float | None = None
    ) -> tuple[VolumeInfo, ...]:
        """What `ensure_overlay` made under this name, set aside or not, the latest generation first."""
        ...

    def remove_volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> bool:
        """Remove a volume of ours and its markers; False when there was nothing.

        Raises:
            OwnershipError: it carries no mark of this site.
            Conflict: a domain or another volume uses it.
        """
        ...

    # --- networks ---------------------------------------------------------------------------

    def ensure_network(self, spec: NetworkSpec, *, deadline_s: float | None = None) -> None:
        """Have the network defined, active and autostarted."""
        ...

    def remove_network(self, name: str, *, deadline_s: float | None = None) -> bool:
        """Remove a network of ours (uuid by name); False when there was none."""
        ...

    def ensure_filter(self, spec: FilterSpec, *, deadline_s: float | None = None) -> bool:
        """Have the filter as specified; running machines that use it follow at once. False when it was so already."""
        ...

    def remove_filter(self, name: str, *, deadline_s: float | None = None) -> bool:
        """Remove a filter of ours (uuid by name); False when there was none.

        Raises:
            Conflict: a domain uses it.
        """
        ...

    # --- domains ----------------------------------------------------------------------------

    def define(self, spec: DomainSpec, *, deadline_s: float | None = None) -> DomainInfo:
        """Have the domain defined as specified (it is not started).

        Raises:
            AlreadyExists: the name belongs to another uuid.
            OwnershipError: the uuid belongs to a domain that is not ours.
            Conflict: a newer generation is defined here.
            InvalidSpec: the specification breaks a rule.
        """
        ...

    def undefine(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """Forget a stopped domain of ours; False when there was none.

        Raises:
            Conflict: it is running.
            OwnershipError: it is not ours.
        """
        ...

    def start(
        self, uuid: UUID, *, generation: int | None = None, deadline_s: float | None = None
    ) -> bool:
        """Have the domain running; False when it was already.

        Raises:
            Conflict: the defined generation is not the one asked for.
            NoSpace: the host cannot give the memory.
        """
        ...

    def shutdown(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """Ask the guest to power off and return; False when it is off already."""
        ...

    def destroy(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """Take the power away from a domain of ours; False when it is off or absent."""
        ...

    def domain(self, uuid: UUID, *, deadline_s: float | None = None) -> DomainInfo | None:
        """One domain, or None."""
        ...

    def set_autostart(self, uuid: UUID, enabled: bool, *, deadline_s: float | None = None) -> None:
        """Whether the host starts the domain by itself after a reboot."""
        ...

    def set_share(self, uuid: UUID, share: Share, *, deadline_s: float | None = None) -> Share:
        """Give a running domain its part of the host, until it stops; returns what the host says it has.

        The balloon is an order to the guest, which follows in its own time: None leaves it alone.

        Raises:
            Conflict: the domain is off.
            InvalidSpec: out of bounds, more memory than the domain has, or no balloon.
            Unsupported: the host has no CPU controller for its guests.
        """
        ...

    def share(self, uuid: UUID, *, deadline_s: float | None = None) -> Share:
        """What a running domain's part is now. Raises as `set_share`."""
        ...

    def guest_cpu(self, uuid: UUID, *, deadline_s: float | None = None) -> GuestCpu:
        """The CPU that a running domain was started with: another host has to have it too.

        Raises:
            NotFound: no such domain.
            Conflict: it is off.
        """
        ...

    def dirty_rate(
        self, uuid: UUID, *, seconds: int = 1, deadline_s: float | None = None
    ) -> int | None:
        """Bytes of memory that a running domain writes per second, measured over `seconds` (1 to 60).

        None where QEMU measured and told no rate. The guest runs on meanwhile.

        Raises:
            Conflict: it is off.
            InvalidSpec: seconds out of bounds.
            Unsupported: the host's QEMU cannot measure it.
        """
        ...

    def pins(self, uuid: UUID, *, deadline_s: float | None = None) -> Pins:
        """The affinity of the domain's threads (live when it runs)."""
        ...

    # --- guest agent and console ------------------------------------------------------------

    def agent_ping(self, uuid: UUID, *, deadline_s: float | None = None) -> None:
        """Return when the agent answers.

        Raises:
            AgentUnavailable: it does not (yet).
        """
        ...

    def agent_read_file(
        self,
        uuid: UUID,
        path: str,
        *,
        max_bytes: int = 1 << 20,
        deadline_s: float | None = None,
    ) -> bytes:
        """Content of a guest file.

        Raises:
            NotFound: there is none.
            Conflict: it is longer than `max_bytes`.
        """
        ...

    def agent_write_file(
        self,
        uuid: UUID,
        path: str,
        data: bytes,
        *,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Write a guest file in chunks. Not atomic: write an inbox file and then a manifest."""
        ...

    def agent_exec(
        self,
        uuid: UUID,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> ExecResult:
        """Run a command in the guest (no shell) and wait for its end."""
        ...

    def console_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """Open the serial console, taking it over from another reader."""
        ...

    def screen_stream(self, uuid: UUID, *, deadline_s: float | None = None) -> ConsoleStream:
        """Open the screen, taking it over from another viewer; the stream speaks RFB (VNC).

        Raises:
            Conflict: it does not run, or it has no screen.
        """
        ...

    # --- migration --------------------------------------------------------------------------

    def migrate(
        self,
        uuid: UUID,
        destination: Hypervisor,
        target: DomainSpec,
        spec: MigrationSpec,
        *,
        deadline_s: float | None = None,
    ) -> MigrationResult:
        """Move a running domain; it ends defined on exactly one of both hosts.

        `target` is the domain as it shall be at the destination, with the CPUs claimed there
        and the raised generation.

        Raises:
            Conflict: it does not run here.
            DeadlineExceeded: it did not converge; it goes on running here.
        """
        ...

    def job(self, uuid: UUID, *, deadline_s: float | None = None) -> JobInfo | None:
        """The job that holds the domain, or None."""
        ...

    def abort_job(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """Abort a migration; False when no job runs."""
        ...

    def tune_migration(
        self,
        uuid: UUID,
        *,
        max_downtime_ms: int | None = None,
        bandwidth_bytes_s: int | None = None,
        deadline_s: float | None = None,
    ) -> bool:
        """Change the bounds of a migration under way; False when none is."""
        ...

    def migrated(self, uuid: UUID, *, deadline_s: float | None = None) -> MigrationResult | None:
        """What the destination remembers of the migration that brought the domain, or None."""
        ...

    def resume(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """Let a paused domain of ours run on; False when it runs already.

        Raises:
            Conflict: it is off.
        """
        ...
