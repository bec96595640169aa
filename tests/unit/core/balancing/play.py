"""Plays a scenario folder in virtual time: `plant.yaml`, `commands.txt` → the log that `expected.log` holds.

`python tests/unit/core/balancing/play.py [NAME…]` writes the expected logs anew; read what changed before
it is committed. The commands are in scenarios/README.md. Every plan that is carried out goes through an
order of moves, and the independent checker looks at each moment of it and at the plant afterwards.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from millwright.core.balancing import (
    BalanceState,
    Coming,
    Demand,
    HostState,
    Mode,
    Move,
    Plant,
    Refusal,
    Schedule,
    Vm,
    Why,
    admit,
    after,
    allotments,
    at,
    balance,
    capacity,
    drain,
    explain,
    failure_capacity,
    order,
    parts_of,
    read_plant,
    recover,
    replan,
    rolling_drain,
    verify,
    violations,
)

# Run by itself it is no part of a package.
if __package__:
    from .play_sleep import Night
else:
    from play_sleep import Night

FOLDER = Path(__file__).parent / "scenarios"
ROUND = timedelta(minutes=5)
_UNITS = {"GiB": 2**30, "MiB": 2**20}


def _plain(value: Any) -> Any:
    """Sizes like 8GiB as bytes."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, str) and value[-3:] in _UNITS and value[:-3].isdigit():
        return int(value[:-3]) * _UNITS[value[-3:]]
    return value


def read(path: Path) -> Plant:
    """A plant from YAML; `defaults` holds what every host and machine has that says nothing else."""
    data = _plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    data.pop("sleep", None)
    defaults = data.pop("defaults", {})
    data["hosts"] = [defaults.get("host", {}) | row for row in data["hosts"]]
    data["vms"] = [defaults.get("vm", {}) | row for row in data.get("vms", [])]
    return read_plant(data)


