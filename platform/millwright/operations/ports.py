"""What operations need of the world, as Protocols. The orchestrator wires the real parts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from millwright.core.lifecycle import (
    EnvironmentState,
    HostPower,
    MachineObserved,
    OperationState,
    StepState,
)
from millwright.core.pinning import CpuAssignment
from millwright.hypervisor import Flow, GuestCpu, Hypervisor, VgpuSpec

from .errors import FenceRefused


class LockLost(BaseException):
    """This process is no longer the active orchestrator: stop at once, touch nothing.

    Not an `Exception`: no step may swallow it.
    """


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A built template image on this machine. Each file: path, SHA-256, size in bytes."""

    name: str
    kernel: tuple[Path, str, int]
    initrd: tuple[Path, str, int]
    disk: tuple[Path, str, int] | None = None
    disk_virtual_bytes: int = 0
    cmdline: str = ""


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """A machine as an operation sees it: intent and what was claimed for it."""

    id: UUID
    name: str
    domain_name: str
    environment_id: UUID
    environment: str
    site: str
    service_class: str
    generation: int
    autostart: bool
    vcpus: int
    control_vcpus: tuple[int, ...]
    memory_bytes: int
    disk_bytes: int
    host: str | None
    assignment: CpuAssignment | None
    address: str | None
    mac: str
    network: str | None
    bridge: str | None
    prefix_length: int
    route: str | None
    flows: tuple[Flow, ...]
    #: host's probed abilities by name
    abilities: frozenset[str]
    image: ImageFiles
    #: port by protocol: modbus, opcua, metrics, http, mqtt; health: where it says whether its software works
    outputs: Mapping[str, int]
    health: Mapping[str, Any]
    #: SMBIOS credentials: name → text
    credentials: Mapping[str, str]
    #: whether it has a graphics card, whose screen people open in the browser
    screen: bool = False
    #: the storage pool of its disk
    pool: str = "default"
    #: size of the pages behind its memory; 0: ordinary ones
    hugepage_bytes: int = 0
    cpu_features: tuple[str, ...] = ()
    #: PCI addresses of the cards that were claimed for it on its host
    gpus: tuple[str, ...] = ()
    #: vGPU instances that were
    vgpus: tuple[VgpuSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What is recorded of a step."""

    name: str
    state: StepState
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """An operation as recorded."""

    id: UUID
    kind: str
    state: OperationState
    machine_id: UUID | None
    environment_id: UUID | None
    attempt: int
    payload: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[StepRecord, ...] = ()


class MoveState(StrEnum):
    """A move's claims: held on both hosts, then on one."""

    PREPARED = "prepared"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """A machine between two hosts: what was claimed for it at the destination."""

    operation_id: UUID
    machine_id: UUID
    source: str
    destination: str
    #: of the copy at the destination; higher than any before
    generation: int
    assignment: CpuAssignment
    #: the destination's probed abilities
    abilities: frozenset[str]
    #: both hosts see the same disks
    shared_storage: bool
    state: MoveState = MoveState.PREPARED
    #: PCI addresses of the cards that were claimed at the destination
    gpus: tuple[str, ...] = ()
    #: vGPU instances that were
    vgpus: tuple[VgpuSpec, ...] = ()
    #: the machine was off when the move began: its definition alone goes
    off: bool = False


@dataclass(frozen=True, slots=True)
class BuiltProgram:
    """What the compiler made, or why not."""

    ok: bool
    diagnostics: tuple[Mapping[str, Any], ...] = ()
    error: str = ""
    bundle: bytes = b""
    symbols: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetainedOffer:
    """A kept copy of a controller's retained values, signed for its inbox.

    `as_of`: of when it is, by the plant's clock, in UTC. `wrong`: why it cannot be used; there is no bundle then.
    """

    sha256: str
    as_of: dt.datetime
    scan: int
    layout_hash: str
    size_bytes: int
    generation: int
    bundle: bytes = b""
    #: seconds from the copy to the loss of the host; None where that is not known
    before_loss_s: float | None = None
    wrong: str = ""

    def named(self) -> dict[str, Any]:
        """As the operation keeps it; no values."""
        return {
            "as_of": self.as_of.isoformat(),
            "before_loss_s": self.before_loss_s,
            "sha256": self.sha256,
            "layout_hash": self.layout_hash,
            "scan": self.scan,
            "size_bytes": self.size_bytes,
            "generation": self.generation,
        }


@dataclass(frozen=True, slots=True)
class AwaitedHost:
    """A host that is being woken for a machine. `left_s`: until it is expected to answer; below 0 it is late."""

    host: str
    left_s: float


class Store(Protocol):
    """Persistent things. Every method is one transaction and may be called twice."""

    def operation(self, operation_id: UUID) -> OperationRecord: ...
    def begin(self, operation_id: UUID, steps: tuple[tuple[str, str], ...]) -> None:
        """Mark it running and write its steps (name, title)."""
        ...

    def step(self, operation_id: UUID, name: str, state: StepState, detail: str = "") -> None: ...
    def progress(self, operation_id: UUID, text: str) -> None: ...
    def operation_state(
        self,
        operation_id: UUID,
        state: OperationState,
        error: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None: ...
    def cancel_requested(self, operation_id: UUID) -> bool: ...
    def ask(self, operation_id: UUID, text: str, answers: Mapping[str, str]) -> None:
        """Let the operation wait for a person."""
        ...

    def answer(self, operation_id: UUID) -> str:
        """The code a person chose; "" while there is none."""
        ...

    def answered(self, operation_id: UUID) -> None:
        """The question is settled: the operation runs again, its question and answer are forgotten."""
        ...

    def machine(self, machine_id: UUID) -> MachineRecord: ...
    def claim(self, machine_id: UUID, operation_id: UUID) -> MachineRecord:
        """Place the machine and claim CPUs, memory and address, all or nothing.

        Where no host that is awake takes it, that is one that sleeps, which is told to wake. Called again it returns
        the claims there are.

        Raises:
            StepFailed: nothing fits; the text has the reason per host.
        """
        ...

    def prepare_move(
        self,
        operation_id: UUID,
        machine_id: UUID,
        destination: str | None,
        *,
        started: GuestCpu | None = None,
        off: bool = False,
    ) -> MoveRecord:
        """Claim CPUs and memory at the destination (None: the best host), beside those there are.

        `started`: the machine runs with this CPU and goes on with it over there; None: it is started
        anew. `off`: it is off and stays so; one with a disk then goes only where that disk is seen.
        Called again it returns the move there is.

        Raises:
            StepFailed: it does not fit there; the text has the reason per host.
            NotYet: somebody claimed the same at the same moment.
        """
        ...

    def move(self, operation_id: UUID) -> MoveRecord | None:
        """The move of an operation, or None."""
        ...

    def complete_move(
        self,
        operation_id: UUID,
        *,
        elapsed_ms: int | None,
        downtime_ms: int | None,
        transferred_bytes: int | None,
    ) -> None:
        """The machine is at the destination: host, CPUs and generation change, the old claims go."""
        ...

    def undo_move(self, operation_id: UUID, why: str) -> None:
        """The machine stays: the claims at the destination go. A move that is done stays done."""
        ...

    def release(self, machine_id: UUID) -> None:
        """Give every claim of the machine back."""
        ...

    def observed(
        self, machine_id: UUID, state: MachineObserved, cause: str, operation_id: UUID
    ) -> None: ...
    def shortfalls(self, machine_id: UUID, words: tuple[str, ...]) -> None:
        """Record what of its class the host cannot give."""
        ...

    def guest_status(self, machine_id: UUID, status: Mapping[str, Any]) -> None: ...
    def environment_state(
        self, environment_id: UUID, state: EnvironmentState, reason: str, operation_id: UUID
    ) -> None: ...
    def bundle(self, program_version_id: UUID) -> tuple[bytes, str] | None:
        """A built program's bundle and its SHA-256; None while it is not built."""
        ...

    def program_state(self, program_version_id: UUID) -> tuple[str, str]:
        """State and error of a program version."""
        ...

    def program_sources(self, program_version_id: UUID) -> tuple[str, str, Mapping[str, str]]:
        """Name, version and files."""
        ...

    def program_built(self, program_version_id: UUID, built: BuiltProgram) -> None: ...
    def deployment(
        self, machine_id: UUID, program_version_id: UUID, state: str, message: str
    ) -> None: ...
    def retained_offers(self, operation_id: UUID, machine_id: UUID) -> tuple[RetainedOffer, ...]:
        """Copies of the machine's retained values that were taken before its present placement, newest first."""
        ...

    def retained_outcome(self, operation_id: UUID, note: Mapping[str, Any]) -> None:
        """Add to what the operation keeps of retained values, as `retained.merged` says; the first is audited."""
        ...

    def config_bundle(self, machine_id: UUID) -> bytes:
        """The machine's surroundings (io, security) as a signed bundle."""
        ...

    def awaited_host(self, machine_id: UUID, operation_id: UUID) -> AwaitedHost | None:
        """What a placed machine waits for; nothing: its host is awake.

        A host that nobody wakes is told to wake. Where it does not wake, or takes nothing new by now, the machine's
        claims are given back and others made, as `claim` does.

        Raises:
            StepFailed: no host is left; the text names those that did not wake.
        """
        ...

    def power(self, host: str) -> HostPower:
        """Whether the host sleeps, by the record."""
        ...

    def let_sleep(self, operation_id: UUID, host: str) -> None:
        """Mark the host as falling asleep, from where on nothing is placed there; again, nothing changes.

        Raises:
            StepFailed: a machine is on it or on its way, or it does not sleep: the text has the reason.
        """
        ...

    def set_power(self, operation_id: UUID, host: str, power: HostPower, why: str) -> None:
        """Record what became of its power; what may not follow what there is changes nothing."""
        ...


class Hypervisors(Protocol):
    """Hosts by name."""

    def get(self, host: str) -> Hypervisor: ...


class Clock(Protocol):
    """Time; virtual in tests."""

    def now(self) -> float:
        """Seconds from an arbitrary start, never running backwards."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Prober(Protocol):
    """Asks a machine's protocols from its cell, through the gateway."""

    def answers(self, kind: str, address: str, port: int) -> str | None:
        """None if it answers, else what went wrong."""
        ...


class ProgramBuilder(Protocol):
    """Compiles and signs, in a limited worker."""

    def build(self, name: str, version: str, files: Mapping[str, str]) -> BuiltProgram: ...


class Fencer(Protocol):
    """Takes the power of a host away."""

    def off(self, host: str) -> str:
        """Switch it off and make sure of it; returns who says so.

        Raises:
            FenceRefused: it is not known to be off.
        """
        ...


class NoFencer:
    """Where no fence agents are to be had."""

    def off(self, host: str) -> str:
        raise FenceRefused(f"no fence agent is configured for {host}")


class Sleeper(Protocol):
    """Puts hosts to sleep and wakes them, in the ways of their policies."""

    def sleep(self, host: str, until: dt.datetime | None) -> str:
        """Order it; returns how. May be ordered again while the host answers.

        Raises:
            FenceRefused: its fence agent does not say that it is off, or the policy names no way.
            HypervisorError: the host does not take the order.
        """
        ...

    def wake(self, host: str) -> str:
        """Order it; returns how. May be ordered again and again.

        Raises:
            FenceRefused: the order could not be given.
        """
        ...

    def wake_s(self, host: str) -> int:
        """Seconds that it is expected to take until it answers."""
        ...

    def read(self, host: str) -> None:
        """Ask what it has, and keep that: it may have come back with something else.

        Raises:
            HypervisorError: it does not answer.
        """
        ...


class NoSleeper:
    """Where no host sleeps."""

    def sleep(self, host: str, until: dt.datetime | None) -> str:
        raise FenceRefused(f"{host} does not sleep")

    def wake(self, host: str) -> str:
        raise FenceRefused(f"{host} does not sleep")

    def wake_s(self, host: str) -> int:
        return 60

    def read(self, host: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Ports:
    """All ports together. `fence` raises `LockLost` when this process may no longer act."""

    store: Store
    hypervisors: Hypervisors
    clock: Clock
    prober: Prober
    builder: ProgramBuilder
    fencer: Fencer = field(default_factory=NoFencer)
    sleeper: Sleeper = field(default_factory=NoSleeper)

    def fence(self) -> None:
        """Replaced by the orchestrator; alone there is nobody to lose to."""
