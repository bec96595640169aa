"""In which order moves are made: room is there before each start, and limits hold throughout."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .answers import Code, Leg, Limits, Move, Refusal, Schedule, Why
from .bound import lower_bound, move_seconds
from .frame import Floats, Frame
from .model import HostState, Plant
from .policy import limits_of, may_leave
from .score import seconds
from .shorten import (
    FAR,
    FAR_SEARCHES,
    MANY_MOVES,
    MANY_TIMES,
    MOST_MOVES,
    SEARCHES,
    Script,
    shorten,
)
from .state import State
from .words import say

#: with more moves than this nobody is sent aside for speed alone: looking for whom takes too long
EAGER_MOVES = 64
#: such detours must make the whole so much shorter, as each is one more migration
WORTH_DETOURS = 0.95

#: moves that mend come before moves that balance
_URGENT = {Why.RULE: 0, Why.OVERCOMMIT: 0, Why.SPARE: 0, Why.DRAIN: 1}


@dataclass(frozen=True, slots=True)
class Task:
    """One unit's way to its target."""

    unit: int
    target: int
    urgency: int = 2
    worth: float = 0.0


@dataclass
class _Run:
    """One attempt at a schedule, event by event."""

    state: State
    limits: Limits
    pending: dict[int, Task]
    rank: dict[int, tuple[float, ...]]
    now: float = 0.0
    batch: int = 0
    running: list[tuple[float, int, int, int, int]] = field(default_factory=list)
    busy: dict[int, int] = field(default_factory=dict)
    #: migrations over the link of two failure domains
    over: dict[tuple[int, int], int] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)
    #: the same by unit and host, in the order of their starts
    script: Script = field(default_factory=list)
    away: set[int] = field(default_factory=set)
    dropped: list[Refusal] = field(default_factory=list)
    #: moves that wait for each other, and how things stand when the others have been made
    stuck: set[int] = field(default_factory=set)
    ahead: State | None = None
    #: send machines aside while hands are idle, not only where nothing else opens a circle
    eager: bool = False
    #: units and hosts over which they do not go aside
    barred: frozenset[tuple[int, int]] = frozenset()


def order(
    plant: Plant,
    moves: Iterable[Move],
    limits: Limits | None = None,
    *,
    avoid: Iterable[tuple[str, str]] = (),
    eager: bool = True,
) -> Schedule:
    """A schedule in which every hard rule holds at every moment, or the moves that had to be left.

    A machine on its way holds room on both hosts. Where moves wait for each other in a circle, one
    goes over a third host; `avoid`: machines and hosts over which they do not go aside. `eager`: they go
    aside for speed alone too. Raises KeyError for a machine or a host that is not in the plant.
    """
    frame = Frame(plant)
    tasks, refused = _tasks(frame, list(moves))
    barred = frozenset(
        (int(frame.unit_of[frame.vm_index[vm]]), frame.host_index[host]) for vm, host in avoid
    )
    schedule = arrange(State(frame), tasks, limits_of(plant, limits), barred=barred, eager=eager)
    return Schedule(
        schedule.legs, (*refused, *schedule.dropped), schedule.makespan_s, schedule.bound_s
    )


def replan(
    plant: Plant,
    schedule: Schedule,
    failed: Iterable[str] = (),
    limits: Limits | None = None,
    *,
    retry: bool = False,
) -> Schedule:
    """The rest of a schedule from where the machines are now, without (or with) what failed.

    `plant`: as it stands, with no migration running. What cannot be done any more, since a machine
    that failed holds the room, is in `dropped`.
    """
    goal: dict[str, str] = {}
    for leg in schedule.legs:
        goal[leg.vm] = leg.target
    lost = set(failed)
    here = {vm.name: vm.host for vm in plant.vms}
    moves = [
        Move(name, str(here[name]), target, Why.ASKED, "", 0.0)
        for name, target in goal.items()
        if here.get(name) not in (None, target) and (retry or name not in lost)
    ]
    made = order(plant, moves, limits)
    left = tuple(
        Refusal(name, (Code.BLOCKED,), say("blocked.failed", machine=name))
        for name in sorted(lost & goal.keys())
        if not retry
    )
    return Schedule(made.legs, (*left, *made.dropped), made.makespan_s, made.bound_s)


