"""Storage that several hosts reach: its room is one for all of them, whoever takes a machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .answers import Code, HostAnswer
from .model import Plant, Vm
from .words import say


def shared_room(plant: Plant) -> dict[str, int]:
    """Bytes left in each shared storage pool whose size is told; moves change nothing of it."""
    room = {pool.name: pool.capacity_bytes for pool in plant.storage if pool.capacity_bytes}
    for vm in plant.vms:
        if vm.host is not None:
            take(room, [vm])
    return room


def take(room: dict[str, int], vms: Iterable[Vm]) -> None:
    """Count the machines' disks as placed."""
    for vm in vms:
        for name in vm.disks.keys() & room.keys():
            room[name] -= vm.disks[name]


def lacking(room: dict[str, int], vms: Iterable[Vm]) -> tuple[str, ...]:
    """A sentence for each shared pool in which the machines together find no room."""
    wanted: dict[str, int] = {}
    for vm in vms:
        for name in vm.disks.keys() & room.keys():
            wanted[name] = wanted.get(name, 0) + vm.disks[name]
    return tuple(
        say(
            "at.storage_shared",
            name=name,
            wanted_bytes=float(size),
            free_bytes=float(max(room[name], 0)),
        )
        for name, size in sorted(wanted.items())
        if size > room[name]
    )


def most_copies(room: dict[str, int], vm: Vm) -> tuple[int | None, str]:
    """How many copies find room, and the pool that ends it; nothing where it wants no shared room."""
    counts = [
        (max(room[name], 0) // size, name)
        for name, size in sorted(vm.disks.items())
        if name in room and size > 0
    ]
    return min(counts) if counts else (None, "")


def refuse(
    answers: Iterable[HostAnswer], texts: tuple[str, ...], code: Code = Code.STORAGE
) -> tuple[HostAnswer, ...]:
    """Every host's answer with what lacks wherever the machine goes."""
    return tuple(
        replace(
            answer,
            codes=tuple(dict.fromkeys((*answer.codes, code))),
            texts=(*answer.texts, *texts),
            parts={},
        )
        for answer in answers
    )
