"""A world for operations: fake hosts, a store in memory, a prober and a builder that obey."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from millwright.core.lifecycle import (
    HostAdministration,
    HostHealth,
    OperationState,
    ServiceClass,
)
from millwright.core.placement import HostSnapshot, MachineWant
from millwright.core.topology import Cpu, Topology
from millwright.hypervisor import Direction, Flow
from millwright.hypervisor.fake import FakeLoad, FakePool
from millwright.operations import (
    SAGAS,
    BuiltProgram,
    Engine,
    ImageFiles,
    MachineRecord,
    OperationRecord,
    Ports,
)
from millwright.operations.errors import StepFailed
from millwright.operations.memory import MemoryStore

GIB = 2**30


class Prober:
    """Answers as long as nobody says otherwise."""

    def __init__(self) -> None:
        self.problem: str | None = None

    def answers(self, kind: str, address: str, port: int) -> str | None:
        return self.problem


class Builder:
    """Compiles everything but the word "wrong"."""

    def build(self, name: str, version: str, files: Mapping[str, str]) -> BuiltProgram:
        if any("wrong" in text for text in files.values()):
            return BuiltProgram(
                ok=False, diagnostics=({"line": 1, "message": "wrong"},), error="1 error"
            )
        return BuiltProgram(ok=True, bundle=b"bundle of " + name.encode())


def image(folder: Path) -> ImageFiles:
    """A template image of three small files."""
    files = {}
    for name in ("kernel", "initrd", "disk"):
        path = folder / name
        path.write_bytes(name.encode() * 100)
        files[name] = (path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    return ImageFiles(
        "vplc-1", files["kernel"], files["initrd"], files["disk"], disk_virtual_bytes=GIB
    )


def host(name: str, *, realtime: str = "1") -> HostSnapshot:
    """A host as the planner sees it."""
    return HostSnapshot(
        name=name,
        health=HostHealth.UP,
        administration=HostAdministration.SCHEDULABLE,
        topology=Topology.build([Cpu(0), Cpu(1)], housekeeping="0", realtime=realtime, shared="0"),
        memory_bytes=8 * GIB,
        memory_promised_bytes=0,
        disk_free_bytes=100 * GIB,
        best_effort=True,
        cells=frozenset({"line1"}),
    )


@dataclass
class World:
    """Everything together."""

    pool: FakePool
    store: MemoryStore
    prober: Prober
    ports: Ports
    machine: UUID
    environment: UUID
    program: UUID
    operations: list[UUID] = field(default_factory=list)

    def operation(self, kind: str, **payload: Any) -> UUID:
        record = OperationRecord(
            uuid4(), kind, OperationState.QUEUED, self.machine, self.environment, 1, payload
        )
        self.store.add_operation(record)
        self.operations.append(record.id)
        return record.id

    def engine(self) -> Engine:
        """A fresh engine, as a restarted orchestrator has."""
        return Engine(self.ports)

    def provisioned(self) -> None:
        assert self.engine().run(self.operation("provision")) is OperationState.SUCCEEDED

    def counts(self) -> dict[str, int]:
        """What exists for the machine, over all hosts."""
        made: dict[str, int] = {"domains": 0, "overlays": 0, "filters": 0}
        for fake in self.pool:
            made["domains"] += sum(1 for row in fake.bulk_state() if row.uuid == self.machine)
            made["overlays"] += sum(
                1 for row in fake.list_volumes("default") if row.owner is not None
            )
            made["filters"] += len(fake._filters)
        made["addresses"] = len(self.store.address_claims)
        made["cpus"] = len(self.store.cpu_claims)
        return made


def world(folder: Path, *, second: str = "", load: FakeLoad | None = None) -> World:
    """Two fake hosts and one machine to build. `second`: realtime CPUs of the second host."""
    pool = FakePool(site="plant")
    for name in ("h1", "h2"):
        pool.add_host(name, cpus=2).load = load
    store = MemoryStore((host("h1"), host("h2", realtime=second)), ("10.90.1.100", "10.90.1.101"))
    machine, environment, program = uuid4(), uuid4(), uuid4()
    record = MachineRecord(
        id=machine,
        name="vplc",
        domain_name="mw-line-vplc",
        environment_id=environment,
        environment="line",
        site="plant",
        service_class="realtime",
        generation=0,
        autostart=True,
        vcpus=2,
        control_vcpus=(1,),
        memory_bytes=GIB // 2,
        disk_bytes=2 * GIB,
        host=None,
        assignment=None,
        address=None,
        mac="52:54:00:00:00:01",
        network="mw-cell-line1",
        bridge="mwc-line1",
        prefix_length=24,
        route="10.90.1.1",
        flows=(Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=502),),
        abilities=frozenset({"fifo"}),
        image=image(folder),
        outputs={"modbus": 502, "opcua": 4840, "metrics": 9400},
        health={"probe": "modbus"},
        credentials={"vplc.identity": "{}"},
    )
    want = MachineWant(
        name="vplc",
        service_class=ServiceClass.REALTIME,
        vcpus=2,
        control_vcpus=(1,),
        memory_bytes=GIB // 2,
        disk_bytes=2 * GIB,
        cell="line1",
    )
    store.add_machine(record, want)
    store.add_program(program, bundle=b"a bundle")
    prober = Prober()

    class Hosts:
        def get(self, name: str) -> Any:
            return pool.host(name)

    ports = Ports(store, Hosts(), pool.clock, prober, Builder())
    return World(pool, store, prober, ports, machine, environment, program)


def fail_at(patch: pytest.MonkeyPatch, kind: str, step: str, effect: str) -> None:
    """Let a step of that kind of operation fail, before or after what it does."""
    saga = SAGAS[kind]

    def failing(context: Any) -> str:
        if effect == "after":
            saga.step(step).do(context)
        raise StepFailed(f"{step} failed")

    steps = tuple(replace(row, do=failing) if row.name == step else row for row in saga.steps)
    patch.setitem(SAGAS, kind, replace(saga, steps=steps))