def _tasks(frame: Frame, moves: list[Move]) -> tuple[list[Task], list[Refusal]]:
    """Moves by unit; machines that are kept together must have one target."""
    by_unit: dict[int, list[Move]] = {}
    for move in moves:
        by_unit.setdefault(int(frame.unit_of[frame.vm_index[move.vm]]), []).append(move)
    tasks, refused = [], []
    for unit, parts in by_unit.items():
        targets = {move.target for move in parts}
        if len(targets) > 1 or len({m.vm for m in parts}) < len(frame.units[unit]):
            text = say("together.move", names=frame.names_of(unit))
            refused.append(Refusal(parts[0].vm, (Code.TOGETHER,), text))
            continue
        target = frame.host_index[parts[0].target]
        urgency = min(_URGENT.get(move.why, 2) for move in parts)
        if frame.home[unit] == target:
            continue
        if frame.home[unit] < 0 or frame.hosts[frame.home[unit]].state is HostState.DOWN:
            refused.append(
                Refusal(
                    parts[0].vm,
                    (Code.SOURCE_DOWN,),
                    say("source_down.nowhere", machine=parts[0].vm),
                )
            )
            continue
        tasks.append(Task(unit, target, urgency, sum(move.effect.net for move in parts)))
    return tasks, refused


def arrange(
    state: State,
    tasks: Sequence[Task],
    limits: Limits,
    *,
    search: bool = True,
    barred: frozenset[tuple[int, int]] = frozenset(),
    eager: bool = True,
) -> Schedule:
    """The best of several list schedules, made shorter by a search where it stays above the bound.

    `state` is where everything is and is not changed. `search`: worth a second where machines are moved by what comes
    out; who only asks how long it will take is told by the lists. `barred`: units and hosts over which they do not go.
    `eager`: they go aside for speed alone too.
    """
    share = 1.0 / limits.per_host
    times = {task.unit: move_seconds(state, task, share) for task in tasks}
    bound = lower_bound(state, tasks, limits)
    best: _Run | None = None
    for hasty in (False, True) if eager else (False,):
        if hasty and len(tasks) > EAGER_MOVES:
            break
        worth = WORTH_DETOURS * best.now if hasty and best else 0.0
        for rank in _ranks(state, tasks, times):
            pending = {task.unit: task for task in tasks}
            run = _Run(state.copy(), limits, pending, rank, eager=hasty, barred=barred)
            _go(run, share)
            if best is None or _better(run, best, worth if not best.eager else best.now):
                best = run
            if not best.dropped and best.now <= bound * 1.001:
                return _schedule(best, bound)
    if best is None:
        return Schedule((), (), 0.0, 0.0)
    if search and eager:
        best = _shortened(state, tasks, limits, best, bound)
    return _schedule(best, bound)


def _shortened(
    state: State, tasks: Sequence[Task], limits: Limits, best: _Run, bound: float
) -> _Run:
    """What the search makes of it, once with as many detours and once with more for speed; that again where it is far.

    Not where some moves come before others, ways are barred or links limited: the search knows of none of these.
    """
    if (
        best.dropped
        or best.barred
        or limits.per_link is not None
        or len(tasks) > MOST_MOVES
        or len({task.urgency for task in tasks}) > 1
    ):
        return best
    share = 1.0 / limits.per_host
    for eager, searches, times in (
        (False, SEARCHES, 1),
        (True, SEARCHES, 1),
        (True, FAR_SEARCHES, 1),
        (True, FAR_SEARCHES, MANY_TIMES),
    ):
        if searches is FAR_SEARCHES and best.now <= FAR * bound:
            break
        if times > 1 and len(tasks) <= MANY_MOVES:
            break
        detours = len(best.script) - len(tasks)
        most = len(tasks) if eager else detours
        enough = bound * 1.001
        script = shorten(state, tasks, limits, best.script, most, enough, searches, times)
        pending = {task.unit: task for task in tasks}
        run = _Run(state.copy(), limits, pending, {}, eager=len(script) - len(tasks) > detours)
        if not _follow(run, script, share):
            continue
        if run.now < best.now * (WORTH_DETOURS if run.eager else 1.0):
            best = run
        if best.now <= enough:
            break
    return best


