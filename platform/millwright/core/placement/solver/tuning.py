"""Ways to anneal, and which of them a pool wants: told by a short trial of each on the pool itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .tables import Tables


@dataclass(frozen=True, slots=True)
class Tuning:
    """How one thread anneals. The defaults were chosen on a few public ROADEF instances.

    For most of the time hosts may overflow at a price, which lets big machines pass each other; the
    price rises until nothing overflows any more, and the rest is annealed with capacity as a rule.
    """

    #: first temperature: this quantile of sampled price rises, times `hot`
    quantile: float = 0.5
    hot: float = 20.0
    #: over the first temperature: that at which capacity becomes a hard rule, and the last one
    warm: float = 0.01
    cold: float = 0.00002
    #: overflow prices, in those of `tables.walls`: at first, and how many times that at last
    steep: float = 3.0
    steeper: float = 300.0
    #: shares of the time from which the prices rise, and from which capacity is a hard rule
    rise_from: float = 0.3
    hard_from: float = 0.85
    #: share of proposals that exchange two machines, and those of like size among them
    swaps: float = 0.5
    near: float = 0.4
    #: a machine twice as big is proposed 2**so much as often
    big: float = 0.5
    #: share of proposals that send a machine home
    homing: float = 0.2


#: Capacity is a rule all along: better where machines are small beside what is free on the hosts.
FIRM = Tuning(hot=0.5, warm=1.0, cold=5e-7, hard_from=0.0, near=0.0, big=0.0, homing=0.1)
#: As cool from the start as a search ends otherwise, so that nothing moves that need not: better where
#: nearly all of the price can be had, and most of what is left is that of the moves.
COOL = replace(FIRM, hot=2e-4, cold=1e-4, swaps=0.7)

#: Hotter, and overflow becomes dear early: better where what moves fills its old host as well for the time
#: being, so that big machines find their places only while everything moves.
EARLY = Tuning(hot=60.0, near=0.1, rise_from=0.1)

#: What is tried, in this order, and the share of the time that a trial takes.
TRIED = (Tuning(), FIRM, COOL, EARLY)
TRIAL = 0.035
#: Share of the time from which every thread goes on from the best one's, after a way with capacity as a
#: rule and after one where hosts may overflow, which wants all the time that it can get.
LAST_FROM, LAST_FROM_SOFT = 0.8, 0.93

#: Where hosts may overflow: share of the time from which the best assignment is reheated, how often, and where
#: each reheating enters its way by turns (the share of the way that it leaves out).
REHEAT_FROM, REHEATS = 0.45, 6
ENTRIES = (0.5, 0.35)

#: A way whose distance from the bound is so many times the best one's is not followed further. Hosts that
#: overflow gain the most from more time than a trial has.
_CLOSE = 1.1
_CLOSE_SOFT = 1.3
#: Two ways where hosts may overflow go on side by side up to so many times the better one's price.
_NEAR_SOFT = 1.05


def bound(tables: Tables) -> float:
    """A price that no assignment of all machines is below: everything on one host of the sum of all."""
    total = tables.demand.sum(axis=0)
    least = float((tables.load_weight * np.maximum(0.0, total - tables.safety.sum(axis=0))).sum())
    left = tables.capacity.sum(axis=0) - total
    for first, second, target, weight in tables.balance:
        least += float(weight * max(0.0, target * left[int(first)] - left[int(second)]))
    if tables.has_even:
        for r in np.flatnonzero(tables.even_price.any(axis=0)):
            # Least where each host's share goes with the square of its capacity.
            least += float(total[r] ** 2 / (1.0 / tables.even_price[:, r]).sum())
    if tables.has_affinity and tables.affinity.shape[1]:
        least += float(tables.affinity.min(axis=1).sum())
    return least + float(np.minimum(0.0, tables.pair_price).sum()) / 2.0


def soft(tuning: Tuning) -> bool:
    """May hosts overflow meanwhile?"""
    return tuning.hard_from > 0.0


def choose(tried: Sequence[tuple[Tuning, float]], least: float) -> tuple[Tuning, Tuning]:
    """Of trials with the price that each led to: the best way, and the one to try beside it.

    `least` is the bound that prices are held against. The second is one of the other kind (capacity a rule
    or not) that came close, or else of the best one's kind; of ways where hosts may overflow it is the best
    itself unless the other's price is near.
    """
    order = sorted(tried, key=lambda trial: trial[1])
    best, price = order[0]
    reach = max(0.0, price - least)
    others = [(tuning, cost) for tuning, cost in order if tuning != best]
    close = _CLOSE if soft(best) else _CLOSE_SOFT
    for tuning, cost in others:
        if soft(tuning) != soft(best) and cost - least <= close * reach:
            return best, tuning
    alike = [(tuning, cost) for tuning, cost in others if soft(tuning) == soft(best)]
    if not alike or (soft(best) and alike[0][1] > _NEAR_SOFT * price):
        return best, best
    return best, alike[0][0]
