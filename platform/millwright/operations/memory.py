"""A store in memory: for tests and for trying operations without a database. Same rules as the real one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from millwright.core.lifecycle import (
    EnvironmentState,
    HostPower,
    MachineObserved,
    OperationState,
    StepState,
    check_transition,
    may_follow,
)
from millwright.core.placement import (
    HostSnapshot,
    MachineWant,
    Snapshot,
    StartedCpu,
    or_woken,
    place,
)
from millwright.hypervisor import GuestCpu

from .errors import StepFailed
from .ports import (
    AwaitedHost,
    BuiltProgram,
    MachineRecord,
    MoveRecord,
    MoveState,
    OperationRecord,
    RetainedOffer,
    StepRecord,
)
from .retained import merged
from .saga import TERMINAL


@dataclass
class _Program:
    name: str = "program"
    version: str = "1"
    files: Mapping[str, str] = field(default_factory=dict)
    state: str = "queued"
    error: str = ""
    bundle: bytes = b""


def runs_with(cpu: GuestCpu) -> StartedCpu:
    """The CPU of a running guest, as a placement reads it."""
    return StartedCpu(str(cpu.accel), cpu.model, cpu.features, cpu.passthrough)


class MemoryStore:
    """Keeps the contract of `Store`. Public attributes are for tests to look at."""

    def __init__(
        self, hosts: tuple[HostSnapshot, ...] = (), addresses: tuple[str, ...] = ()
    ) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.free_addresses = list(addresses)
        self.operations: dict[UUID, OperationRecord] = {}
        self.errors: dict[UUID, str] = {}
        self.results: dict[UUID, Mapping[str, Any]] = {}
        self.machines: dict[UUID, MachineRecord] = {}
        self.wants: dict[UUID, MachineWant] = {}
        #: (host, cpu) → machine; address → machine
        self.cpu_claims: dict[tuple[str, int], UUID] = {}
        self.address_claims: dict[str, UUID] = {}
        self.machine_states: dict[UUID, MachineObserved] = {}
        self.environments: dict[UUID, EnvironmentState] = {}
        self.deployments: list[tuple[UUID, UUID, str]] = []
        self.programs: dict[UUID, _Program] = {}
        self.statuses: dict[UUID, Mapping[str, Any]] = {}
        self.missing: dict[UUID, tuple[str, ...]] = {}
        self.cancelled: set[UUID] = set()
        self.config = b"config"
        self.moves: dict[UUID, MoveRecord] = {}
        self.questions: dict[UUID, tuple[str, Mapping[str, str]]] = {}
        self.answers: dict[UUID, str] = {}
        self.progresses: list[str] = []
        #: newest first; what operations keep of them
        self.retained: tuple[RetainedOffer, ...] = ()
        self.outcomes: dict[UUID, dict[str, Any]] = {}
        #: pairs of hosts with the same disks
        self.shared_storage = False
        #: host → whether it sleeps, and every change of that
        self.powers: dict[str, HostPower] = {}
        self.power_changes: list[tuple[str, HostPower]] = []
        #: hosts that claims were made on while they slept
        self.told_to_wake: list[str] = []
        self._lock = threading.RLock()

    # --- what tests put in -----------------------------------------------------------------------

    def add_machine(self, machine: MachineRecord, want: MachineWant) -> None:
        self.machines[machine.id] = machine
        self.wants[machine.id] = want
        self.machine_states[machine.id] = MachineObserved.ABSENT
        self.environments.setdefault(machine.environment_id, EnvironmentState.RESERVED)

    def add_operation(self, operation: OperationRecord) -> None:
        self.operations[operation.id] = operation

    # --- the contract ------------------------------------------------------------------------------

    def operation(self, operation_id: UUID) -> OperationRecord:
        with self._lock:
            return copy.copy(self.operations[operation_id])

    def begin(self, operation_id: UUID, steps: tuple[tuple[str, str], ...]) -> None:
        with self._lock:
            record = self.operations[operation_id]
            if record.state not in TERMINAL:
                known = {step.name: step for step in record.steps}
                rows = tuple(
                    known.get(name, StepRecord(name, StepState.PENDING)) for name, _ in steps
                )
                self.operations[operation_id] = replace(
                    record, state=OperationState.RUNNING, steps=rows
                )

    def step(self, operation_id: UUID, name: str, state: StepState, detail: str = "") -> None:
        with self._lock:
            record = self.operations[operation_id]
            steps = tuple(
                replace(step, state=state, attempt=step.attempt + (state is StepState.RUNNING))
                if step.name == name
                else step
                for step in record.steps
            )
            self.operations[operation_id] = replace(record, steps=steps)

    def progress(self, operation_id: UUID, text: str) -> None:
        self.progresses.append(text)

    def operation_state(
        self,
        operation_id: UUID,
        state: OperationState,
        error: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None:
        with self._lock:
            record = self.operations[operation_id]
            check_transition("operation", record.state, state)
            self.operations[operation_id] = replace(record, state=state)
            if error:
                self.errors[operation_id] = error
            if result is not None:
                self.results[operation_id] = result

    def cancel_requested(self, operation_id: UUID) -> bool:
        return operation_id in self.cancelled

    def ask(self, operation_id: UUID, text: str, answers: Mapping[str, str]) -> None:
        self.questions[operation_id] = (text, answers)
        if self.answers.get(operation_id, "") not in answers:
            self.answers.pop(operation_id, None)
        if self.operations[operation_id].state is OperationState.RUNNING:
            self.operation_state(operation_id, OperationState.WAITING)

    def answer(self, operation_id: UUID) -> str:
        return self.answers.get(operation_id, "")

    def answered(self, operation_id: UUID) -> None:
        self.questions.pop(operation_id, None)
        self.answers.pop(operation_id, None)
        if self.operations[operation_id].state is OperationState.WAITING:
            self.operation_state(operation_id, OperationState.RUNNING)

    def machine(self, machine_id: UUID) -> MachineRecord:
        return self.machines[machine_id]

    def claim(self, machine_id: UUID, operation_id: UUID) -> MachineRecord:
        with self._lock:
            machine = self.machines[machine_id]
            if machine.host is not None:
                return machine
            plan = or_woken(place(self._snapshot(), self.wants[machine_id]))
            if plan.chosen is None or plan.chosen.assignment is None:
                raise StepFailed(f"no host can take it: {plan.explain()}")
            if plan.chosen.wake is not None and not plan.chosen.wake.begun:
                self.told_to_wake.append(plan.chosen.host)
            if machine.network is not None and not self.free_addresses:
                raise StepFailed("the cell has no free address")
            for cpu in plan.chosen.assignment.claimed:
                if (plan.chosen.host, cpu) in self.cpu_claims:
                    raise StepFailed(f"CPU {cpu} of {plan.chosen.host} is claimed already")
                self.cpu_claims[plan.chosen.host, cpu] = machine_id
            address = None
            if machine.network is not None:
                address = self.free_addresses.pop(0)
                self.address_claims[address] = machine_id
            placed = replace(
                machine,
                host=plan.chosen.host,
                assignment=plan.chosen.assignment,
                address=address,
                generation=machine.generation + 1,
            )
            self.machines[machine_id] = placed
            return placed

    def _snapshot(self, hosts: set[str] | None = None) -> Snapshot:
        return Snapshot(
            tuple(
                replace(
                    host,
                    claimed_cpus=frozenset(
                        cpu for name, cpu in self.cpu_claims if name == host.name
                    ),
                    wake=host.wake
                    and replace(
                        host.wake,
                        begun=any(row.host == host.name for row in self.machines.values()),
                    ),
                )
                for host in self.hosts.values()
                if hosts is None or host.name in hosts
            )
        )

    def prepare_move(
        self,
        operation_id: UUID,
        machine_id: UUID,
        destination: str | None,
        *,
        started: GuestCpu | None = None,
        off: bool = False,
    ) -> MoveRecord:
        with self._lock:
            known = self.moves.get(operation_id)
            if known is not None and known.state is not MoveState.UNDONE:
                return known
            machine = self.machines[machine_id]
            if machine.host is None:
                raise StepFailed(f"{machine.domain_name} has no host")
            if off and machine.disk_bytes and not self.shared_storage:
                raise StepFailed(f"its disk lies on {machine.host} alone")
            hosts = {destination} if destination else set(self.hosts)
            want = replace(
                self.wants[machine_id], started=None if started is None else runs_with(started)
            )
            plan = place(self._snapshot(hosts - {machine.host}), want)
            if plan.chosen is None or plan.chosen.assignment is None:
                raise StepFailed(
                    f"no host can take it: {plan.explain() or 'it is where it shall go'}"
                )
            for cpu in plan.chosen.assignment.claimed:
                self.cpu_claims[plan.chosen.host, cpu] = machine_id
            used = [row.generation for row in self.moves.values() if row.machine_id == machine_id]
            move = MoveRecord(
                operation_id,
                machine_id,
                machine.host,
                plan.chosen.host,
                max([machine.generation, *used]) + 1,
                plan.chosen.assignment,
                machine.abilities,
                self.shared_storage,
                off=off,
            )
            self.moves[operation_id] = move
            return move

    def move(self, operation_id: UUID) -> MoveRecord | None:
        return self.moves.get(operation_id)

    def complete_move(
        self,
        operation_id: UUID,
        *,
        elapsed_ms: int | None,
        downtime_ms: int | None,
        transferred_bytes: int | None,
    ) -> None:
        with self._lock:
            move = self.moves[operation_id]
            self._give_back(move.machine_id, move.source)
            self.machines[move.machine_id] = replace(
                self.machines[move.machine_id],
                host=move.destination,
                assignment=move.assignment,
                generation=move.generation,
                abilities=move.abilities,
            )
            self.moves[operation_id] = replace(move, state=MoveState.DONE)

    def undo_move(self, operation_id: UUID, why: str) -> None:
        with self._lock:
            move = self.moves.get(operation_id)
            if move is not None and move.state is MoveState.PREPARED:
                self._give_back(move.machine_id, move.destination)
                self.moves[operation_id] = replace(move, state=MoveState.UNDONE)

    def _give_back(self, machine_id: UUID, host: str) -> None:
        self.cpu_claims = {
            key: who for key, who in self.cpu_claims.items() if (who, key[0]) != (machine_id, host)
        }

    def release(self, machine_id: UUID) -> None:
        with self._lock:
            self.cpu_claims = {
                key: who for key, who in self.cpu_claims.items() if who != machine_id
            }
            for address in [
                address for address, who in self.address_claims.items() if who == machine_id
            ]:
                del self.address_claims[address]
                self.free_addresses.insert(0, address)
            self.machines[machine_id] = replace(
                self.machines[machine_id], host=None, assignment=None, address=None
            )

    def observed(
        self, machine_id: UUID, state: MachineObserved, cause: str, operation_id: UUID
    ) -> None:
        self.machine_states[machine_id] = state

    def shortfalls(self, machine_id: UUID, words: tuple[str, ...]) -> None:
        self.missing[machine_id] = words

    def guest_status(self, machine_id: UUID, status: Mapping[str, Any]) -> None:
        self.statuses[machine_id] = status

    def environment_state(
        self, environment_id: UUID, state: EnvironmentState, reason: str, operation_id: UUID
    ) -> None:
        check_transition("environment", self.environments[environment_id], state)
        self.environments[environment_id] = state

    def bundle(self, program_version_id: UUID) -> tuple[bytes, str] | None:
        program = self.programs[program_version_id]
        return (program.bundle, "") if program.state == "ready" else None

    def program_state(self, program_version_id: UUID) -> tuple[str, str]:
        program = self.programs[program_version_id]
        return program.state, program.error

    def program_sources(self, program_version_id: UUID) -> tuple[str, str, Mapping[str, str]]:
        program = self.programs[program_version_id]
        return program.name, program.version, program.files

    def program_built(self, program_version_id: UUID, built: BuiltProgram) -> None:
        program = self.programs[program_version_id]
        program.state = "ready" if built.ok else "failed"
        program.error, program.bundle = built.error, built.bundle

    def add_program(
        self,
        program_version_id: UUID,
        *,
        files: Mapping[str, str] | None = None,
        bundle: bytes = b"",
    ) -> None:
        """For tests: a program version, compiled already if a bundle is given."""
        state = "ready" if bundle else "queued"
        self.programs[program_version_id] = _Program(files=files or {}, bundle=bundle, state=state)

    def deployment(
        self, machine_id: UUID, program_version_id: UUID, state: str, message: str
    ) -> None:
        row = (machine_id, program_version_id, state)
        if row not in self.deployments:
            self.deployments.append(row)

    def retained_offers(self, operation_id: UUID, machine_id: UUID) -> tuple[RetainedOffer, ...]:
        now = self.machines[machine_id].generation
        return tuple(row for row in self.retained if row.generation < now)

    def retained_outcome(self, operation_id: UUID, note: Mapping[str, Any]) -> None:
        self.outcomes[operation_id] = merged(self.outcomes.get(operation_id, {}), note)

    def config_bundle(self, machine_id: UUID) -> bytes:
        return self.config

    def awaited_host(self, machine_id: UUID, operation_id: UUID) -> AwaitedHost | None:
        with self._lock:
            host = self.machines[machine_id].host
            if host is None:
                raise StepFailed(f"{self.machines[machine_id].domain_name} has no host")
            if self.power(host) is HostPower.AWAKE:
                return None
            if self.hosts[host].left_asleep:
                self.release(machine_id)
                host = str(self.claim(machine_id, operation_id).host)
                if self.power(host) is HostPower.AWAKE:
                    return None
            wake = self.hosts[host].wake
            return AwaitedHost(host, wake.seconds if wake is not None else 0.0)

    def power(self, host: str) -> HostPower:
        with self._lock:
            return self.powers.get(host, HostPower.AWAKE)

    def let_sleep(self, operation_id: UUID, host: str) -> None:
        with self._lock:
            if self.power(host) is HostPower.FALLING_ASLEEP:
                return
            moving = [row for row in self.moves.values() if row.state is MoveState.PREPARED]
            on_it = [row.domain_name for row in self.machines.values() if row.host == host]
            on_it += [
                self.machines[row.machine_id].domain_name
                for row in moving
                if row.destination == host
            ]
            if on_it:
                raise StepFailed(f"{host} is not empty: {', '.join(on_it)}")
            if self.power(host) is not HostPower.AWAKE:
                raise StepFailed(f"{host} is {self.power(host)} already")
            self._set_power(host, HostPower.FALLING_ASLEEP)

    def set_power(self, operation_id: UUID, host: str, power: HostPower, why: str) -> None:
        with self._lock:
            if self.power(host) != power and may_follow("host_power", self.power(host), power):
                self._set_power(host, power)

    def _set_power(self, host: str, power: HostPower) -> None:
        self.powers[host] = power
        self.power_changes.append((host, power))
        if host in self.hosts:
            self.hosts[host] = replace(self.hosts[host], power=power)