class Player:
    """One scenario while it is played: the plant, the clock, the last plan, the log."""

    def __init__(self, plant: Plant, night: Night | None = None) -> None:
        self.plant = plant
        self.night = night or Night({})
        self.now = datetime(2026, 5, 4, 6)  # a Monday
        self.state = BalanceState()
        self.plan: tuple[Move, ...] = ()
        self.schedule = Schedule((), (), 0.0, 0.0)
        self.log: list[str] = []

    def say(self, text: str) -> None:
        self.log.append(f"{self.now:%a %H:%M}  {text}")

    def refused(self, refusals: Iterable[Refusal]) -> None:
        for entry in refusals:
            self.say(f"  not: {entry.text} [{', '.join(entry.codes)}]")

    def run(self, line: str) -> None:
        """One command."""
        name, *words = shlex.split(line)
        command: Callable[..., None] = getattr(self, f"do_{name}")
        self.say(f"> {line}")
        command(*words)

    # -- the plant changes ---------------------------------------------------

    def change(self, name: str, **fields: Any) -> None:
        """New fields of a machine or a host."""
        known = {entry.name for entry in (*self.plant.vms, *self.plant.hosts)}
        if name not in known:
            raise KeyError(name)
        self.plant = replace(
            self.plant,
            vms=tuple(replace(vm, **fields) if vm.name == name else vm for vm in self.plant.vms),
            hosts=tuple(replace(h, **fields) if h.name == name else h for h in self.plant.hosts),
        )

    def do_clock(self, text: str) -> None:
        self.now = datetime.fromisoformat(text)

    def do_load(self, name: str, cores: str, peak: str = "") -> None:
        wanted = float(cores)
        worst = float(peak) if peak else wanted
        self.change(name, demand_short=wanted, demand_long=wanted, demand_peak=worst)

    def do_burst(self, name: str, cores: str) -> None:
        """Only the short average."""
        self.change(name, demand_short=float(cores))

    def do_memory(self, name: str, size: str) -> None:
        """What the guest uses of its memory from now on."""
        self.change(name, memory_active_bytes=int(_plain(size)))

    def do_host(self, name: str, state: str) -> None:
        self.change(name, state=HostState(state))

    def do_mode(self, mode: str) -> None:
        self.do_setting("mode", mode)

    def do_setting(self, name: str, value: str) -> None:
        new: Any = (
            Mode(value) if name == "mode" else type(getattr(self.plant.settings, name))(value)
        )
        self.plant = replace(self.plant, settings=replace(self.plant.settings, **{name: new}))

    # -- questions -----------------------------------------------------------

    def do_round(self, count: str = "1") -> None:
        for _ in range(int(count)):
            made = balance(self.plant, self.state, self.now)
            for broken in made.violations:
                self.say(f"  broken: {broken.text}")
            self.moves(made.moves)
            for circle in made.circles:
                self.say(f"  as one, {circle.mode}: {circle.text}")
                for leg in circle.legs:
                    word = " over a third host" if leg.detour else ""
                    self.say(
                        f"    {leg.start_s:.0f}-{leg.end_s:.0f} s: "
                        f"{leg.vm} {leg.source} → {leg.target}{word}"
                    )
            self.refused(made.refused)
            self.say(
                f"  round {made.state.number}: {len(made.moves)} moves, highest "
                f"{made.before.highest:.0%} → {made.after.highest:.0%}, contended "
                f"{made.before.contended:.2f} → {made.after.contended:.2f} cores"
            )
            self.state = made.state
            self.plan = tuple(move for move in made.moves if move.mode is not Mode.AUTOMATIC)
            self.carry_out([move for move in made.moves if move.mode is Mode.AUTOMATIC])
            self.now += ROUND

    def do_approve(self) -> None:
        """A person approves what was recommended last."""
        wanted = [move for move in self.plan if move.mode is Mode.RECOMMEND]
        self.state = self.state.record(tuple(wanted))
        self.carry_out(wanted)

    def do_drain(self, *hosts: str) -> None:
        made = drain(at(self.plant, self.now), hosts)
        self.moves(made.moves)
        self.refused(made.blockers)
        self.say(f"  {'possible' if made.possible else 'not possible'}, {made.seconds:.0f} s")
        self.plan = made.moves

    def do_go(self) -> None:
        """Carry out the last plan as a whole."""
        self.carry_out(self.plan)

    def do_rolling(self, work: str) -> None:
        made = rolling_drain(at(self.plant, self.now), float(work))
        for turn in made.drains:
            self.say(f"  {', '.join(turn.hosts)}: {len(turn.moves)} moves, {turn.seconds:.0f} s")
            self.refused(turn.blockers)
        self.say(f"  in all {made.seconds:.0f} s, blocked: {', '.join(made.blocked) or '-'}")

    def do_spare(self, k: str, what: str = "hosts") -> None:
        made = failure_capacity(self.plant, int(k), domains=what == "domains")
        self.say(f"  any {k} {what} may die: {'yes' if made.ok else 'no'} ({made.checked} tried)")
        for broken in made.broken:
            self.say(f"  without {', '.join(broken.hosts)}:")
            self.refused(broken.left)

    def do_recover(self, *words: str) -> None:
        lost = [word for word in words if word != "gone"]
        made = recover(self.plant, lost, lost if "gone" in words else ())
        for entry in made.restarts:
            self.say(f"  wave {entry.wave}: {entry.vm} {entry.text}")
        self.refused((*made.waiting, *made.left))
        for entry in made.restarts:
            self.change(entry.vm, host=entry.target, node=entry.node)
        self.check()

    def do_admit(self, name: str, *fields: str) -> None:
        """A new machine, like `like` where that is said, with fields as name=value."""
        given = dict(entry.split("=", 1) for entry in fields)
        k = int(given.pop("k", 0))
        like = next((vm for vm in self.plant.vms if vm.name == given.pop("like", "")), None)
        values = {key: yaml.safe_load(text) for key, text in given.items()}
        row = _plain({"name": name, "vcpus": 1, "memory_bytes": "1GiB"} | values)
        fresh = read_plant({"hosts": [], "vms": [row]}).vms[0]
        fresh = replace(like, name=name) if like else fresh
        made = admit(self.plant, [fresh], k)
        for entry in made.placed:
            self.say(f"  {entry.vm} → {entry.host or 'nowhere'}")
            for answer in entry.answers:
                if not answer.accepted:
                    self.say(f"    {answer.host}: {'; '.join(answer.texts)}")
        if made.spare is not None:
            self.say(f"  any {k} hosts may die then: {'yes' if made.spare.ok else 'no'}")
        if made.ok:
            placed = made.placed[0]
            self.plant = replace(
                self.plant,
                vms=(*self.plant.vms, replace(fresh, host=placed.host, node=placed.node)),
            )
            self.check()

    def do_capacity(self, like: str, growth: str = "0", k: str = "0") -> None:
        template: Vm = next(vm for vm in self.plant.vms if vm.name == like)
        made = capacity(self.plant, template, float(growth), int(k))
        limits = ", ".join(f"{name} ({count})" for name, count in made.limited_by.items())
        days = "-" if made.days_left is None else f"{made.days_left:.0f}"
        self.say(
            f"  {made.fits} fit, limited by {limits or '-'}; days left {days}; "
            f"with one more host {made.with_one_more}"
        )

    def do_why(self, name: str) -> None:
        made = explain(at(self.plant, self.now), name, self.state)
        self.say(f"  {made.text}")
        self.refused(made.holds)
        for answer in made.answers:
            if not answer.accepted:
                self.say(f"    {answer.host}: {', '.join(answer.codes)}")

    def do_weights(self) -> None:
        for name, given in sorted(allotments(at(self.plant, self.now)).items()):
            quota = "-" if given.cpu_quota is None else f"{given.cpu_quota:g}"
            size = given.balloon_bytes // 2**20
            self.say(f"  {name}: weight {given.cpu_weight}, quota {quota}, balloon {size} MiB")

    def do_move(self, *ways: str) -> None:
        """Moves as a person asks for them, each as machine:host."""
        here = {vm.name: vm.host for vm in self.plant.vms}
        self.plan = tuple(
            Move(name, str(here[name]), target, Why.ASKED, "", 0.0)
            for name, _, target in (way.partition(":") for way in ways)
        )
        self.schedule = order(self.plant, self.plan)
        self.legs(self.schedule)

    def do_fail(self, name: str) -> None:
        """The migration of a machine fails; those that began before it are done."""
        begun = next(leg.start_s for leg in self.schedule.legs if leg.vm == name)
        done = [leg for leg in self.schedule.legs if leg.end_s <= begun]
        self.plant = after(self.plant, done)
        self.schedule = replan(self.plant, self.schedule, [name])
        self.legs(self.schedule)

    # -- hosts that sleep ------------------------------------------------------

    def do_consolidate(self, count: str = "1", minutes: str = "5") -> None:
        """So many rounds; those in which nothing new is said are not told."""
        night, said = self.night, ""
        for _ in range(int(count)):
            self.plant = night.woken(self.plant, self.now)
            made = night.decide(self.plant, self.now)
            for one in made.wake:
                self.say(f"  wake {one.host}: {one.why}")
                night.wake(one.host, self.now)
            if made.empty is not None:
                self.say(f"  empty {made.empty.host}: {made.empty.why}")
                self.moves(made.empty.moves)
                self.carry_out(made.empty.moves)
            if made.sleep is not None:
                self.say(f"  sleep {made.sleep.host}: {made.sleep.why}")
                self.plant = night.sleep(self.plant, made.sleep.host, self.now, made.sleep.until)
                if self.plant.settings.spare_hosts:
                    ok = failure_capacity(self.plant, self.plant.settings.spare_hosts).ok
                    self.say(f"  any {self.plant.settings.spare_hosts} may die: {ok}")
            told = "; ".join(f"{row.host} {parts_of(row.why)[0]['code']}" for row in made.kept)
            if told and told != said and not (made.sleep or made.empty):
                for row in made.kept:
                    self.say(f"  awake {row.host or 'all'}: {row.why}")
                said = told
            off = [host for host in self.plant.hosts if host.state is HostState.ASLEEP]
            night.asleep_s += len(off) * float(minutes) * 60
            self.now += timedelta(minutes=float(minutes))
        names = " ".join(h.name for h in self.plant.hosts if h.state is HostState.ASLEEP)
        self.say(f"  asleep: {names or '-'}; {night.asleep_s / 3600:.1f} host-hours so far")

    def do_want(self, host: str, *who: str) -> None:
        """Somebody needs the host."""
        self.night.wanted[host] = " ".join(who)

    def do_coming(self, cpus: str, size: str, since: str, until: str = "") -> None:
        """What is known beforehand: CPUs and memory from a moment on."""
        end = datetime.fromisoformat(until) if until else None
        wanted = Demand(float(cpus), float(_plain(size)))
        self.night.coming.append(Coming(datetime.fromisoformat(since), wanted, end))

    # -- what is common ------------------------------------------------------

    def moves(self, moves: Iterable[Move]) -> None:
        for move in moves:
            word = " (asks first)" if move.approval else ""
            self.say(
                f"  {move.mode}: {move.vm} {move.source} → {move.target}{word}, {move.why}: {move.text}"
            )

    def legs(self, schedule: Schedule) -> None:
        for leg in schedule.legs:
            word = " over a third host" if leg.detour else ""
            self.say(
                f"  {leg.start_s:.0f}-{leg.end_s:.0f} s: {leg.vm} {leg.source} → {leg.target}{word}"
            )
        self.refused(schedule.dropped)
        wrong = verify(self.plant, schedule)
        self.say(f"  checked: {'; '.join(entry.text for entry in wrong) or 'good'}")

    def carry_out(self, moves: Iterable[Move]) -> None:
        """Through an order of moves; what had to be left stays where it is."""
        schedule = order(self.plant, moves)
        self.refused(schedule.dropped)
        wrong = verify(self.plant, schedule)
        if wrong:
            raise AssertionError([entry.text for entry in wrong])
        self.plant = after(self.plant, schedule.legs)
        if schedule.legs:
            self.check()

    def check(self) -> None:
        wrong = violations(self.plant)
        if wrong:
            self.say(f"  still broken: {'; '.join(entry.text for entry in wrong)}")

    def do_where(self) -> None:
        for host in self.plant.hosts:
            guests = " ".join(sorted(vm.name for vm in self.plant.vms if vm.host == host.name))
            self.say(f"  {host.name} ({host.state}): {guests or '-'}")


def commands(folder: Path) -> Iterator[str]:
    for line in (folder / "commands.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def play(folder: Path) -> str:
    """The log of a scenario."""
    told = _plain(yaml.safe_load((folder / "plant.yaml").read_text(encoding="utf-8")))
    player = Player(read(folder / "plant.yaml"), Night(told.get("sleep", {})))
    for line in commands(folder):
        player.run(line)
    return "\n".join(player.log) + "\n"


def folders() -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path.is_dir())


if __name__ == "__main__":
    for chosen in folders():
        if not sys.argv[1:] or chosen.name in sys.argv[1:]:
            (chosen / "expected.log").write_text(play(chosen), encoding="utf-8")
