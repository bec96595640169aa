"""Placing new machines: every host asked, every refusal with its codes, every score in parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from .answers import Admission, Code, FailureVerdict, HostAnswer, Placed
from .failure import verdict
from .frame import Frame
from .lacks import lacks_on
from .model import Plant, Rule, Vm
from .pooled_memory import lacking as pool_lacking
from .pooled_memory import parents_of, pool_room
from .pooled_memory import take as take_of_pool
from .score import LEVELS, place_parts
from .shared import lacking, refuse, shared_room, take
from .state import State, codes_of


def admit(plant: Plant, vms: Sequence[Vm], k: int = 0, rules: Sequence[Rule] = ()) -> Admission:
    """Where each of the new machines goes, largest first, and what every host says.

    `rules`: further rules that name them. `k`: hosts that may die afterwards with every protected
    machine restarted; where the cheapest host would spoil that, the next ones are tried.
    """
    fresh = tuple(replace(vm, host=None, node=None) for vm in vms)
    names = {vm.name for vm in fresh}
    known = tuple(vm for vm in plant.vms if vm.name not in names)
    grown = replace(plant, vms=(*known, *fresh), rules=(*plant.rules, *rules))
    frame = Frame(grown)
    state = State(frame)
    units = sorted({int(frame.unit_of[frame.vm_index[vm.name]]) for vm in fresh})
    return admit_units(state, units, k)


#: hosts that are tried, cheapest first, until k hosts may die
SPARE_TRIES = 3


def admit_units(state: State, units: Sequence[int], k: int) -> Admission:
    """As `admit`, for unplaced units of a state; they are placed in it."""
    frame = state.frame
    size = frame.size
    placed: list[Placed] = []
    spare: FailureVerdict | None = None
    room = shared_room(frame.plant)
    pools, parents = pool_room(frame.plant), parents_of(frame.plant)
    later = set(units)
    for unit in sorted(units, key=lambda u: (-float(size[u]), u)):
        answers = answers_for(state, unit)
        members = [frame.vms[member] for member in frame.units[unit]]
        if texts := lacking(room, members):
            answers = refuse(answers, texts)
        if texts := pool_lacking(pools, members, parents):
            answers = refuse(answers, texts, Code.POOL_MEMORY)
        good = [answer for answer in answers if answer.accepted]
        chosen = good[0].host if good else None
        later.discard(unit)
        for answer in good[:SPARE_TRIES] if k else ():
            state.take(unit, frame.host_index[answer.host])
            spare = verdict(state, k, coming=later)
            state.drop(unit)
            if _leaves(spare, frame.names_of(unit)):
                chosen = answer.host
                break
        target = frame.host_index[chosen] if chosen is not None else -1
        for member in frame.units[unit]:
            node = state.node_for(unit, member, target) if target >= 0 else None
            placed.append(Placed(frame.vms[member].name, chosen, node, answers))
        if target >= 0:
            state.take(unit, target)
            take(room, members)
            take_of_pool(pools, members, parents)
    if k and spare is None:
        spare = verdict(state, k)
    return Admission(tuple(placed), spare)


def _leaves(spare: FailureVerdict, names: Collection[str]) -> bool:
    """Room for hosts to die, and nobody who would wait because of these machines."""
    return spare.room and not any(vm in names or other in names for vm, other in spare.waits)


def answers_for(state: State, unit: int) -> tuple[HostAnswer, ...]:
    """Every host's answer for a unit: those that take it by score, then the others by name."""
    frame = state.frame
    bits = state.codes(unit)
    settings = frame.plant.settings
    parts = place_parts(state, unit, LEVELS[settings.level], settings.horizon_s)
    total = np.zeros(len(bits))
    for part in parts.values():
        total = total + part
    keys = tuple(parts)
    columns = np.stack([parts[key] for key in keys])
    order = np.lexsort((np.arange(len(bits)), total, bits != 0))
    rows, scores, names = bits.tolist(), columns.T.tolist(), frame.host_names
    return tuple(
        HostAnswer(names[host], (), (), dict(zip(keys, scores[host], strict=True)))
        if not rows[host]
        else HostAnswer(
            names[host], codes_of(rows[host]), lacks_on(state, unit, host, codes_of(rows[host])), {}
        )
        for host in order.tolist()
    )
