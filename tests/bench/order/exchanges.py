"""Random tight exchanges: circles of machines on hosts that are filled to the last byte, or nearly."""

from __future__ import annotations

import random

from millwright.core.balancing import Host, Move, Plant, Vm, Why

GIB = 2**30
HOST = 64 * GIB
SIZES = [4 * GIB, 8 * GIB, 16 * GIB]


def numbered(number: int, room: int = 0, seed: int = 1) -> tuple[Plant, list[Move]]:
    """The exchange of that number of a seed; `room`: GiB that stay free on each host beside."""
    return exchange(random.Random(seed * 1_000_003 + number), room * GIB)  # noqa: S311


def exchange(dice: random.Random, left: int = 0) -> tuple[Plant, list[Move]]:
    """A plant and the moves that are wanted; the plant has room for all once they are made.

    `left`: bytes that stay free on each host beside.
    """
    count = dice.randint(6, 16)
    names = [f"h{index}" for index in range(count)]
    hosts = tuple(Host(name, 32, HOST + left) for name in names)
    vms: list[Vm] = []
    for index, name in enumerate(names):
        room = HOST if index else HOST // 2
        while room >= SIZES[0]:
            size = dice.choice([entry for entry in SIZES if entry <= room])
            vms.append(Vm(f"v{len(vms)}", 2, size, host=name, dirty_bytes_s=dice.uniform(0, 2e7)))
            room -= size
    there = {name: [vm for vm in vms if vm.host == name] for name in names}
    moves: dict[str, Move] = {}

    def send(vm: Vm, target: str) -> None:
        moves[vm.name] = Move(vm.name, str(vm.host), target, Why.ASKED, "", 0.0)

    for _ in range(dice.randint(2, count)):
        ring = dice.sample(names, dice.randint(2, 5))
        size = dice.choice(SIZES)
        chosen = [
            next(
                (vm for vm in there[name] if vm.memory_bytes == size and vm.name not in moves), None
            )
            for name in ring
        ]
        for vm, target in zip(chosen, (*ring[1:], ring[0]), strict=True):
            if vm is not None and all(chosen):
                send(vm, target)
    free = HOST // 2
    for name in dice.sample(names[1:], 2):
        for vm in there[name]:
            if vm.name not in moves and vm.memory_bytes <= free - 16 * GIB:
                send(vm, names[0])
                free -= vm.memory_bytes
                break
    return Plant(hosts, tuple(vms)), list(moves.values())
