"""`python -m tests.bench.migration [--guests 1] [--rounds 5] [--dirty 16]`: our move of a guest that writes memory, beside virsh's.

A lab of two hosts of its own (root), one tiny guest without a disk whose kernel line has `mw.dirty=MIB`: so many
MiB are written anew each second. In each round the guest goes there and back twice: once each way by our durable
operation (claims, TLS, convergence by the schedule, verified, cleared away), once each way by plain
`virsh migrate --live --persistent --undefinesource` (with `--tls`: encrypted, as ours always is); who begins
changes. Pause and duration are what the destination's libvirt kept of the job, and `wall` what was waited for the
call: for ours the step that moves, for virsh the process. A poller asks over one TCP connection ten times a second, a request of twelve bytes as Modbus
has it, from the cell's engineering station: `lost` is the longest time without an answer, less what passes
between two answers anyway; TCP sends a packet that was lost again after 200 ms at the earliest. `unanswered` is how
many of all requests until then got no answer.

The emulated guest may restart after many moves, whoever moves it: `--guests` has the rounds done with so many, one
after the other, each in a lab of its own. Ratios are of the medians of all, with the interval that nineteen of twenty
samples drawn from the same moves lie in.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from uuid import uuid4

from millwright.core.lifecycle import (
    HostAdministration,
    HostHealth,
    MachineObserved,
    OperationState,
    ServiceClass,
)
from millwright.core.placement import HostSnapshot, MachineWant
from millwright.core.topology import Cpu, Topology
from millwright.hypervisor import Direction, FilterSpec, Flow, MigrationResult, NetworkSpec
from millwright.lab import Lab, LabPlan
from millwright.operations import (
    SAGAS,
    Engine,
    ImageFiles,
    MachineRecord,
    OperationRecord,
    Ports,
)
from millwright.operations.memory import MemoryStore
from millwright.operations.volumes import filter_name
from millwright.orchestrator.hosts import Hosts

from tests.support.lab import CACHE, lab_of_its_own
from tests.support.operations import Builder, Prober
from vmtemplates import build_image, load_templates

MIB = 2**20
PORT, EVERY_S = 7, 0.1
#: A read of one register, as Modbus TCP has it; the guest sends back what it gets.
REQUEST = bytes.fromhex("000100000006010300000001")


class Clock:
    """Real time."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class Poller:
    """Asks ten times a second whatever was answered, and keeps when answers came."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answers: list[float] = []
        self.asked = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wire: socket.socket | None = None

    def begin(self, limit_s: float) -> None:
        """Wait until the guest answers, then go on asking."""
        end = time.monotonic() + limit_s
        while True:
            try:
                self._wire = socket.create_connection((self._address, PORT), timeout=5.0)
                self._wire.sendall(REQUEST)
                if self._wire.recv(len(REQUEST)):
                    break
            except OSError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.5)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire.settimeout(60.0)
        for work in (self._ask, self._listen):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()

    def _ask(self) -> None:
        assert self._wire is not None
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            with suppress(OSError):
                self._wire.sendall(REQUEST)
                self.asked += 1
            due = max(due + EVERY_S, time.monotonic())

    def _listen(self) -> None:
        assert self._wire is not None
        got = 0
        with suppress(OSError):
            while not self._over.is_set() and (data := self._wire.recv(4096)):
                got += len(data)
                whole, got = divmod(got, len(REQUEST))
                self.answers += [time.monotonic()] * whole

    def unanswered(self, limit_s: float) -> int:
        """Of all that was asked until now, how much gets no answer in this time."""
        asked, end = self.asked, time.monotonic() + limit_s
        while len(self.answers) < asked and time.monotonic() < end:
            time.sleep(0.05)
        return max(0, asked - len(self.answers))

    def lost_s(self, begin: float, end: float) -> float:
        """The longest silence that touches this span, less one period."""
        times = [begin, *(at for at in list(self.answers) if begin <= at <= end), end]
        return max(0.0, max(b - a for a, b in pairwise(times)) - EVERY_S)

    def close(self) -> None:
        self._over.set()
        if self._wire is not None:
            with suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)
            self._wire.close()
        for thread in self._threads:
            thread.join(5.0)


@dataclass
class Guest:
    """The machine, what knows of it, and its hosts."""

    lab: Lab
    plan: LabPlan
    hosts: Hosts
    store: MemoryStore
    ports: Ports
    machine: MachineRecord
    took: dict[str, float]
    #: what virsh is told beside: to encrypt what it sends, as ours always does; over several connections
    virsh_options: tuple[str, ...] = ()

    def operation(self, kind: str, **payload: Any) -> OperationRecord:
        row = OperationRecord(
            uuid4(), kind, OperationState.QUEUED, self.machine.id, self.machine.environment_id, 1, payload
        )  # fmt: skip
        self.store.add_operation(row)
        state = Engine(self.ports).run(row.id)
        if state is not OperationState.SUCCEEDED:
            raise SystemExit(f"{kind}: {state}: {self.store.errors.get(row.id)}")
        return row

    def ours(self, there: str) -> float:
        """Seconds of the step that moves."""
        self.operation("migrate", destination=there)
        return self.took["move"]

    def virsh(self, here: str, there: str) -> float:
        """Seconds of the process. What a move needs over there is there already."""
        # Ours clears its source away; a plain migration wants the filter and the network to be there.
        self.hosts.get(there).ensure_network(
            NetworkSpec(name=self.machine.network, bridge=self.machine.bridge)
        )
        self.hosts.get(there).ensure_filter(
            FilterSpec(name=filter_name(self.machine), flows=self.machine.flows)
        )
        uris = [self.lab.uri(self.lab.host(name)) for name in (here, there)]
        begun = time.monotonic()
        subprocess.run(
            ["virsh", "-q", "-c", uris[0], "migrate", "--live", "--persistent", "--undefinesource",
             *self.virsh_options, self.machine.domain_name, uris[1]],
            check=True, timeout=600, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        took = time.monotonic() - begun
        known = self.store.machines[self.machine.id]
        self.store.machines[self.machine.id] = replace(known, host=there)
        return took

    def kept(self, there: str) -> MigrationResult:
        found = self.hosts.get(there).migrated(self.machine.id)
        assert found is not None
        return found


def _snapshot(name: str) -> HostSnapshot:
    return HostSnapshot(
        name=name,
        health=HostHealth.UP,
        administration=HostAdministration.SCHEDULABLE,
        topology=Topology.build([Cpu(0)], housekeeping="0", realtime="", shared="0"),
        memory_bytes=2**33,
        memory_promised_bytes=0,
        disk_free_bytes=2**36,
        best_effort=True,
        cells=frozenset({"line1"}),
    )


@contextmanager
def guest(lab: Lab, dirty: int) -> Iterator[Guest]:
    """A guest on the lab's first host, built as the product builds one."""
    plan = lab.plan()
    image = build_image(load_templates()["tiny"], CACHE / "images")
    site, ident, environment = "bench", uuid4(), uuid4()
    names = [host.name for host in plan.hosts]
    hosts = Hosts(site)
    hosts.sync({host.name: lab.uri(host) for host in plan.hosts})
    store = MemoryStore(tuple(map(_snapshot, names)), (plan.cell_address(100),))
    size = 192 * MIB
    machine = MachineRecord(
        id=ident, name="tiny", domain_name="mw-bench-tiny", environment_id=environment,
        environment="bench", site=site, service_class=str(ServiceClass.SHARED), generation=0,
        autostart=False, vcpus=1, control_vcpus=(), memory_bytes=size, disk_bytes=0, host=None,
        assignment=None, address=None, mac="52:54:00:be:0c:01", network="mw-cell-line1",
        bridge=plan.host_cell_bridge, prefix_length=24, route=None,
        flows=(Flow(direction=Direction.INBOUND, peer=plan.cell_address(1), port=PORT),),
        abilities=frozenset(),
        image=ImageFiles(image.name, image.kernel, image.initrd,
                         cmdline=f"{image.cmdline} mw.dirty={dirty}"),
        outputs={}, health={"probe": "none"}, credentials={},
    )  # fmt: skip
    store.add_machine(
        machine,
        MachineWant(name="tiny", service_class=ServiceClass.SHARED, vcpus=1, control_vcpus=(),
                    memory_bytes=size, disk_bytes=0, cell="line1"),
    )  # fmt: skip
    took: dict[str, float] = {}
    saga = SAGAS["migrate"]

    def timed(step: Any) -> Any:
        def do(context: Any) -> Any:
            begun = time.monotonic()
            said = step.do(context)
            took[step.name] = time.monotonic() - begun
            return said

        return replace(step, do=do)

    SAGAS["migrate"] = replace(saga, steps=tuple(map(timed, saga.steps)))
    ports = Ports(store, hosts, Clock(), Prober(), Builder())
    made = Guest(lab, plan, hosts, store, ports, machine, took)
    try:
        made.operation("provision")
        assert store.machine_states[ident] is MachineObserved.RUNNING
        yield made
    finally:
        SAGAS["migrate"] = saga
        for name in names:
            with suppress(Exception):
                hosts.get(name).destroy(ident)
                hosts.get(name).undefine(ident)
        hosts.close()


