"""`python -m tests.bench.roadef2012.generate MODEL INITIAL --machines M --processes P …`

Instances of the challenge's shape and of any size, for what the published ones leave open: thousands of
machines, little room in transient resources, a bad initial assignment. The same arguments give the same
files. The initial assignment breaks no rule, because the rules are read off it: a service's spread is at
most the locations that it lies in, it depends on services that are near it, and a machine holds what it has.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: Machines that are looked at for each process.
_CANDIDATES = 8
#: Services that are looked at for what one depends on.
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Shape:
    """What an instance is like. Shares and fills are from 0 to 1."""

    machines: int
    processes: int
    services: int
    resources: int = 6
    #: how many of the resources are transient
    transient: int = 2
    neighbourhoods: int = 5
    locations: int = 50
    balances: int = 1
    #: mean number of services that one of several processes depends on
    dependencies: float = 8.0
    #: share of services of one process
    single: float = 0.6
    #: mean use over capacity
    fill: float = 0.85
    #: mean safety capacity over capacity
    safety: float = 0.85
    #: spread of the machines' sizes, in logarithms
    sizes: float = 0.3
    #: share of processes that go to the fullest of the machines looked at instead of the emptiest
    bad: float = 0.3

    def check(self) -> None:
        """Raises `ValueError` naming field, value and rule."""
        for name in ("machines", "processes", "services", "resources", "neighbourhoods"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if self.services > self.processes:
            raise ValueError(f"services {self.services}: at most one a process, {self.processes}")
        if not 0 <= self.transient <= self.resources:
            raise ValueError(f"transient {self.transient}: must be 0 to {self.resources}")
        if self.balances and self.resources < 2:
            raise ValueError(f"balances {self.balances}: want two resources")
        if self.balances < 0 or self.dependencies < 0:
            raise ValueError("balances, dependencies: must not be negative")
        if not 1 <= self.locations <= self.machines:
            raise ValueError(f"locations {self.locations}: must be 1 to {self.machines}")
        if self.neighbourhoods > 62:
            raise ValueError(f"neighbourhoods {self.neighbourhoods}: must be at most 62")
        for name in ("single", "fill", "safety", "bad"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be from 0 to 1")


def _sizes(shape: Shape, dice: np.random.Generator) -> Ints:
    """Processes of each service: one, or several and at most one a location."""
    size = np.ones(shape.services, np.int64)
    several = np.flatnonzero(dice.random(shape.services) >= shape.single)
    weight = dice.exponential(size=len(several)) + 0.2
    rest = shape.processes - shape.services
    while rest > 0:
        open_ = np.flatnonzero(size[several] < shape.locations)
        if not len(open_):
            # The shares leave no place for all: what is left goes to services of one process.
            several, weight = np.flatnonzero(size < shape.locations), np.ones(shape.services)
            if not len(several):
                raise ValueError(f"services {shape.services}: too few for so many processes")
            weight = weight[several]
            continue
        share = weight[open_] / weight[open_].sum()
        more = np.minimum(dice.multinomial(rest, share), shape.locations - size[several[open_]])
        size[several[open_]] += more
        rest -= int(more.sum())
    return size


def _demand(shape: Shape, service: Ints, dice: np.random.Generator) -> Ints:
    """Amounts over three or four powers of ten, alike for the first resources and within a service."""
    own = dice.normal(size=len(service))
    of_service = dice.normal(size=shape.services)[service]
    columns = []
    for _ in range(shape.resources):
        together, spread = dice.uniform(0.0, 0.9), dice.uniform(1.2, 2.2)
        alone = dice.normal(size=len(service))
        common = 0.8 * own + 0.6 * of_service
        draw = together * common + np.sqrt(1 - together**2) * alone
        columns.append(np.exp(dice.uniform(6.0, 9.5) + spread * np.clip(draw, -3.0, 1.8)))
    return np.maximum(1, np.column_stack(columns)).astype(np.int64)


def _place(
    shape: Shape, service: Ints, demand: Ints, capacity: Ints, location: Ints,
    dice: np.random.Generator,
) -> Ints:  # fmt: skip
    """A machine for each process: fit where one is found, else the emptiest looked at."""
    used = np.zeros_like(capacity)
    home = np.zeros(len(service), np.int64)
    taken: list[set[int]] = [set() for _ in range(shape.services)]
    for p in dice.permutation(len(service)).tolist():
        mine = taken[int(service[p])]
        for tries in (1, 4, 64):
            some = dice.integers(0, shape.machines, _CANDIDATES * tries)
            some = some[[int(location[m]) not in mine for m in some]]
            full = ((used[some] + demand[p]) / capacity[some]).max(axis=1)
            if len(full) and full.min() <= 1.0:
                break
        if not len(full):
            free = np.flatnonzero(~np.isin(location, list(mine)))
            some, full = free, ((used[free] + demand[p]) / capacity[free]).max(axis=1)
        fits = np.flatnonzero(full <= 1.0)
        if len(fits) and dice.random() < shape.bad:
            chosen = fits[np.argmax(full[fits])]
        else:
            chosen = np.argmin(full)
        home[p] = some[chosen]
        used[home[p]] += demand[p]
        mine.add(int(location[home[p]]))
    np.maximum(capacity, used, out=capacity)
    return home


def _dependencies(
    shape: Shape, size: Ints, areas: Ints, dice: np.random.Generator
) -> list[list[int]]:
    """For each service of several processes some that are near it wherever it is."""
    several = np.flatnonzero(size > 1)
    found: list[list[int]] = [[] for _ in range(shape.services)]
    for s in several.tolist():
        some = dice.choice(several, min(_LOOKED_AT, len(several)), replace=False)
        near = some[(areas[some] & areas[s] == areas[s]) & (some != s)]
        found[s] = near[: dice.poisson(shape.dependencies)].tolist()
    return found


def write(shape: Shape, seed: int, model: Path, initial: Path) -> None:
    """Write both files. Raises `ValueError` for a shape that cannot be, `OSError`."""
    shape.check()
    dice = np.random.default_rng(seed)
    size = _sizes(shape, dice)
    service = np.repeat(np.arange(shape.services), size)
    demand = _demand(shape, service, dice)
    location = np.concatenate(
        [
            np.arange(shape.locations),
            dice.integers(0, shape.locations, shape.machines - shape.locations),
        ]
    )
    neighbourhood = dice.integers(0, shape.neighbourhoods, shape.machines)
    scale = np.exp(dice.normal(scale=shape.sizes, size=(shape.machines, 1)))
    scale = scale * np.exp(dice.normal(scale=0.1, size=(shape.machines, shape.resources)))
    capacity = scale / scale.sum(axis=0) * demand.sum(axis=0) / max(shape.fill, 0.01)
    # A machine holds at least the largest process, or most of its room would stay empty.
    capacity = np.maximum(capacity, demand.max(axis=0)).astype(np.int64)
    home = _place(shape, service, demand, capacity, location, dice)
    share = np.clip(shape.safety + dice.uniform(-0.08, 0.08, capacity.shape), 0.0, 1.0)
    safety = (capacity * share).astype(np.int64)
    areas = np.zeros(shape.services, np.int64)
    np.bitwise_or.at(areas, service, 1 << neighbourhood[home])
    lies = np.array(
        [len(set(rows.tolist())) for rows in np.split(location[home], size.cumsum()[:-1])]
    )
    spread = np.where(dice.random(shape.services) < 0.5, 0, dice.integers(0, lies + 1))
    depends = _dependencies(shape, size, areas, dice)

    transient = np.zeros(shape.resources, np.int64)
    transient[dice.permutation(shape.resources)[: shape.transient]] = 1
    with model.open("w") as out:

        def row(*numbers: object) -> None:
            out.write(" ".join(map(str, numbers)) + "\n")

        row(shape.resources)
        for flag in transient.tolist():
            row(flag, 10)
        row(shape.machines)
        for m in range(shape.machines):
            far = np.where(neighbourhood == neighbourhood[m], 1, 2)
            far[location == location[m]] = 0
            row(neighbourhood[m], location[m], *capacity[m].tolist(), *safety[m].tolist())
            out.write((far.astype(np.uint8) + 48).tobytes().decode().replace("", " ")[1:-1] + "\n")
        row(shape.services)
        for s in range(shape.services):
            row(spread[s], len(depends[s]), *depends[s])
        row(shape.processes)
        for p in range(shape.processes):
            row(service[p], *demand[p].tolist(), 1)
        row(shape.balances)
        for _ in range(shape.balances):
            first, second = dice.permutation(shape.resources)[:2].tolist()
            ratio = capacity[:, second].sum() / max(1, int(capacity[:, first].sum()))
            row(first, second, max(1, round(float(ratio))))
            row(10)
        row(1, 10, 100)
    initial.write_text(" ".join(map(str, home.tolist())) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests.bench.roadef2012.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("initial", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    for name in ("machines", "processes", "services"):
        parser.add_argument(f"--{name}", type=int, required=True)
    usual = Shape(1, 1, 1, locations=1)
    for name in ("resources", "transient", "neighbourhoods", "locations", "balances"):
        default = Shape.__dataclass_fields__[name].default
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("dependencies", "single", "fill", "safety", "sizes", "bad"):
        parser.add_argument(f"--{name}", type=float, default=getattr(usual, name))
    asked = vars(parser.parse_args())
    model, initial, seed = asked.pop("model"), asked.pop("initial"), asked.pop("seed")
    try:
        write(Shape(**asked), seed, model, initial)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
