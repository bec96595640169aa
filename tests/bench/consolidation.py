"""Hosts that sleep at night, on generated weeks in virtual time: `python -m tests.bench.consolidation [SEED]`;
`large`: the time of one decision at 1,000 hosts and 20,000 machines.

Twelve hosts and 72 machines; two weeks are remembered, four are played, a round each half hour: an office shift, CAE
nights, a Monday peak, one holiday and one day on which everybody calculates unforeseen. The decision's moves are made
at once and hosts wake within a round. Best by hindsight: in each hour as few hosts awake as its demand with the same
headroom, the hosts kept awake and N+1 want, changed at no cost. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

from millwright.core.balancing import (
    Demand,
    Forecast,
    Host,
    HostState,
    Hour,
    Mode,
    Plant,
    Settings,
    Sleeper,
    SleepSettings,
    Vm,
    after,
    consolidate,
    failure_capacity,
    forecast,
)

GIB = 2**30
STEP, HOUR, BEGIN = timedelta(minutes=30), timedelta(hours=1), datetime(2026, 5, 4)
HOSTS, MACHINES, CPUS, WEEKS, KNOWN = 12, 72, 16.0, 6, 2


def wanted(at: datetime, dice: random.Random) -> float:
    """CPUs that all machines together want."""
    day = (at - BEGIN).days
    office = at.weekday() < 5 and 6 <= at.hour < 18 and day != 24
    cpus = 100.0 if office else 25.0
    if office and at.weekday() == 0 and 8 <= at.hour < 10:
        cpus = 140.0
    if at.weekday() in (1, 3) and (at.hour >= 20 or at.hour < 2):
        cpus += 45.0
    if day == 30 and 2 <= at.hour < 4:
        cpus = 120.0
    return cpus * dice.uniform(0.9, 1.0)


def main(seed: int) -> dict[str, float]:
    """The figures of one run."""
    dice = random.Random(seed)  # noqa: S311 - generated load, no secret
    hours = [BEGIN + n * HOUR for n in range(WEEKS * 168)]
    demand = {at: wanted(at, dice) for at in hours}
    hosts = tuple(Host(f"h{n:02}", cpus=CPUS, memory_bytes=96 * GIB) for n in range(HOSTS))
    vms = tuple(
        Vm(f"m{n:02}", vcpus=4, memory_bytes=6 * GIB, host=f"h{n % HOSTS:02}")
        for n in range(MACHINES)
    )
    plant = Plant(hosts, vms, settings=Settings(mode=Mode.AUTOMATIC, spare_hosts=1))
    memory = float(sum(vm.memory_bytes for vm in vms))
    past = [Hour(at, Demand(demand[at], memory)) for at in hours]
    told = SleepSettings()
    since: dict[str, datetime] = {}
    until: dict[str, datetime] = {}
    sums = dict.fromkeys(
        ("asleep", "best", "short", "short_all", "not_spared", "moves", "sleeps"), 0.0
    )
    now = BEGIN + timedelta(weeks=KNOWN)
    while now < BEGIN + timedelta(weeks=WEEKS):
        at = now.replace(minute=0)
        cpus = demand[at]
        each = cpus / MACHINES
        plant = replace(
            plant,
            vms=tuple(
                replace(vm, demand_short=each, demand_long=each, demand_peak=each)
                for vm in plant.vms
            ),
        )
        expected = forecast(past[: (at - BEGIN) // HOUR], now, Demand(cpus, memory))
        sleepers = [
            Sleeper(host.name, since=since.get(host.name), until=until.get(host.name))
            for host in hosts
        ]
        made = consolidate(plant, sleepers, expected, now, told)
        states: dict[str, HostState] = {}
        # What wakes serves from the next round on: this half hour counts without it.
        awake = sum(host.state is HostState.UP for host in plant.hosts)
        sums["short"] += max(0.0, cpus - awake * CPUS) > 0
        sums["short_all"] += cpus > HOSTS * CPUS
        for order in made.wake:
            states[order.host], since[order.host] = HostState.UP, now
            until.pop(order.host, None)
        if made.empty is not None:
            plant = after(plant, made.empty.moves)
            sums["moves"] += len(made.empty.moves)
        if made.sleep is not None:
            states[made.sleep.host], since[made.sleep.host] = HostState.ASLEEP, now
            if made.sleep.until is not None:
                until[made.sleep.host] = made.sleep.until
            sums["sleeps"] += 1
        plant = replace(
            plant,
            hosts=tuple(replace(h, state=states.get(h.name, h.state)) for h in plant.hosts),
        )
        if states and not failure_capacity(plant, 1).ok:
            sums["not_spared"] += 1
        more = 1 + told.headroom_ratio
        need = max(told.keep_awake, -(-cpus * more // CPUS), -(-memory // (96 * GIB)) + 1)
        sums["best"] += max(0.0, HOSTS - need) / 2
        sums["asleep"] += sum(h.state is HostState.ASLEEP for h in plant.hosts) / 2
        now += STEP
    return {
        "host_hours_asleep": sums["asleep"],
        "of_best_by_hindsight": round(sums["asleep"] / sums["best"], 3),
        "of_all": round(sums["asleep"] / (HOSTS * 168 * (WEEKS - KNOWN)), 3),
        "half_hours_short": sums["short"],
        "half_hours_short_all_awake": sums["short_all"],
        "changes_without_spare": sums["not_spared"],
        "moves": sums["moves"],
        "sleeps": sums["sleeps"],
    }


def large() -> dict[str, float]:
    """Seconds of the processor for one decision at 1,000 hosts and 20,000 machines, after a first one."""
    from .doors.__main__ import pool

    plant = pool(1000, 20_000)
    told = replace(plant.settings, spare_hosts=1, mode=Mode.AUTOMATIC, moves_running=0)
    plant = replace(plant, settings=told)
    now = BEGIN + timedelta(hours=19, minutes=20)
    expected = Forecast(now.replace(minute=0), (Demand(1000.0, 2.0**40),) * 72)
    sleepers = [Sleeper(host.name) for host in plant.hosts]
    seconds = 0.0
    for _ in range(2):
        began = time.process_time()
        made = consolidate(plant, sleepers, expected, now, SleepSettings())
        seconds = time.process_time() - began
    moves = len(made.empty.moves) if made.empty is not None else 0
    return {"seconds": round(seconds, 2), "moves": moves}


if __name__ == "__main__":
    if sys.argv[1:] == ["large"]:
        print(json.dumps(large()))
        sys.exit()
    print(json.dumps(main(int(sys.argv[1]) if sys.argv[1:] else 1)))
