"""What must be put right before anything is balanced: drains, broken rules, overcommitted hosts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .answers import Code, Refusal, Why
from .frame import BIT, Frame
from .lacks import lacks_of_all, lacks_on, promised
from .model import HostState, Mode
from .policy import MILD, may_leave
from .score import LEVELS, effect, place_price, worth
from .state import State, codes_of
from .words import Said, say, together

if TYPE_CHECKING:
    from .rounds import Making

#: hosts on which another machine is tried to be sent away, best first
ROOM_TRIES = 40
_PLACES = BIT[Code.CPU_RESERVATION] | BIT[Code.MEMORY] | BIT[Code.HUGEPAGES] | BIT[Code.CORES]
#: lacks that another machine's leaving can cure
CURABLE = (
    _PLACES
    | BIT[Code.NUMA]
    | BIT[Code.NIC]
    | BIT[Code.STORAGE]
    | BIT[Code.DEVICES]
    | BIT[Code.GPU]
    | BIT[Code.APART]
)


def mend(making: Making, mode: Mode, room: int) -> None:
    """At most `room` moves of machines with this mode towards a plant whose hard rules hold."""
    begun = len(making.moves)

    def left() -> int:
        return room - (len(making.moves) - begun)

    held = False
    for unit, why, text in must_leave(making.state, making.modes):
        if left() > 0:
            _send(making, unit, why, text, mode, left())
        elif _may_go(making, unit, mode):
            held = True
    held |= _relieve(making, mode, left)
    most = making.frame.plant.settings.max_moves
    if held and not any(refusal.vm == "" for refusal in making.refused):
        # What is left is not without a way: it has to wait.
        making.refused.append(Refusal("", (Code.LIMIT,), say("limit.round", count=most)))


def _may_go(making: Making, unit: int, mode: Mode) -> bool:
    """Whether the unit is this mode's to move, and may leave its host by itself."""
    mine = making.modes[unit] is mode and unit not in making.touched
    return mine and may_leave(making.frame, unit) is None


def untouchable(making: Making) -> None:
    """Say of each machine that ought to move and is not the balancer's that nothing is done."""
    for unit, _, text in must_leave(making.state, making.modes):
        if making.modes[unit] is Mode.OFF:
            making.touched.add(unit)
            name = making.frame.name_of(unit)
            note = say("mode_off.ought", machine=name, why=text)
            making.refused.append(Refusal(name, (Code.MODE_OFF,), note))


def must_leave(state: State, modes: Sequence[Mode]) -> list[tuple[int, Why, Said]]:
    """Units that stand where they must not, the weightiest first, with the reason."""
    frame = state.frame
    found: dict[int, tuple[Why, Said]] = {}
    draining = np.array([h.state is HostState.DRAINING for h in frame.hosts], np.bool_)
    alive = np.array([not h.state.off for h in frame.hosts], np.bool_)
    placed = np.flatnonzero(state.at >= 0)
    spots = state.at[placed]
    for unit in placed[draining[spots]].tolist():
        found[unit] = (Why.DRAIN, say("move.drain", host=frame.host_names[state.at[unit]]))
    wrong = ~frame.allowed[frame.signature[placed], spots] & alive[spots]
    for unit in placed[wrong].tolist():
        here = int(state.at[unit])
        codes = codes_of(int(frame.static[frame.signature[unit], here]))
        why = together(lacks_on(state, unit, here, codes))
        text = say("move.rule", host=frame.host_names[here], why=why)
        found.setdefault(unit, (Why.RULE, text))
    for unit, text in _broken_groups(state, modes):
        found.setdefault(unit, (Why.RULE, text))
    size = frame.size
    order = sorted(found, key=lambda unit: (-int(frame.priority[unit]), -float(size[unit]), unit))
    return [(unit, *found[unit]) for unit in order]


def _broken_groups(state: State, modes: Sequence[Mode]) -> list[tuple[int, Said]]:
    """Units whose leaving mends a rule over several machines; the cheapest to move of each."""
    frame = state.frame
    found: list[tuple[int, Said]] = []

    def cheap(unit: int) -> tuple[bool, int, float, int]:
        stays = may_leave(frame, unit) is not None
        return stays, -MILD.index(modes[unit]), float(frame.carried[unit]), unit

    for members in frame.apart:
        by_host: dict[int, list[int]] = {}
        for unit in members:
            if state.at[unit] >= 0:
                by_host.setdefault(int(state.at[unit]), []).append(unit)
        for host, units in by_host.items():
            for unit in sorted(units, key=cheap)[: len(units) - 1]:
                found.append((unit, say("move.apart", host=frame.host_names[host])))
    for number, members in enumerate(frame.spread):
        inside = [unit for unit in members if state.at[unit] >= 0]
        count = state.in_domain[number]
        lack = min(frame.spread_minimum[number], len(inside)) - int((count > 0).sum())
        crowded = sorted((u for u in inside if count[frame.domain[state.at[u]]] > 1), key=cheap)
        for unit in crowded[: max(lack, 0)]:
            found.append((unit, say("move.spread")))
    for number, members in enumerate(frame.near):
        count = state.near_domain[number]
        if int((count > 0).sum()) > 1:
            main = int(np.argmax(count))
            for unit in members:
                if state.at[unit] >= 0 and frame.domain[state.at[unit]] != main:
                    found.append((unit, say("move.near")))
    for unit, others in frame.tied.items():
        spots = [int(state.at[u]) for u in (unit, *others) if state.at[u] >= 0]
        if state.at[unit] >= 0 and len(set(spots)) > 1:
            most = max(set(spots), key=lambda spot: (spots.count(spot), -spot))
            if state.at[unit] != most:
                found.append((unit, say("move.together")))
    return found


