"""Read the challenge's files into a `Problem`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from millwright.core.placement.solver import Balance, Group, Problem
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class FileError(ValueError):
    """A file that is not what the challenge's format says."""


class _Numbers:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.values: Ints = np.fromstring(path.read_bytes(), dtype=np.int64, sep=" ")
        except ValueError as error:
            raise FileError(f"{path}: holds something that is not a whole number") from error
        self.at = 0

    def take(self, count: int, what: str) -> Ints:
        if count < 0 or self.at + count > len(self.values):
            raise FileError(
                f"{self.path}: {what}: {count} numbers wanted from number {self.at}, there are {len(self.values)}"
            )
        self.at += count
        return self.values[self.at - count : self.at]

    def one(self, what: str) -> int:
        return int(self.take(1, what)[0])


def read(model: Path, initial: Path) -> Problem:
    """The problem of one instance. Raises `FileError` for a broken file, `OSError` for none."""
    numbers = _Numbers(model)
    resources = numbers.one("number of resources")
    resource = numbers.take(2 * resources, "resources").reshape(resources, 2)
    machines = numbers.one("number of machines")
    width = 2 + 2 * resources + machines
    machine = numbers.take(machines * width, "machines").reshape(machines, width)
    services = numbers.one("number of services")
    spread: list[int] = []
    depends: list[list[int]] = []
    for index in range(services):
        spread.append(numbers.one(f"service {index}: spread"))
        count = numbers.one(f"service {index}: number of dependencies")
        depends.append(numbers.take(count, f"service {index}: dependencies").tolist())
    processes = numbers.one("number of processes")
    process = numbers.take(processes * (resources + 2), "processes").reshape(
        processes, resources + 2
    )
    balances = numbers.take(4 * numbers.one("number of balances"), "balances").reshape(-1, 4)
    process_weight, service_weight, machine_weight = numbers.take(3, "weights").tolist()
    home = _Numbers(initial).take(processes, "initial assignment").copy()
    service = process[:, 0]
    if len(service) and (service.min() < 0 or service.max() >= services):
        raise FileError(f"{model}: process names service {service.max()} of {services}")
    order = np.argsort(service, kind="stable")
    members = np.split(order, np.searchsorted(service[order], np.arange(1, services)))
    distance = np.ascontiguousarray(machine[:, 2 + 2 * resources :], dtype=np.int32)
    return Problem(
        capacity=machine[:, 2 : 2 + resources].copy(),
        safety=machine[:, 2 + resources : 2 + 2 * resources].copy(),
        demand=process[:, 1 : 1 + resources].copy(),
        home=home,
        transient=resource[:, 0] != 0,
        load_weight=resource[:, 1].copy(),
        balances=[Balance(a, b, target, weight) for a, b, target, weight in balances.tolist()],
        groups=[
            Group(members[s], exclusive=True, spread=spread[s], depends_on=depends[s], counted=True)
            for s in range(services)
        ],
        location=machine[:, 1].copy(),
        neighbourhood=machine[:, 0].copy(),
        move_cost=process[:, -1].copy(),
        distance=distance,
        move_weight=process_weight,
        distance_weight=machine_weight,
        group_move_weight=service_weight,
    )