def measure(made: Guest, poller: Poller, who: str, settle_s: float) -> dict[str, float]:
    """One migration to the other host."""
    here = made.store.machines[made.machine.id].host
    there = next(host.name for host in made.plan.hosts if host.name != here)
    assert here is not None
    time.sleep(settle_s)
    begun = time.monotonic()
    wall = made.ours(there) if who == "ours" else made.virsh(here, there)
    time.sleep(settle_s)
    ended = time.monotonic()
    kept = made.kept(there)
    lost = poller.lost_s(begun, ended)
    return {
        "wall_s": round(wall, 3),
        "job_s": round(kept.elapsed_ms / 1000, 3),
        "downtime_ms": kept.downtime_ms if kept.downtime_ms is not None else -1,
        "lost_ms": round(lost * 1000),
        "unanswered": poller.unanswered(15.0),
        "mib": round((kept.transferred_bytes or 0) / MIB, 1),
    }


def ratios(rows: dict[str, list[dict[str, float]]]) -> dict[str, list[float]]:
    """Ours by virsh's: of the medians, and from where to where it goes in samples drawn anew."""
    draw, found = random.Random(1), {}  # noqa: S311 - no secret is drawn
    for key in ("wall_s", "job_s", "downtime_ms"):
        ours, theirs = ([row[key] for row in rows[who]] for who in ("ours", "virsh"))

        def ratio(one: list[float], other: list[float]) -> float:
            return statistics.median(one) / max(1e-9, statistics.median(other))

        drawn = sorted(
            ratio(draw.choices(ours, k=len(ours)), draw.choices(theirs, k=len(theirs)))
            for _ in range(2000)
        )
        found[key] = [round(part, 2) for part in (ratio(ours, theirs), drawn[50], drawn[-51])]
    return found