def best_target(
    state: State, unit: int, horizon_s: float, barred: Collection[tuple[int, int]] = ()
) -> int:
    """The allowed host on which it lies best, or -1; evenly, so that no one host gets everything.

    `barred`: units and hosts to which they shall not go.
    """
    mask = state.fits(unit)
    mask[[state.at[unit], *(host for other, host in barred if other == unit)]] = False
    if not mask.any():
        return -1
    price = place_price(state, unit, LEVELS[3], horizon_s)
    return int(np.argmin(np.where(mask, price, np.inf)))


def make_room(state: State, unit: int, may: Callable[[int], bool]) -> tuple[int, int, int] | None:
    """Another unit, its new host, and the host that then takes `unit`; nothing was moved on return."""
    frame = state.frame
    codes = state.codes(unit)
    curable = (codes & ~CURABLE) == 0
    curable[state.at[unit]] = False
    hosts = np.flatnonzero(curable)
    if not len(hosts):
        return None
    lacking = np.array([bin(int(codes[h])).count("1") for h in hosts])
    room = state.free[1, hosts]
    for host in hosts[np.lexsort((hosts, -room, lacking))][:ROOM_TRIES].tolist():
        guests = np.flatnonzero(state.at == host)
        for other in guests[np.argsort(frame.carried[guests], kind="stable")].tolist():
            if not may(other) or other in frame.tied:
                continue
            state.drop(other)
            if not state.fits(unit)[host]:
                state.take(other, host)
                continue
            state.take(other, host)
            mask = state.fits(other)
            mask[host] = False
            for target in np.flatnonzero(mask)[:1].tolist():
                state.move(other, target)
                good = bool(state.fits(unit)[host])
                state.move(other, host)
                if good:
                    return other, target, host
    return None


def _send(making: Making, unit: int, why: Why, text: Said, mode: Mode, left: int) -> None:
    frame, state = making.frame, making.state
    if making.modes[unit] is not mode or unit in making.touched:
        return
    refusal = may_leave(frame, unit)
    if refusal is not None:
        making.refused.append(refusal)
        return
    horizon = frame.plant.settings.horizon_s
    target = best_target(state, unit, horizon, making.rejected)
    if target < 0 and left > 1:

        def may(other: int) -> bool:
            free = making.modes[other] is mode and may_leave(frame, other) is None
            return free and other not in making.touched

        found = make_room(state, unit, may)
        if found and not {(found[0], found[1]), (unit, found[2])} & making.rejected:
            other, place, target = found
            value = effect(state, other, place, worth(state, other, making.level, horizon))
            note = say("move.room", machine=frame.name_of(unit))
            making.add(other, place, why, note, mode, value)
    if target < 0 or len(frame.units[unit]) > left:
        name, lacks = frame.name_of(unit), summary(state, unit)
        if target >= 0:
            count = len(frame.units[unit])
            words = say("limit", machine=name, reason=text, count=count)
            making.refused.append(Refusal(name, (Code.LIMIT, *lacks), words))
        else:
            why_not = lacks_of_all(state, unit, lacks)
            words = say("no_host.now", machine=name, reason=text, why=why_not)
            making.refused.append(Refusal(name, (Code.NO_HOST, *lacks), words))
        return
    value = effect(state, unit, target, worth(state, unit, making.level, horizon))
    making.add(unit, target, why, text, mode, value)


def summary(state: State, unit: int) -> tuple[Code, ...]:
    """Which codes refuse it over all hosts, the most frequent first."""
    bits = state.codes(unit)
    here = int(state.at[unit])
    count: dict[Code, int] = {}
    for host, row in enumerate(bits.tolist()):
        if host != here:
            for code in codes_of(row):
                count[code] = count.get(code, 0) + 1
    return tuple(sorted(count, key=lambda code: (-count[code], code)))


def lacks(frame: Frame, state: State) -> list[tuple[int, int]]:
    """Hosts (not down) with more promised than they have: pairs of host and resource row."""
    down = np.array([h.state.off for h in frame.hosts], np.bool_)
    rows, hosts = np.nonzero((state.free < 0) & ~down)
    return sorted(zip(hosts.tolist(), rows.tolist(), strict=True))


def _relieve(making: Making, mode: Mode, left: Callable[[], int]) -> bool:
    """Send machines away from hosts that have promised too much; whether more would go than may."""
    frame, state = making.frame, making.state
    held = False
    for host, row in lacks(frame, state):
        while state.free[row, host] < 0 and left() > 0:
            guests = [
                unit
                for unit in np.flatnonzero((state.at == host) & (frame.need[row] > 0)).tolist()
                if _may_go(making, unit, mode)
                and unit not in frame.tied
                and len(frame.units[unit]) <= left()
            ]
            # The one that relieves enough with the least to carry, else the one that relieves most.
            lack = -int(state.free[row, host])
            guests.sort(
                key=lambda unit: (
                    int(frame.need[row, unit]) < lack,
                    float(frame.carried[unit])
                    if int(frame.need[row, unit]) >= lack
                    else -float(frame.need[row, unit]),
                    unit,
                )
            )
            for unit in guests:
                target = best_target(state, unit, frame.plant.settings.horizon_s, making.rejected)
                if target >= 0:
                    value = effect(
                        state,
                        unit,
                        target,
                        worth(state, unit, making.level, frame.plant.settings.horizon_s),
                    )
                    used = int(frame.capacity[row, host] - state.free[row, host])
                    text = promised(frame, row, host, used)
                    making.add(unit, target, Why.OVERCOMMIT, text, mode, value)
                    break
            else:
                break
        guests = np.flatnonzero((state.at == host) & (frame.need[row] > 0)).tolist()
        if state.free[row, host] < 0 and left() <= 0:
            held |= any(_may_go(making, unit, mode) for unit in guests)
    return held