def _follow(run: _Run, script: Script, share: float) -> bool:
    """Make these legs in this order, each as early as every rule lets it; whether all could be made."""
    for unit, target in script:
        source = int(run.state.at[unit])
        while (
            unit in run.state.coming
            or len(run.running) >= run.limits.pool
            or not _free_hands(run, source, target)
            or not run.state.fits(unit)[target]
        ):
            if not run.running:
                return False
            _finish_next(run)
            source = int(run.state.at[unit])
        _begin(run, unit, target, share, detour=target != run.pending[unit].target)
    while run.running:
        _finish_next(run)
    return not run.pending


def _better(run: _Run, best: _Run, worth: float) -> bool:
    """Leaves fewer moves, or is shorter; with detours for speed, shorter than what they are worth."""
    if len(run.dropped) != len(best.dropped):
        return len(run.dropped) < len(best.dropped)
    return run.now < (worth if run.eager else best.now)


def _schedule(run: _Run, bound: float) -> Schedule:
    legs = tuple(sorted(run.legs, key=lambda leg: (leg.start_s, leg.batch, leg.vm)))
    return Schedule(legs, tuple(run.dropped), run.now, bound)


def _ranks(
    state: State, tasks: Sequence[Task], times: dict[int, float]
) -> Iterable[dict[int, tuple[float, ...]]]:
    """Orders in which ready moves are started: by work at the busier end, by length, by what waits."""
    work: dict[int, float] = {}
    for task in tasks:
        for host in (int(state.at[task.unit]), task.target):
            work[host] = work.get(host, 0.0) + times[task.unit]

    def ends(task: Task) -> tuple[float, float]:
        one, other = work[int(state.at[task.unit])], work[task.target]
        return max(one, other), min(one, other)

    yield {t.unit: (t.urgency, -ends(t)[0], -ends(t)[1], -times[t.unit], t.unit) for t in tasks}
    yield {t.unit: (t.urgency, -times[t.unit], -ends(t)[0], t.unit) for t in tasks}
    yield {t.unit: (t.urgency, -work[int(state.at[t.unit])], -times[t.unit], t.unit) for t in tasks}
    yield {t.unit: (t.urgency, -work[t.target], -times[t.unit], t.unit) for t in tasks}


def _go(run: _Run, share: float) -> None:
    run.stuck = _stuck(run)
    while run.pending or run.running:
        _start_ready(run, share)
        while run.stuck and len(run.running) < run.limits.pool and _detour(run, share):
            run.stuck = _stuck(run)
        if run.eager:
            _step_aside(run, share)
        if run.running:
            _finish_next(run)
        elif run.pending:
            # Room that was free may be taken by now: look again before anything is left.
            run.stuck = set(run.pending)
            if not _detour(run, share):
                _give_up(run)
                run.stuck = _stuck(run)


def _step_aside(run: _Run, share: float) -> None:
    """Give idle hands detours that make room for another move at once."""
    stuck, ahead = run.stuck, run.ahead
    run.stuck, run.ahead = set(run.pending), None
    went = False
    while len(run.running) < run.limits.pool and _detour(run, share):
        went = True
    run.stuck, run.ahead = stuck, ahead
    if went:
        run.stuck = _stuck(run)


def _stuck(run: _Run) -> set[int]:
    """Moves that no other move sets free: each waits for one that waits, in the end, for it."""
    state = run.state.copy()
    for _, _, unit, _, _ in run.running:
        state.arrive(unit)
    # A machine that went aside, or is on its way there, goes on from where it is then.
    left = {unit for unit in run.pending if int(state.at[unit]) != run.pending[unit].target}
    moved = True
    while moved:
        moved = False
        for unit in sorted(left):
            if state.fits(unit)[run.pending[unit].target]:
                state.move(unit, run.pending[unit].target)
                left.discard(unit)
                moved = True
    run.ahead = state
    return left


def _free_hands(run: _Run, source: int, target: int) -> bool:
    limit = run.limits.per_host
    hands = run.busy.get(source, 0) < limit and run.busy.get(target, 0) < limit
    return hands and _free_link(run, source, target)


def _link(run: _Run, source: int, target: int) -> tuple[int, int] | None:
    """The failure domains that a move goes between; nothing: it stays in one, or nobody counts."""
    domain = run.state.frame.domain
    one, other = int(domain[source]), int(domain[target])
    if run.limits.per_link is None or one == other:
        return None
    return min(one, other), max(one, other)


def _free_link(run: _Run, source: int, target: int) -> bool:
    link = _link(run, source, target)
    return link is None or run.over.get(link, 0) < (run.limits.per_link or 1)


