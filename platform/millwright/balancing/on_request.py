"""Placements that may wake a host: what has room on no host that is awake goes to one that sleeps, which is woken.

So it is with one that is being emptied to sleep, which goes on instead. Room for hosts to die is kept on it as on any
other; a host is woken too where only that lacks on those awake.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from millwright.core.balancing import Vm
from millwright.core.placement import HostVerdict, Placement, woken

from .sparing import TRIES, spared


def decided(plan: Placement, standing: Callable[[HostVerdict], Vm]) -> tuple[Placement, str]:
    """As `spared`; where that finds no host, the plan with the one to wake (`chosen.wake`) or to
    keep from falling asleep (`chosen.emptied`), or none and why not."""
    kept, short = spared(plan, standing)
    if kept.chosen is None:
        for each in islice(woken(plan), TRIES):
            told, _why = spared(each, standing, only=True)
            if told.chosen is not None:
                return told, ""
    return kept, short
