"""After hosts are lost: which machines start where, in which order, and which wait for their host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from millwright.core.lifecycle import Recovery as Restarts

from .answers import Code, Recovery, Refusal, Restart
from .failure import Trial
from .frame import Frame
from .lacks import lacks_of_all
from .mend import summary
from .model import HostState, Plant, Vm
from .score import LEVELS, place_price
from .state import State
from .words import say, together


def recover(plant: Plant, lost_hosts: Iterable[str], gone: Iterable[str] = ()) -> Recovery:
    """Restarts for the machines of hosts that are confirmed off.

    `gone`: lost hosts of which a person has stated that they cannot return with their machines; only
    from these are autonomous machines started elsewhere, for their host would start them again by
    itself. Higher priorities are placed first; a machine starts after those that it depends on, and not
    at all while one of them stands on another host that is down, or on none. Rules toward a machine that waits
    for its dead host (near, spread) are kept as if it were there, for it comes back; where that would leave
    one without a place it starts elsewhere, which its text says, and a round mends the rule once both run.
    Raises KeyError for an unknown host.
    """
    away = set(gone)
    lost = set(lost_hosts) | away
    index = {host.name: host for host in plant.hosts}
    for name in lost:
        index[name]  # an unknown name is the caller's error
    closed = tuple(
        replace(host, state=HostState.DOWN) if host.name in lost else host for host in plant.hosts
    )
    frame = Frame(replace(plant, hosts=closed))
    state = State(frame)
    waiting: list[Refusal] = []
    victims: dict[int, None] = {}
    for vm in plant.vms:
        if vm.host not in lost:
            continue
        if not vm.protected:
            text = say("unprotected", machine=vm.name, host=vm.host)
            waiting.append(Refusal(vm.name, (Code.UNPROTECTED,), text))
        elif vm.restarts is Restarts.AUTONOMOUS and vm.host not in away:
            text = say("autonomous", machine=vm.name, host=vm.host)
            waiting.append(Refusal(vm.name, (Code.AUTONOMOUS,), text))
        else:
            victims[int(frame.unit_of[frame.vm_index[vm.name]])] = None
    held = {refusal.vm for refusal in waiting}
    for unit in [u for u in victims if any(name in held for name in frame.names_of(u))]:
        # Machines that must be together wait together.
        del victims[unit]
        for name in frame.names_of(unit):
            if name not in held:
                text = say("together", machine=name)
                waiting.append(Refusal(name, (Code.TOGETHER,), text))
    urgency = _urgency(plant)
    homes = {unit: state.drop(unit) for unit in victims}
    size = frame.size
    order = sorted(
        victims,
        key=lambda u: (-max(urgency[n] for n in frame.names_of(u)), -float(size[u]), u),
    )
    absent = _absent(state)
    # What waits is not there, and comes back: where it can be, rules hold with it as they must without it.
    later = state.copy() if absent else None
    for unit in absent:
        state.drop(unit)
    placed, left = _by_urgency(state, order, homes, plant.settings.horizon_s, later)
    if left:
        # Who comes first takes what suits it best, and the last finds nothing: all of them together may.
        placed, left = _anew(frame, order, lost, plant.settings.horizon_s) or (placed, left)
    notes = _far(frame, placed, absent)
    return Recovery(*_in_waves(frame, plant, placed, urgency, waiting, left, notes))


#: Machine: where it was, where it goes, and the NUMA node there.
_Places = dict[str, tuple[int, int, int | None]]


def _absent(state: State) -> list[int]:
    """Units that stand on hosts that are down: not there, and some of them will be again."""
    down = np.array([host.state is HostState.DOWN for host in state.frame.hosts], np.bool_)
    placed = np.flatnonzero(state.at >= 0)
    found: list[int] = placed[down[state.at[placed]]].tolist()
    return found


def _by_urgency(
    state: State,
    order: Iterable[int],
    homes: Mapping[int, int],
    horizon_s: float,
    later: State | None = None,
) -> tuple[_Places, list[Refusal]]:
    """Each unit in this order where it is cheapest; and those that find no place, with why.

    `later`: the same with machines that are not there now; where something takes a unit then too, it goes there.
    """
    left: list[Refusal] = []
    placed: _Places = {}
    for unit in order:
        mask = state.fits(unit)
        if not mask.any():
            left += _without_place(state, unit)
            continue
        if later is not None and (both := mask & later.fits(unit)).any():
            mask = both
        price = place_price(state, unit, LEVELS[3], horizon_s)
        target = int(np.argmin(np.where(mask, price, np.inf)))
        _put(state, placed, unit, homes[unit], target)
        if later is not None:
            later.take(unit, target)
    return placed, left


def _without_place(state: State, unit: int) -> list[Refusal]:
    codes = summary(state, unit)
    why = lacks_of_all(state, unit, codes)
    return [
        Refusal(name, (Code.NO_HOST, *codes), say("no_host", machine=name, why=why))
        for name in state.frame.names_of(unit)
    ]


def _put(state: State, placed: _Places, unit: int, home: int, target: int) -> None:
    frame = state.frame
    for member in frame.units[unit]:
        node = state.node_for(unit, member, target)
        placed[frame.vms[member].name] = (home, target, node)
    state.take(unit, target)


def _anew(
    frame: Frame, order: list[int], lost: set[str], horizon_s: float
) -> tuple[_Places, list[Refusal]] | None:
    """A place for each without a look at who comes back, or as `failure_capacity` found one; nothing: neither does."""
    state = State(frame)
    homes = {unit: state.drop(unit) for unit in order}
    for unit in _absent(state):
        state.drop(unit)
    placed, left = _by_urgency(state, order, homes, horizon_s)
    if not left:
        return placed, []
    for beside in (False, True):
        if found := _all_of_them(frame, order, lost, beside=beside):
            return found, []
    return None


def _all_of_them(
    frame: Frame, victims: Iterable[int], lost: set[str], *, beside: bool
) -> _Places | None:
    """As `failure_capacity` places them, with those `beside` them for which no person has spoken yet, or without."""
    state = State(frame)
    trial = Trial(state)
    if not beside:
        trial.protected[:] = False
        trial.protected[list(victims)] = True
    hosts = sorted(frame.host_index[name] for name in lost)
    homes = {unit: int(state.at[unit]) for unit in victims}
    where = trial.places(hosts)
    if where is None:
        return None
    for unit in np.flatnonzero(np.isin(state.at, hosts)).tolist():
        state.drop(unit)
    placed: _Places = {}
    for unit, target in where.items():
        if unit in homes:
            if not state.fits(unit)[target]:
                return None
            _put(state, placed, unit, homes[unit], target)
    return placed


def _far(frame: Frame, placed: _Places, absent: Iterable[int]) -> dict[str, str]:
    """What to say of machines that start where a rule toward one that waits for its host will not hold."""
    waits = set(absent)
    now = {unit: int(host) for unit, host in enumerate(frame.home.tolist()) if host >= 0}
    started = {
        int(frame.unit_of[frame.vm_index[name]]): target
        for name, (_home, target, _node) in placed.items()
    }
    now |= started
    notes: dict[str, str] = {}
    #: machines that are kept near, or over at least so many domains
    rules: list[tuple[tuple[int, ...], int | None]] = [(members, None) for members in frame.near]
    rules += zip(frame.spread, frame.spread_minimum, strict=True)
    for members, minimum in rules:
        inside = [unit for unit in members if unit in now]
        domains = {int(frame.domain[now[unit]]) for unit in inside}
        if len(domains) < 2 if minimum is None else len(domains) >= min(minimum, len(inside)):
            continue
        for unit in (unit for unit in inside if unit in started):
            here = frame.domain[now[unit]]
            others = [
                other
                for other in inside
                if other in waits and (frame.domain[now[other]] == here) == (minimum is not None)
            ]
            if others:
                code = "close" if minimum is not None else "far"
                host = frame.host_names[now[others[0]]]
                text = say(code, machine=frame.name_of(others[0]), host=host)
                notes |= dict.fromkeys(frame.names_of(unit), text)
    return notes


def _urgency(plant: Plant) -> dict[str, int]:
    """Priority, raised to that of every machine that waits for it."""
    urgency = {vm.name: vm.priority for vm in plant.vms}
    needs = {vm.name: vm.after for vm in plant.vms}
    stack = [name for name in needs if needs[name]]
    while stack:
        name = stack.pop()
        for other in needs.get(name, ()):
            if other in urgency and urgency[other] < urgency[name]:
                urgency[other] = urgency[name]
                stack.append(other)
    return urgency


def _in_waves(
    frame: Frame,
    plant: Plant,
    placed: _Places,
    urgency: dict[str, int],
    waiting: list[Refusal],
    left: list[Refusal],
    notes: Mapping[str, str],
) -> tuple[tuple[Restart, ...], tuple[Refusal, ...], tuple[Refusal, ...]]:
    """Waves by dependency; a machine whose dependency stays down is left, with its name."""
    machines = {vm.name: vm for vm in plant.vms}
    dead = {refusal.vm for refusal in (*waiting, *left)}
    down = {host.name for host in frame.hosts if host.state is HostState.DOWN}
    running = {vm.name for vm in plant.vms if vm.host is not None and vm.host not in down}
    known = machines.keys()

    def up(name: str) -> bool:
        """By now? An unknown name holds nobody up."""
        return name in done or name in running or name not in known

    local = frame.local_disks
    restarts: list[Restart] = []
    todo = sorted(placed, key=lambda name: (-urgency[name], name))
    done: set[str] = set()
    wave = 0
    while todo:
        ready = [n for n in todo if all(up(o) and o not in dead for o in machines[n].after)]
        if not ready:
            for name in todo:
                missing = [o for o in machines[name].after if o in dead or not up(o)]
                text = _waits(name, [machines[o] for o in missing], placed.keys() | dead)
                left.append(Refusal(name, (Code.DEPENDENCY,), text))
            break
        for name in ready:
            source, target, node = placed[name]
            rebuild = any(pool in local for pool in machines[name].disks)
            way = "rebuilt from template, program and retain" if rebuild else "started"
            text = f"{way} on {frame.host_names[target]}; priority {urgency[name]}"
            if name in notes:
                text += f"; {notes[name]}"
            restarts.append(
                Restart(
                    name,
                    frame.host_names[source],
                    frame.host_names[target],
                    wave,
                    rebuild,
                    text,
                    node,
                    notes.get(name, ""),
                )
            )
        done |= set(ready)
        todo = [name for name in todo if name not in done]
        wave += 1
    return tuple(restarts), tuple(waiting), tuple(left)


def _waits(name: str, missing: list[Vm], victims: AbstractSet[str]) -> str:
    """Why a machine is not started: what it starts after, and what of that holds it up."""
    away = [
        say("dependency.no_host", machine=name, name=vm.name)
        if vm.host is None
        else say("dependency.down", machine=name, name=vm.name, host=vm.host)
        for vm in missing
        if vm.name not in victims
    ]
    if away:
        return together(away)
    return say("dependency", machine=name, names=[vm.name for vm in missing])