def _start_ready(run: _Run, share: float) -> None:
    for unit in sorted(run.pending, key=run.rank.__getitem__):
        if len(run.running) >= run.limits.pool:
            return
        if unit in run.state.coming:
            continue
        task = run.pending[unit]
        source = int(run.state.at[unit])
        if _free_hands(run, source, task.target) and run.state.fits(unit)[task.target]:
            _begin(run, unit, task.target, share, detour=False)


def _begin(run: _Run, unit: int, target: int, share: float, *, detour: bool) -> None:
    state, frame = run.state, run.state.frame
    source = int(state.at[unit])
    end = run.now + float(seconds(frame, unit, source, share)[target])
    state.reserve(unit, target)
    run.batch += 1
    run.script.append((unit, target))
    nodes = {member: node for member, node, _ in state.coming[unit][1] or ()}
    for member in frame.units[unit]:
        run.legs.append(
            Leg(
                frame.vms[member].name,
                frame.host_names[source],
                frame.host_names[target],
                run.now,
                end,
                detour,
                run.batch,
                nodes.get(member),
            )
        )
    for host in (source, target):
        run.busy[host] = run.busy.get(host, 0) + 1
    if link := _link(run, source, target):
        run.over[link] = run.over.get(link, 0) + 1
    heapq.heappush(run.running, (end, run.batch, unit, source, target))


def _finish_next(run: _Run) -> None:
    """End what ends first; whatever ends at the same moment ends with it."""
    run.now = run.running[0][0]
    while run.running and run.running[0][0] <= run.now:
        _, _, unit, source, target = heapq.heappop(run.running)
        run.state.arrive(unit)
        for host in (source, target):
            run.busy[host] -= 1
        if link := _link(run, source, target):
            run.over[link] -= 1
        if run.pending[unit].target == target:
            del run.pending[unit]


def _detour(run: _Run, share: float) -> bool:
    """Send the cheapest of those that are stuck over a third host if that frees another; is there one?"""
    state, frame = run.state, run.state.frame
    best: tuple[float, int, int] | None = None
    for unit in sorted(run.stuck & run.pending.keys()):
        if unit in run.away or unit in state.coming:
            continue
        task, source = run.pending[unit], int(state.at[unit])
        mask = state.fits(unit)
        mask[[source, task.target, *(host for who, host in run.barred if who == unit)]] = False
        for host, busy in run.busy.items():
            if busy >= run.limits.per_host:
                mask[host] = False
        if run.limits.per_link is not None:
            mask &= [_free_link(run, source, host) for host in range(len(mask))]
        if not mask.any() or run.busy.get(source, 0) >= run.limits.per_host:
            continue
        there: Floats = seconds(frame, unit, source, share)
        for host in np.flatnonzero(mask)[np.argsort(there[mask], kind="stable")][:6].tolist():
            back = float(seconds(frame, unit, host, share)[task.target])
            price = float(there[host]) + back
            if best is not None and price >= best[0]:
                break
            if _frees(run, unit, host):
                best = (price, unit, host)
                break
    if best is None:
        return False
    _, unit, host = best
    run.away.add(unit)
    _begin(run, unit, host, share, detour=True)
    return True


def _frees(run: _Run, unit: int, host: int) -> bool:
    """Can another move be made once the unit is on that host and all that can be made has been?"""
    state = run.state if not run.running or run.ahead is None else run.ahead
    source = int(state.at[unit])
    if not state.fits(unit)[host]:
        return False
    state.move(unit, host)
    good = any(
        other != unit
        and other not in state.coming
        and run.pending[other].target == source
        and bool(state.fits(other)[source])
        for other in run.stuck & run.pending.keys()
    )
    state.move(unit, source)
    return good


def _give_up(run: _Run) -> None:
    """No way: leave the least useful of the moves that are stuck, the others may then go."""
    unit = min(
        run.pending,
        key=lambda u: (-run.pending[u].urgency, run.pending[u].worth, u),
    )
    frame = run.state.frame
    task = run.pending.pop(unit)
    refusal = may_leave(frame, unit)
    why = refusal.text if refusal else say("blocked.order")
    name = frame.name_of(unit)
    text = say("blocked", machine=name, host=frame.host_names[task.target], why=why)
    run.dropped.append(Refusal(name, (Code.BLOCKED,), text))
