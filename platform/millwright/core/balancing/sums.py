"""Whether any k hosts may die, told from sums: surely yes, or not known. Errs to the safe side only.

Every machine counts as the largest of its sort (with cores of its own, without, or kept apart from others),
and every host as so many slots of that size. What finds a slot so finds room in any case; where slots do
not suffice the machines themselves have to be looked at (`failure_capacity`). It takes a few operations on
one number for each host, however many machines they hold and however many sets of k hosts there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sort:
    """Machines that are counted alike: how many each host holds that must start elsewhere, and the largest.

    `most`: by resource the most that one of them wants; the counts lie by host.
    """

    count: Ints
    most: Ints

    @property
    def any(self) -> bool:
        return bool(self.count.any())


@dataclass(frozen=True, slots=True)
class Room:
    """Hosts as amounts (resources x hosts, needs rounded up and room down), and what would be lost with each."""

    free: Ints
    #: hosts that take machines, every one of these
    takes: Bools
    #: hosts that can die
    live: Bools
    #: with cores of their own; without; kept apart by rules and by nothing else
    cored: Sort
    plain: Sort
    apart: Sort
    #: for each host the machines from which those of its that are kept apart are kept apart
    peers: Ints
    #: hosts with machines of which sums tell nothing
    odd: Bools


def doubtful(room: Room, k: int) -> Ints | None:
    """Hosts whose death may leave somebody without room, as far as sums tell; nothing: any k may be among them.

    Empty: any k hosts may die. With k above 1 there is no list between: empty, or nothing. With k or fewer
    hosts alive all die together, and nobody is left to take what is protected.

    Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k: {k}: must be at least 1")
    live = np.flatnonzero(room.live)
    if len(live) <= k:
        # Sums know nothing of machines on hosts that are gone; whether anybody is lost is counted by name.
        return None
    lack = np.zeros(len(room.live), np.bool_)
    for have, lost in _conditions(room, k):
        if k > 1 and int(np.sort(lost[live])[-k:].sum()) > have:
            return None
        lack |= lost > have
    if k > 1:
        return None if bool((room.odd & room.live).any()) else np.empty(0, np.int64)
    return np.flatnonzero((lack | room.odd) & room.live)


def _conditions(room: Room, k: int) -> list[tuple[int, Ints]]:
    """What there is in all, and what each host's death takes of it: itself and its machines' wants.

    Losses of several hosts add up, so that the largest k tell of every set of k.
    """
    cored, plain, apart = room.cored, room.plain, room.apart
    found = []
    if cored.any:
        slots = _slots(room, cored.most)
        found.append((int(slots.sum()), slots + cored.count))
    if plain.any:
        slots = _slots(room, plain.most)
        # The ones with cores may lie anywhere: each takes so many of these slots at most.
        each = 0
        if cored.any:
            wants = plain.most > 0
            each = int((-(-cored.most[wants] // plain.most[wants])).max(initial=0))
        found.append((int(slots.sum()), slots + each * cored.count + plain.count))
    if apart.any:
        # Each gets a host for itself that none of the others has touched and none of its peers is on.
        whole = (_slots(room, apart.most) > 0).astype(np.int64)
        touched = cored.count + plain.count + room.peers + apart.count
        # A host that dies alone and has no such machines asks for none of this.
        asks = apart.count > 0 if k == 1 else np.ones(len(whole), np.bool_)
        found.append((int(whole.sum()), np.where(asks, whole + touched, 0)))
    return found


def _slots(room: Room, most: Ints) -> Ints:
    wants = most > 0
    if not wants.any():
        # Nothing is wanted of anything: any host that takes machines takes all of them.
        return np.where(room.takes, np.int64(2**31), 0)
    slots = (np.maximum(room.free[wants], 0) // most[wants, None]).min(axis=0)
    result: Ints = np.where(room.takes, slots, 0)
    return result
