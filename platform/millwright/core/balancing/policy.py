"""Whom the balancer may move now: modes of pools and machines, movability, cooldown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from millwright.core.lifecycle import Movability

from .answers import BalanceState, Code, Limits, Refusal
from .frame import Frame
from .model import Mode, Plant, Vm
from .words import say

#: from the mildest to the boldest
MILD = [Mode.OFF, Mode.SHADOW, Mode.RECOMMEND, Mode.AUTOMATIC]


def mode_of(plant: Plant, vm: Vm) -> Mode:
    """A machine's mode: its own, else its pool's or the nearest above, else the plant's."""
    if vm.mode is not None:
        return vm.mode
    pools, name = {pool.name: pool for pool in plant.pools}, vm.pool
    while name:
        if (mode := pools[name].mode) is not None:
            return mode
        name = pools[name].parent
    return plant.settings.mode


def limits_of(plant: Plant, limits: Limits | None = None) -> Limits:
    """How many migrations at once: as asked for, and over a link as the plant's settings say unless that is asked."""
    asked = limits or Limits()
    if asked.per_link is None and plant.settings.link_moves:
        return replace(asked, per_link=plant.settings.link_moves)
    return asked


def modes(frame: Frame) -> list[Mode]:
    """Each unit's mode: its own, else its pool's or the nearest above, else the plant's.

    A unit of several machines has the most careful of theirs; a machine that moves only by a
    person's word is never automatic.
    """
    plant = frame.plant
    pools = {pool.name: pool for pool in plant.pools}
    known: dict[str, Mode] = {"": plant.settings.mode}

    def of_pool(name: str) -> Mode:
        if name not in known:
            pool = pools[name]
            known[name] = pool.mode if pool.mode is not None else of_pool(pool.parent)
        return known[name]

    found = []
    for number, unit in enumerate(frame.units):
        mode = min(
            (
                vm.mode if vm.mode is not None else of_pool(vm.pool)
                for vm in (frame.vms[member] for member in unit)
            ),
            key=MILD.index,
        )
        if mode is Mode.AUTOMATIC and frame.moves[number] is Movability.APPROVAL:
            mode = Mode.RECOMMEND
        found.append(mode)
    return found


def may_leave(frame: Frame, unit: int) -> Refusal | None:
    """Why the unit must not be moved by anyone now; nothing: it may (perhaps by a person's word)."""
    for member in frame.units[unit]:
        vm = frame.vms[member]
        if vm.moves is Movability.NEVER:
            return Refusal(vm.name, (Code.NEVER_MOVES,), say("never_moves", machine=vm.name))
        if vm.moves is Movability.WINDOW and not vm.window_open:
            return Refusal(
                vm.name,
                (Code.WINDOW_CLOSED,),
                say("window_closed", machine=vm.name),
            )
    return None


def cooling(frame: Frame, unit: int, state: BalanceState) -> bool:
    """Has the unit moved too lately to move for balance again?"""
    rounds = frame.plant.settings.cooldown_rounds
    return any(
        state.number - state.moved[name] < rounds
        for name in frame.names_of(unit)
        if name in state.moved
    )


#: so many times its rest a machine does not go back, for balance, to the host that it left
RETURN_RESTS = 4


def returns(frame: Frame, state: BalanceState, units: Iterable[int]) -> set[tuple[int, int]]:
    """Units and the hosts to which they must not return yet."""
    rounds = frame.plant.settings.cooldown_rounds * RETURN_RESTS
    return {
        (unit, frame.host_index[host])
        for unit in units
        for name in frame.names_of(unit)
        for host, number in state.left.get(name, {}).items()
        if host in frame.host_index and state.number - number <= rounds
    }
