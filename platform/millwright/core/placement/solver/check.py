"""An independent verifier, written from the model with plain numpy; it shares nothing with the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .errors import ProblemError
from .problem import UNPLACED, Checked, Ints, Problem


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: its kind, the host, machine or group it is about, and a sentence."""

    kind: str
    subject: int
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an assignment costs, in parts, and which hard rules it breaks."""

    cost: float
    parts: Mapping[str, float]
    violations: tuple[Violation, ...]

    @property
    def feasible(self) -> bool:
        return not self.violations


def check(problem: Problem | Checked, assignment: ArrayLike) -> Verdict:
    """Price and rules of an assignment (V host numbers, -1 for a machine without a host).

    Raises `ProblemError` for a problem or an assignment of the wrong shape.
    """
    known = problem if isinstance(problem, Checked) else problem.validate()
    at = np.asarray(assignment, np.int64)
    if at.shape != known.home.shape:
        raise ProblemError("assignment", at.shape, f"must have the shape {known.home.shape}")
    hosts = len(known.capacity)
    if len(at) and (at.min() < UNPLACED or at.max() >= hosts):
        raise ProblemError("assignment", int(at.max()), f"hosts are 0 to {hosts - 1}, or -1")
    used = _usage(known, at, known.demand)
    parts = _parts(known, at, used)
    return Verdict(sum(parts.values()), parts, tuple(_violations(known, at, used)))


def price(known: Checked, assignment: Ints) -> float:
    """The price alone, whatever rules are broken."""
    return sum(_parts(known, assignment, _usage(known, assignment, known.demand)).values())


def _usage(known: Checked, at: Ints, demand: Ints) -> Ints:
    used = np.zeros_like(known.capacity)
    placed = at != UNPLACED
    np.add.at(used, at[placed], demand[placed])
    return used


def _parts(known: Checked, at: Ints, used: Ints) -> dict[str, float]:
    source = known.source
    over = np.maximum(0, used - known.safety).sum(axis=0)
    ratio = used / np.maximum(known.capacity, 1)
    left = known.capacity - used
    balance = 0.0
    for b in source.balances:
        lack = np.maximum(0, b.target * left[:, b.first] - left[:, b.second])
        balance += b.weight * float(lack.sum())
    moved = (at != known.home) & (known.home != UNPLACED) & (at != UNPLACED)
    group = 0
    for g in source.groups:
        if g.counted:
            group = max(group, int(moved[np.asarray(g.members, np.int64)].sum()))
    distance = 0.0
    if known.distance is not None:
        distance = float(known.distance[known.home[moved], at[moved]].astype(np.int64).sum())
    affinity = 0.0
    if known.affinity is not None:
        placed = np.flatnonzero(at != UNPLACED)
        affinity = float(known.affinity[placed, at[placed]].sum())
    return {
        "load": float((over * known.load_weight).sum()),
        "even": float(((ratio**2).sum(axis=0) * known.even_weight).sum()),
        "balance": balance,
        "move": float(known.move_cost[moved].sum()) * source.move_weight,
        "group": group * source.group_move_weight,
        "distance": distance * source.distance_weight,
        "affinity": affinity,
        "pairs": float(sum(w for a, b, w in source.pairs if at[a] == at[b] != UNPLACED)),
    }


def _violations(known: Checked, at: Ints, used: Ints) -> list[Violation]:
    found = []
    for p in np.flatnonzero(at == UNPLACED):
        found.append(Violation("unplaced", int(p), f"machine {p} has no host"))
    for p in np.flatnonzero(~known.movable & (at != known.home)):
        found.append(Violation("pinned", int(p), f"machine {p} is pinned to host {known.home[p]}"))
    if known.eligible is not None:
        placed = np.flatnonzero(at != UNPLACED)
        for p in placed[~known.eligible[placed, at[placed]]]:
            found.append(Violation("eligible", int(p), f"machine {p} must not be on host {at[p]}"))
    ghosts = np.zeros_like(used)
    away = (at != known.home) & (known.home != UNPLACED) & (at != UNPLACED)
    np.add.at(ghosts, known.home[away], known.demand[away] * known.transient)
    for m, r in zip(*np.nonzero(used + ghosts > known.capacity), strict=True):
        kind = "capacity" if used[m, r] > known.capacity[m, r] else "transient"
        found.append(
            Violation(
                kind,
                int(m),
                f"host {m}, resource {r}: {used[m, r]} used and {ghosts[m, r]} in transit of {known.capacity[m, r]}",
            )
        )
    found.extend(_group_violations(known, at))
    return found


def _group_violations(known: Checked, at: Ints) -> list[Violation]:
    found = []
    groups = known.source.groups
    areas: dict[int, set[int]] = {}

    def area(index: int) -> set[int]:
        if index not in areas:
            hosts = at[np.asarray(groups[index].members, np.int64)]
            areas[index] = set(known.neighbourhood[hosts[hosts != UNPLACED]].tolist())
        return areas[index]

    for index, group in enumerate(groups):
        if not (group.exclusive or group.spread > 1 or group.depends_on):
            continue
        hosts = at[np.asarray(group.members, np.int64)]
        hosts = hosts[hosts != UNPLACED]
        if group.exclusive and len(set(hosts.tolist())) < len(hosts):
            found.append(Violation("exclusive", index, f"group {index}: two members on one host"))
        if group.spread > 1 and len(hosts):
            lies = len(set(known.location[hosts].tolist()))
            if lies < group.spread:
                found.append(
                    Violation(
                        "spread", index, f"group {index}: in {lies} of {group.spread} locations"
                    )
                )
        for other in group.depends_on:
            if missing := area(index) - area(other):
                found.append(
                    Violation(
                        "dependency",
                        index,
                        f"group {index}: no member of group {other} in neighbourhoods {sorted(missing)}",
                    )
                )
    return found
