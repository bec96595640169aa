"""Before any search: a host for what has none, a way out for what must leave."""

from __future__ import annotations

import numpy as np

from . import tables as tb
from .problem import UNPLACED, Checked

#: Pairs of a machine and a host that `relieve` may look at in one call.
_ASKED = 20_000_000


def settle(known: Checked, tables: tb.Tables, state: tb.State) -> int:
    """Place machines without a host, move those that must not stay, relieve overfull hosts.

    Largest first, each to its cheapest host; where none has room, one other machine is sent away.
    Returns how many found no place; they stay where they were.
    """
    at = state.at
    must = at == UNPLACED
    if known.eligible is not None:
        placed = np.flatnonzero(~must & known.movable)
        must[placed] = ~known.eligible[placed, at[placed]]
    order = np.flatnonzero(must)
    overfull = np.flatnonzero((state.free < 0).any(axis=1))
    if not len(order) and not len(overfull):
        return 0
    from . import kernel  # compiled code is loaded only where it is needed

    largest = np.maximum(known.capacity.max(axis=0, initial=1), 1)
    size = (known.demand / largest).max(axis=1, initial=0)
    order = order[np.argsort(-size[order], kind="stable")]
    return int(kernel.settle(tables, state, order, overfull))


def ready(tables: tb.Tables, state: tb.State, walls: tb.Walls) -> None:
    """Have `relieve` and `recall` compiled, which takes long once; the state stays as it is.

    `state` overflows nothing that `walls` count.
    """
    from . import kernel  # compiled code is loaded only where it is needed

    nobody = np.zeros(0, np.int64)
    kernel.settle(tables, state, nobody, nobody)
    kernel.recall(tables, state, walls)


def relieve(tables: tb.Tables, state: tb.State) -> None:
    """Send machines away from overfull hosts, the cheapest first, as far as there is room elsewhere.

    Every host is asked about every machine of these; in a large pool only the first of them are
    relieved in one call, so that it ends within about a second.
    """
    from . import kernel  # compiled code is loaded only where it is needed

    overfull = np.flatnonzero((state.free < 0).any(axis=1))
    overfull = overfull[: max(1, _ASKED // max(1, len(tables.home)))]
    kernel.settle(tables, state, np.zeros(0, np.int64), overfull)


def recall(tables: tb.Tables, state: tb.State, walls: tb.Walls) -> bool:
    """Send machines home from hosts that are fuller than they may be. Is none any more?"""
    from . import kernel  # compiled code is loaded only where it is needed

    return bool(kernel.recall(tables, state, walls))
