"""The problem in arrays: hosts, machines, rules and prices.

The model is a superset of the machine-reassignment problem of the ROADEF/EURO challenge 2012.
Amounts are whole numbers in units of the caller's choice (bytes, millicores); prices are numbers
of one currency, added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ProblemError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Whole numbers above this lose digits in the kernel's double precision.
EXACT_LIMIT = 2**53

UNPLACED = -1


@dataclass(frozen=True, slots=True)
class Group:
    """Machines that a rule ties together. A machine may be in several groups.

    ``exclusive``: no two on one host (hard anti-affinity; ROADEF's conflict).
    ``spread``: they lie in at least so many locations.
    ``depends_on``: indexes of groups of which each member's neighbourhood must hold a member
    ("near"). Machines that must share a *host* are better given as one machine of their sum:
    single moves cannot part and rejoin them.
    ``counted``: its number of moved machines enters the group price; counted groups are disjoint.
    """

    members: Sequence[int]
    exclusive: bool = False
    spread: int = 0
    depends_on: Sequence[int] = ()
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Balance:
    """Price `weight` for every unit of max(0, target · free[first] - free[second]) of a host."""

    first: int
    second: int
    target: int
    weight: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What to place where. Hosts H, machines V, resources R; see `validate` for the rules.

    ``capacity`` H x R, ``safety`` H x R (above it load costs), ``demand`` V x R,
    ``home`` V: the host now, or -1 for a machine that has none yet.
    """

    capacity: ArrayLike
    demand: ArrayLike
    home: ArrayLike
    #: default: the capacity, so that load costs nothing
    safety: ArrayLike | None = None
    #: R: a moved machine counts on its old and its new host (disk, memory while copying)
    transient: ArrayLike | None = None
    #: R: price per unit above the safety capacity
    load_weight: ArrayLike | None = None
    #: R: price of sum over hosts of (load / capacity)²; its minimum is the smallest deviation
    even_weight: ArrayLike | None = None
    balances: Sequence[Balance] = ()
    groups: Sequence[Group] = ()
    #: H: failure domain (rack, room), counted by `Group.spread`; default: each host its own
    location: ArrayLike | None = None
    #: H: who is near whom, for `Group.depends_on`; default: all one
    neighbourhood: ArrayLike | None = None
    #: V x H: where a machine may be; default: everywhere. A home that is not allowed must be left
    eligible: ArrayLike | None = None
    #: V: False pins a machine to its home
    movable: ArrayLike | None = None
    #: V: price of moving at all (times `move_weight`)
    move_cost: ArrayLike | None = None
    #: H x H: price from host to host (times `distance_weight`)
    distance: ArrayLike | None = None
    #: V x H: price of being there (soft host affinity; negative attracts)
    affinity: ArrayLike | None = None
    #: pairs of machines and the price of their being on one host (negative attracts)
    pairs: Sequence[tuple[int, int, float]] = field(default=())
    move_weight: float = 1.0
    distance_weight: float = 0.0
    #: price per moved machine of the counted group with most moved machines
    group_move_weight: float = 0.0

    def validate(self) -> Checked:
        """The problem with every default filled in.

        Raises `ProblemError` naming field, value and rule.
        """
        return Checked.of(self)


@dataclass(frozen=True, eq=False)
class Checked:
    """A problem whose arrays have their final types and shapes."""

    source: Problem
    capacity: Ints
    safety: Ints
    demand: Ints
    home: Ints
    transient: Bools
    load_weight: Floats
    even_weight: Floats
    location: Ints
    neighbourhood: Ints
    eligible: Bools | None
    movable: Bools
    move_cost: Floats
    distance: NDArray[np.int32] | None
    affinity: Floats | None

    @classmethod
    def of(cls, problem: Problem) -> Checked:
        capacity = _whole("capacity", problem.capacity, 2)
        hosts, resources = capacity.shape
        demand = _whole("demand", problem.demand, 2)
        if demand.shape[1] != resources:
            raise ProblemError("demand", demand.shape, f"must have {resources} resources a row")
        machines = len(demand)
        home = _whole("home", problem.home, 1, minimum=UNPLACED, shape=(machines,))
        if machines and home.max() >= hosts:
            raise ProblemError("home", int(home.max()), f"there are {hosts} hosts, counted from 0")
        safety = (
            capacity
            if problem.safety is None
            else _whole("safety", problem.safety, 2, shape=capacity.shape)
        )
        eligible = _flags("eligible", problem.eligible, (machines, hosts))
        movable = _flags("movable", problem.movable, (machines,))
        checked = cls(
            source=problem,
            capacity=capacity,
            safety=safety,
            demand=demand,
            home=home,
            transient=_or(
                _flags("transient", problem.transient, (resources,)), np.zeros(resources, np.bool_)
            ),
            load_weight=_prices("load_weight", problem.load_weight, (resources,), minimum=0),
            even_weight=_prices("even_weight", problem.even_weight, (resources,), minimum=0),
            location=_labels("location", problem.location, np.arange(hosts)),
            neighbourhood=_labels(
                "neighbourhood", problem.neighbourhood, np.zeros(hosts, np.int64)
            ),
            eligible=eligible,
            movable=_or(movable, np.ones(machines, np.bool_)),
            move_cost=_prices("move_cost", problem.move_cost, (machines,), minimum=0),
            distance=_distances(problem.distance, hosts),
            affinity=None
            if problem.affinity is None
            else _prices("affinity", problem.affinity, (machines, hosts)),
        )
        checked._check_relations(machines, resources)
        return checked

    def _check_relations(self, machines: int, resources: int) -> None:
        source = self.source
        counted = np.zeros(machines, np.bool_)
        for index, group in enumerate(source.groups):
            name = f"groups[{index}]"
            members = np.asarray(group.members, np.int64)
            if len(members) and (members.min() < 0 or members.max() >= machines):
                raise ProblemError(name, list(group.members), f"members are 0 to {machines - 1}")
            if len(members) > 1 and len(np.unique(members)) != len(members):
                raise ProblemError(name, list(group.members), "a member is named twice")
            for other in group.depends_on:
                if not 0 <= other < len(source.groups):
                    raise ProblemError(f"{name}.depends_on", other, "there is no such group")
            if group.counted:
                if counted[members].any():
                    raise ProblemError(name, list(group.members), "counted groups must be disjoint")
                counted[members] = True
        for balance in source.balances:
            if not (0 <= balance.first < resources and 0 <= balance.second < resources):
                raise ProblemError("balances", balance, f"resources are 0 to {resources - 1}")
            if balance.weight < 0:
                raise ProblemError("balances", balance, "the weight must not be negative")
        for one, other, _ in source.pairs:
            if one == other or not (0 <= one < machines and 0 <= other < machines):
                raise ProblemError("pairs", (one, other), "names two different machines")
        for name in ("move_weight", "distance_weight", "group_move_weight"):
            value = getattr(source, name)
            if not (np.isfinite(value) and value >= 0):
                raise ProblemError(name, value, "must be finite and not negative")
        pinned = np.flatnonzero(~self.movable & (self.home == UNPLACED))
        if len(pinned):
            raise ProblemError(
                "movable", int(pinned[0]), "a machine without a home cannot be pinned"
            )


def _whole(
    name: str, given: ArrayLike, dimensions: int, *, minimum: int = 0, shape: object = None
) -> Ints:
    raw = np.asarray(given)
    if raw.size == 0 and raw.ndim != dimensions:
        raw = raw.reshape((0,) * dimensions)
    if raw.ndim != dimensions or (shape is not None and raw.shape != shape):
        raise ProblemError(
            name, raw.shape, f"must have the shape {shape or f'of {dimensions} axes'}"
        )
    if raw.dtype.kind not in "iub" and raw.size and not np.array_equal(raw, np.floor(raw)):
        raise ProblemError(name, str(raw.dtype), "must be whole numbers; choose a smaller unit")
    array = np.ascontiguousarray(raw, dtype=np.int64)
    if array.size and (array.min() < minimum or array.max() >= EXACT_LIMIT):
        worst = int(array.min()) if array.min() < minimum else int(array.max())
        raise ProblemError(name, worst, f"must be from {minimum} to below 2**53")
    return array


def _prices(
    name: str, given: ArrayLike | None, shape: tuple[int, ...], *, minimum: float = -np.inf
) -> Floats:
    if given is None:
        return np.zeros(shape)
    array = np.ascontiguousarray(given, dtype=np.float64)
    if array.shape != shape:
        raise ProblemError(name, array.shape, f"must have the shape {shape}")
    if array.size and (not np.isfinite(array).all() or array.min() < minimum):
        raise ProblemError(name, float(array.min()), f"must be finite and at least {minimum}")
    return array


def _flags(name: str, given: ArrayLike | None, shape: tuple[int, ...]) -> Bools | None:
    if given is None:
        return None
    array = np.ascontiguousarray(given, dtype=np.bool_)
    if array.shape != shape:
        raise ProblemError(name, array.shape, f"must have the shape {shape}")
    return array


def _or(given: Bools | None, default: Bools) -> Bools:
    return default if given is None else given


def _labels(name: str, given: ArrayLike | None, default: NDArray[np.int_]) -> Ints:
    """Any labels, made 0, 1, 2, …"""
    raw = default if given is None else np.asarray(given)
    if raw.shape != default.shape:
        raise ProblemError(name, raw.shape, f"must have the shape {default.shape}")
    return np.unique(raw, return_inverse=True)[1].astype(np.int64)


def _distances(given: ArrayLike | None, hosts: int) -> NDArray[np.int32] | None:
    if given is None:
        return None
    raw = np.asarray(given)
    if raw.shape != (hosts, hosts):
        raise ProblemError("distance", raw.shape, f"must have the shape {(hosts, hosts)}")
    if raw.size and (raw.min() < 0 or raw.max() >= 2**31):
        raise ProblemError("distance", int(raw.max()), "must be from 0 to below 2**31")
    return np.ascontiguousarray(raw, dtype=np.int32)
