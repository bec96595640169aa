"""A round leaves room for hosts to die: moves for balance that would use it up are taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Code, FailureVerdict, Move, Refusal, Why
from .failure import spare_refusals, verdict
from .words import say

if TYPE_CHECKING:
    from .rounds import Making

_BALANCE = (Why.CONTENTION, Why.MEMORY, Why.EVEN)


def keep_spare(making: Making, before: FailureVerdict | None) -> None:
    """Take back moves for balance, the last first, until k hosts may die again as before the round.

    Where they might not before, the round only says who would be left. `before`: nothing where none are kept.
    """
    if before is None:
        return
    k = making.frame.plant.settings.spare_hosts
    now = verdict(making.state, k)
    for move in reversed(making.moves):
        if not _spoiled(before, now):
            break
        if move in making.moves and move.why in _BALANCE and _undo(making, move):
            text = say("spare", machine=move.vm, host=move.target, count=k)
            if now.room or not before.room:
                text = say("spare.waits", machine=move.vm, host=move.target, count=k)
            making.refused.append(Refusal(move.vm, (Code.SPARE,), text))
            now = verdict(making.state, k)
    making.refused.extend(spare_refusals(now.broken))


def _spoiled(before: FailureVerdict, now: FailureVerdict) -> bool:
    """Room that there was is gone, or somebody would wait who would not have."""
    return (before.room and not now.room) or bool(now.waits - before.waits)


def _undo(making: Making, move: Move) -> bool:
    frame, state = making.frame, making.state
    if move.circle:
        return _undo_circle(making, move.circle)
    unit = int(frame.unit_of[frame.vm_index[move.vm]])
    source = frame.host_index[move.source]
    if not state.fits(unit)[source]:
        return False
    state.move(unit, source)
    names = set(frame.names_of(unit))
    making.moves = [other for other in making.moves if other.vm not in names]
    return True


def _undo_circle(making: Making, number: int) -> bool:
    """All of it or nothing: half an exchange was nobody's wish."""
    frame, state = making.frame, making.state
    moves = [move for move in making.moves if move.circle == number]
    back = {
        int(frame.unit_of[frame.vm_index[move.vm]]): frame.host_index[move.source] for move in moves
    }
    there = {unit: state.drop(unit) for unit in back}
    for unit, source in back.items():
        if not state.fits(unit)[source]:
            for each, target in there.items():
                state.move(each, target)
            return False
        state.take(unit, source)
    making.moves = [move for move in making.moves if move.circle != number]
    making.circles = [circle for circle in making.circles if circle.number != number]
    return True
