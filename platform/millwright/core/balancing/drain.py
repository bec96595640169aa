"""Emptying hosts: where everything goes, what cannot leave and why, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from millwright.core.lifecycle import Movability

from .answers import Code, Drain, Limits, Move, Refusal, RollingDrain, Why
from .frame import Frame
from .lacks import lacks_of_all
from .mend import make_room, summary
from .model import HostState, Mode, Plant
from .order import Task, arrange
from .policy import limits_of, may_leave
from .score import LEVELS, effect, place_price, seconds, worth
from .state import State
from .words import say


def drain(plant: Plant, hosts: Iterable[str], limits: Limits | None = None) -> Drain:
    """Moves that empty the hosts, spread over the others, and everything that stands in the way.

    Machines that move by a person's word are planned and marked; those that never move, or only in
    a window that is closed, block; so does a host that does not answer. Raises KeyError for an unknown host.
    """
    frame = Frame(plant)
    lost = [frame.host_index[name] for name in hosts]
    return drain_state(State(frame), lost, limits_of(plant, limits))


def rolling_drain(
    plant: Plant,
    work_s: float,
    hosts: Sequence[str] | None = None,
    limits: Limits | None = None,
) -> RollingDrain:
    """Drain one host after another, each worked on for `work_s` and taken back before the next.

    A host that cannot be drained, one that does not answer included, is left out and named. Machines stay where the last drain put them.
    """
    frame = Frame(plant)
    state = State(frame)
    order = [frame.host_index[name] for name in (hosts if hosts is not None else frame.host_names)]
    drains, blocked, total = [], [], 0.0
    for host in order:
        answer = drain_state(state, [host], limits_of(plant, limits))
        drains.append(answer)
        if answer.possible:
            for move in answer.moves:
                unit = int(frame.unit_of[frame.vm_index[move.vm]])
                target = frame.host_index[move.target]
                if state.at[unit] != target:
                    state.move(unit, target)
            total += answer.seconds + work_s
        else:
            blocked.append(frame.host_names[host])
    return RollingDrain(tuple(drains), total, tuple(blocked))


def drain_state(start: State, hosts: Sequence[int], limits: Limits) -> Drain:
    """As `drain`, from a state that is left as it was."""
    frame = start.frame
    horizon = frame.plant.settings.horizon_s
    state, closed = start, start.closed.copy()
    state.closed[list(hosts)] = True
    blockers: list[Refusal] = []
    done: list[tuple[int, int, int, Move]] = []
    units = np.flatnonzero(np.isin(state.at, hosts)).tolist()
    # One that holds nobody cannot be made ready for work either.
    blockers.extend(
        Refusal("", *why)
        for host in hosts
        if (why := _not_answering(frame, host)) and not (state.at == host).any()
    )
    for unit in _hardest_first(state, units):
        source = int(state.at[unit])
        refusal = may_leave(frame, unit)
        if why := _not_answering(frame, source):
            refusal = Refusal(frame.name_of(unit), *why)
        if refusal is not None:
            blockers.append(refusal)
            continue
        target = _cheapest(state, unit, horizon)
        if target < 0:

            def may(other: int) -> bool:
                free = frame.moves[other] is Movability.FREE
                return free and int(state.at[other]) not in hosts

            found = make_room(state, unit, may)
            if found is None:
                codes = summary(state, unit)
                text = say(
                    "no_host.other",
                    machine=frame.name_of(unit),
                    why=lacks_of_all(state, unit, codes),
                )
                blockers.append(Refusal(frame.name_of(unit), (Code.NO_HOST, *codes), text))
                continue
            other, place, target = found
            note = say("move.room", machine=frame.name_of(unit))
            done.extend(_make(state, other, place, note, horizon))
        text = say("move.drain", host=frame.host_names[source])
        done.extend(_make(state, unit, target, text, horizon))
    tasks = {unit: Task(unit, target) for unit, _, target, _ in done}
    for unit, source, _, _ in reversed(done):
        if state.at[unit] != source:
            state.move(unit, source)
    schedule = arrange(state, list(tasks.values()), limits, search=False)
    state.closed = closed
    blockers.extend(schedule.dropped)
    stuck = {refusal.vm for refusal in schedule.dropped}
    moves = tuple(move for _, _, _, move in done if move.vm not in stuck)
    names = tuple(frame.host_names[host] for host in hosts)
    return Drain(names, moves, tuple(blockers), schedule.makespan_s)


def _not_answering(frame: Frame, host: int) -> tuple[tuple[Code, ...], str] | None:
    """Why nothing can be asked to leave; a suspect host comes back or is down soon, one that sleeps is woken first."""
    name, state = frame.host_names[host], frame.hosts[host].state
    if state is HostState.DOWN:
        return (Code.SOURCE_DOWN,), say("source_down", host=name)
    if state is HostState.SUSPECT:
        text = say("source_suspect", host=name)
        return (Code.SOURCE_SUSPECT,), text
    if state is HostState.ASLEEP:
        return (Code.SOURCE_ASLEEP,), say("source_asleep", host=name)
    return None


def _hardest_first(state: State, units: list[int]) -> list[int]:
    """By the number of hosts that can take it now, then by size."""
    frame = state.frame
    size = frame.size
    choices = {unit: int(state.fits(unit).sum()) for unit in units}
    return sorted(units, key=lambda unit: (choices[unit] > 3, -float(size[unit]), unit))


def _cheapest(state: State, unit: int, horizon_s: float) -> int:
    """Where it lies best: the price of being there, so that no one host gets everything."""
    mask = state.fits(unit)
    if not mask.any():
        return -1
    price = place_price(state, unit, LEVELS[3], horizon_s)
    price = np.where(mask, price, np.inf)
    return int(np.argmin(price))


def _make(
    state: State, unit: int, target: int, text: str, horizon_s: float
) -> list[tuple[int, int, int, Move]]:
    frame: Frame = state.frame
    source = int(state.at[unit])
    value = worth(state, unit, LEVELS[3], horizon_s)
    told = effect(state, unit, target, value)
    time = float(seconds(frame, unit, source)[target])
    approval = frame.moves[unit] is Movability.APPROVAL
    mode = Mode.RECOMMEND if approval else Mode.AUTOMATIC
    made = []
    for member in frame.units[unit]:
        node = state.node_for(unit, member, target)
        name = frame.vms[member].name
        move = Move(
            name,
            frame.host_names[source],
            frame.host_names[target],
            Why.DRAIN,
            text,
            time,
            told,
            mode,
            approval,
            node,
        )
        made.append((unit, source, target, move))
    state.move(unit, target)
    return made
