"""The part of a scenario in which hosts sleep: `sleep` of its plant.yaml, and the commands that go with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from millwright.core.balancing import (
    Coming,
    Consolidation,
    Demand,
    HostState,
    Hour,
    Plant,
    Sleeper,
    SleepSettings,
    consolidate,
    forecast,
    from_calendar,
    say,
)

DAY = timedelta(days=1)


class Night:
    """What is known of how hosts sleep while a scenario is played: history, power, what is to come."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.settings = SleepSettings(**told.get("settings", {}))
        self.hosts: dict[str, dict[str, Any]] = told.get("hosts", {})
        self.weeks = float(told.get("weeks", 2))
        self.usual = told.get("usual", {"cpus": 0, "memory": 0})
        self.lines: list[dict[str, Any]] = told.get("hours", [])
        self.since: dict[str, datetime] = {}
        self.until: dict[str, datetime] = {}
        self.awake_at: dict[str, datetime] = {}
        self.coming: list[Coming] = []
        self.wanted: dict[str, str] = {}
        self.asleep_s = 0.0

    def usually(self, at: datetime) -> Demand:
        """What that hour of the week has wanted in each week so far."""
        row = dict(self.usual)
        for line in self.lines:
            if at.weekday() in line["days"] and line["from"] <= at.hour < line["to"]:
                row.update({key: line[key] for key in ("cpus", "memory") if key in line})
        return Demand(float(row["cpus"]), float(row["memory"]))

    def decide(self, plant: Plant, now: datetime) -> Consolidation:
        """One round, on what the machines of the plant want now and what earlier weeks wanted."""
        first = now.replace(minute=0, second=0)
        hours = int(self.weeks * 7 * 24)
        past = [
            Hour(at, self.usually(at))
            for at in (first - timedelta(hours=number) for number in range(1, hours + 1))
        ]
        placed = [vm for vm in plant.vms if vm.host is not None]
        measured = Demand(
            sum(vm.demand_long for vm in placed), float(sum(vm.memory_bytes for vm in placed))
        )
        expected = forecast(
            past, now, measured, [*self.coming, *from_calendar(plant.calendar, now)]
        )
        sleepers = [
            Sleeper(
                name,
                wake_s=float(told.get("wake_s", 180)),
                watts=float(told.get("watts", 0)),
                since=self.since.get(name),
                until=self.until.get(name),
            )
            for name, told in self.hosts.items()
        ]
        wanted = {name: say("consolidate.wanted", name=who) for name, who in self.wanted.items()}
        return consolidate(
            plant, sleepers, expected, now, self.settings, wanted=wanted, waking=self.awake_at
        )

    def woken(self, plant: Plant, now: datetime) -> Plant:
        """Those whose time has come are up."""
        for name in [name for name, at in self.awake_at.items() if at <= now]:
            del self.awake_at[name]
            self.since[name] = now
            plant = set_state(plant, name, HostState.UP)
        return plant

    def wake(self, name: str, now: datetime) -> None:
        self.until.pop(name, None)
        self.wanted.pop(name, None)
        self.awake_at[name] = now + timedelta(seconds=float(self.hosts[name].get("wake_s", 180)))

    def sleep(self, plant: Plant, name: str, now: datetime, until: datetime | None) -> Plant:
        self.since[name] = now
        if until is not None:
            self.until[name] = until
        return set_state(plant, name, HostState.ASLEEP)


def set_state(plant: Plant, name: str, state: HostState) -> Plant:
    return replace(
        plant,
        hosts=tuple(replace(h, state=state) if h.name == name else h for h in plant.hosts),
    )
