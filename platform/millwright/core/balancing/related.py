"""Whether machines of which sums tell nothing find a place whichever k hosts die: a proof from few trials.

Sums (`sums`) tell that everybody else finds room wherever these few go, as long as they are counted there.
So only deaths matter that concern these few: of hosts that they are on, and of hosts to which they would go.
Lost alone with their hosts they are placed on paper; where no further host dies to which one of them went,
that holds as it is, and each of those hosts is tried as lost with them. That covers every set of k hosts,
however many hosts there are that none of them is on or goes to.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from math import comb

from .failure import Trial
from .frame import Frame
from .model import Plant
from .state import State

#: sets of hosts that are placed on paper before it is said to be not known
TRIES = 4000


def least_tries(hosts: int, k: int) -> int:
    """How many sets are tried at least where so many hosts have machines that are meant."""
    return sum(comb(hosts, number) for number in range(1, k + 1))


def related_survive(plant: Plant, k: int, hosts: Iterable[str], tries: int = TRIES) -> bool:
    """Surely yes, or (False) not known: one found no place, or there are too many sets to try.

    `plant`: the machines that are meant, with all that rules speak of together with them, and everything else
    as amounts that hosts have not; `hosts`: those with machines that are meant.

    Raises ValueError for k below 1, KeyError for an unknown host.
    """
    if k < 1:
        raise ValueError(f"k: {k}: must be at least 1")
    frame = Frame(plant)
    places = sorted({frame.host_index[name] for name in hosts})
    live = [host for host in places if not frame.hosts[host].state.off]
    if least_tries(len(live), k) > tries:
        return False
    trial = Trial(State(frame))
    left = [frozenset(lost) for number in range(1, k + 1) for lost in combinations(live, number)]
    seen: set[frozenset[int]] = set()
    while left:
        lost = left.pop()
        if lost in seen:
            continue
        seen.add(lost)
        taken = trial.taken(sorted(lost)) if len(seen) <= tries else None
        if taken is None:
            return False
        if len(lost) < k:
            left.extend(lost | {host} for host in taken)
    return True