def rounds(asked: argparse.Namespace, rows: dict[str, list[dict[str, float]]]) -> None:
    """One guest's."""
    with lab_of_its_own() as lab:
        lab.up(2)
        with guest(lab, asked.dirty) as made:
            poller = Poller(made.store.machines[made.machine.id].address or "")
            poller.begin(180.0)
            made.virsh_options = ("--tls",) if asked.tls else ()
            if asked.parallel:
                several = ("--parallel", "--parallel-connections", str(asked.parallel))
                made.virsh_options += several
            try:
                # There and back once: both hosts have the image then, which a plain migration does not bring.
                for name in (made.plan.hosts[1].name, made.plan.hosts[0].name):
                    made.ours(name)
                for number in range(asked.rounds):
                    # Each goes each way once a round.
                    turn = ("ours", "virsh") if number % 2 else ("virsh", "ours")
                    for who in (*turn, *reversed(turn)):
                        row = measure(made, poller, who, asked.settle)
                        rows[who].append(row)
                        print(json.dumps({"who": who, **row}), flush=True)
            finally:
                poller.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="tests.bench.migration", description=__doc__)
    parser.add_argument("--guests", type=int, default=1, help="so many, one after the other")
    parser.add_argument("--rounds", type=int, default=5, help="with each guest")
    parser.add_argument("--dirty", type=int, default=16, help="MiB written each second")
    parser.add_argument(
        "--tls",
        action="store_true",
        help="let virsh encrypt the guest's memory too, as ours always does",
    )
    parser.add_argument(
        "--parallel", type=int, default=0, help="let virsh send over so many connections; 0: one"
    )
    parser.add_argument("--settle", type=float, default=3.0, help="seconds before and after a move")
    asked = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "virsh": []}
    for _ in range(asked.guests):
        rounds(asked, rows)
    middle = {
        who: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for who, found in rows.items()
    }
    print(
        json.dumps(
            {
                "moves_each": len(rows["ours"]),
                "median": middle,
                "ratio": ratios(rows),
                "wanted": 1.1,
            }
        )
    )


if __name__ == "__main__":
    main()
