"""From a cluster to the moves that even it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import numpy as np

from . import descent
from .data import Cluster, Ints
from .score import score

#: No plan is longer.
LONGEST = 10_000


@dataclass(frozen=True)
class Step:
    """One machine's move, with the nodes it has after it; `secondary` is -1 where it has none."""

    machine: int
    kind: int
    target: int
    primary: int
    secondary: int
    score: float


@dataclass(frozen=True, eq=False)
class Plan:
    """The moves in their order, and the score before and after, counted anew from the file."""

    before: float
    after: float
    steps: Sequence[Step] = field(default=())


def optimum(cluster: Cluster) -> float:
    """The score that keeping memory for a loss costs at least: below it nothing is gained."""
    total, largest = float(cluster.memory.sum()), float(cluster.memory.max())
    if len(cluster.nodes) < 2 or total <= largest:
        return 0.0
    mirrored = float(cluster.size_kept[cluster.secondary >= 0].sum())
    return 0.25 * (mirrored / (total - largest) - mirrored / total)


def warm(cluster: Cluster) -> None:
    """Load the compiled code, or compile it."""
    if not cluster.instances:
        return
    board = descent.board(cluster)
    none = np.zeros(len(cluster.instances), np.bool_)
    descent.descend(board, none, np.zeros((1, 3), np.int64), 0, 0.0)
    descent.price(board, 0, descent.ANYWHERE, 0)
    descent.make(board, 0, descent.ANYWHERE, int(cluster.primary[0]))


def balance(cluster: Cluster) -> Plan:
    """Even the cluster out, with no more moves than the steepest descent takes."""
    board = descent.board(cluster)
    everyone = np.ones(len(cluster.instances), np.bool_)
    moves = np.zeros((LONGEST, 3), np.int64)
    floor = optimum(cluster)
    made, now = descent.descend(board, everyone, moves, 0, floor)
    limit = made
    rows = [tuple(row) for row in moves[:made].tolist()]
    shorter = _joined(cluster, rows)
    if len(shorter) < limit:
        # What was saved may be spent on moves that the descent did not come to.
        moves[: len(shorter)] = shorter
        _replay(cluster, shorter, board)
        made, then = descent.descend(board, everyone, moves[:limit], len(shorter), floor)
        if then <= now + 1e-12:
            rows = [tuple(row) for row in moves[:made].tolist()]
    final = descent.board(cluster)
    steps = _replay(cluster, rows, final)
    assert steps is not None
    return Plan(
        before=score(cluster, cluster.primary, cluster.secondary),
        after=score(cluster, final.primary, final.secondary),
        steps=steps,
    )


def _replay(
    cluster: Cluster, rows: Sequence[tuple[int, int, int]], board: descent.Board
) -> list[Step] | None:
    """Make the moves from the file's placement on; None when one is not allowed where it stands."""
    board.primary[:] = cluster.primary
    board.secondary[:] = cluster.secondary
    descent.refresh(board)
    steps = []
    for machine, kind, target in rows:
        if descent.price(board, machine, kind, target) == inf:
            return None
        now = descent.make(board, machine, kind, target)
        steps.append(
            Step(
                machine,
                kind,
                target,
                int(board.primary[machine]),
                int(board.secondary[machine]),
                now,
            )
        )
    return steps


def _kind(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int] | None:
    """The one move, and its node, that leads from a pair of nodes to another; None: there is none."""
    (a, s), (p, q) = before, after
    if s < 0:
        return (descent.ANYWHERE, p) if p != a else None
    if p == s:
        return (descent.FAILOVER, s) if q == a else (descent.FAILOVER_REPLACE, q)
    if p == a:
        return (descent.REPLACE, q) if q != s else None
    if q == a:
        return descent.REPLACE_FAILOVER, p
    return (descent.REPLACE_PRIMARY, p) if q == s else None


def _joined(cluster: Cluster, rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Two moves of one machine made one, where one leads there and every rule still holds."""
    board = descent.board(cluster)
    steps = _replay(cluster, rows, board)
    assert steps is not None
    nodes: dict[int, tuple[int, int]] = {}
    before = []
    for step in steps:
        first = (int(cluster.primary[step.machine]), int(cluster.secondary[step.machine]))
        before.append(nodes.get(step.machine, first))
        nodes[step.machine] = (step.primary, step.secondary)
    last: dict[int, int] = {}
    for index, (machine, _, _) in enumerate(rows):
        if machine in last:
            one = last[machine]
            there = (steps[index].primary, steps[index].secondary)
            kind = _kind(before[one], there)
            for at in (index, one) if kind else ():
                tried = list(rows)
                tried[at] = (machine, *kind)  # type: ignore[misc]
                del tried[one if at == index else index]
                then = _replay(cluster, tried, board)
                if then is not None and _falls(then):
                    return _joined(cluster, tried)
        last[machine] = index
    return rows


def _falls(steps: Sequence[Step]) -> bool:
    """Does every step lower the score, so that a plan may be stopped after any?"""
    return all(later.score < step.score for step, later in pairwise(steps))


def placement(cluster: Cluster, steps: Sequence[Step]) -> tuple[Ints, Ints]:
    """Primary and secondary nodes after so many steps."""
    primary, secondary = cluster.primary.copy(), cluster.secondary.copy()
    for step in steps:
        primary[step.machine], secondary[step.machine] = step.primary, step.secondary
    return primary, secondary
