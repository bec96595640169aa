"""`python -m tests.bench.doors.placing [--hosts 1000] [--machines 20000]`: ms of the door that the running plant places by.

`core.placement.place` on a pool as `inventory.snapshot` hands it over: hosts of four kinds of 64 CPUs with two
threads to a core, their machines as sums, one host in twenty cordoned, one in ten with machines that nobody has
measured. For a shared machine, one with soft rules (to twenty hosts and two of fifty racks) and a controller
that wants a core of its own: the plan with its best host and the CPUs there, as whoever starts it reads it, and
with every host's verdict, as the API's preview tells it. The middle and the largest of the rounds, by the process's clock.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.placement import HostSnapshot, MachineWant, Snapshot, place
from millwright.core.topology import Cpu, Topology

GIB = 2**30


def pool(hosts: int, machines: int, seed: int = 1) -> Snapshot:
    """Hosts that are unevenly full; one core in six is free for controllers, and one host in twenty has none."""
    dice = random.Random(seed)  # noqa: S311 - no secret: the same seed makes the same plant
    per_host = machines / hosts
    kinds = [
        Topology.build(
            [
                Cpu(number, node=number // 32, siblings=frozenset({number, number ^ 1}))
                for number in range(64)
            ],
            housekeeping="0-1",
            realtime=f"2-{last}",
            shared=f"{last + 1}-63",
        )
        for last in (19, 25, 31, 37)
    ]
    found = []
    for number in range(hosts):
        topology, count = kinds[number % 4], per_host * dice.uniform(0.7, 1.3)
        cores = sorted(topology.realtime)[::2]
        taken = cores if number % 20 == 1 else dice.sample(cores, len(cores) * 5 // 6)
        found.append(
            HostSnapshot(
                name=f"h{number}",
                health=HostHealth.UP,
                administration=(
                    HostAdministration.SCHEDULABLE if number % 20 else HostAdministration.CORDONED
                ),
                topology=topology,
                memory_bytes=int(16 * GIB * per_host),
                memory_promised_bytes=int(7.5 * GIB * count),
                disk_free_bytes=500 * GIB,
                claimed_cpus=frozenset(cpu for core in taken for cpu in (core, core ^ 1)),
                shared_vcpus=int(4 * count),
                capabilities={"fifo": True, "memory_lock": True},
                accel="kvm",
                cells=frozenset({"line1"}),
                used_ratio=dice.uniform(0.1, 1.1),
                assumed_ratio=0.1 if number % 10 == 3 else 0.0,
                labels={"domain": f"rack{number % 50}"},
            )
        )
    return Snapshot(tuple(found))


def want(*, realtime: bool, soft: bool = False) -> MachineWant:
    """A shared machine, with soft rules or without, or a controller with one control vCPU."""
    return MachineWant(
        name="asked",
        service_class=ServiceClass.REALTIME if realtime else ServiceClass.SHARED,
        vcpus=4,
        memory_bytes=8 * GIB,
        disk_bytes=20 * GIB,
        control_vcpus=(1,) if realtime else (),
        cell="line1",
        soft_hosts={f"h{number}": 0.5 - number % 2 for number in range(20)} if soft else {},
        soft_domains={"rack1": -1.0, "rack2": 1.0} if soft else {},
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.doors.placing", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=101)
    asked = parser.parse_args()
    snapshot = pool(asked.hosts, asked.machines)
    figures: dict[str, list[float]] = {}
    for name, wanted in (
        ("shared", want(realtime=False)),
        ("soft", want(realtime=False, soft=True)),
        ("realtime", want(realtime=True)),
    ):
        best, every = [], []
        for _ in range(asked.rounds):
            begun = time.process_time()
            plan = place(snapshot, wanted)
            if plan.chosen is None or plan.chosen.assignment is None:
                raise SystemExit("no host takes it")
            best.append(time.process_time() - begun)
            plan.as_dict()
            every.append(time.process_time() - begun)
        for key, rows in ((name, best), (f"{name}_every_verdict", every)):
            figures[key] = [round(value * 1e3, 2) for value in (statistics.median(rows), max(rows))]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
