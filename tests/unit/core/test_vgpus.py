"""vGPU instances in a plan: which cards they are taken from, and who is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.placement import HostSnapshot, MachineWant, ReasonCode, Snapshot, place
from millwright.core.topology import Cpu, Topology

GIB = 2**30
HOST = HostSnapshot(
    name="h1",
    health=HostHealth.UP,
    administration=HostAdministration.SCHEDULABLE,
    topology=Topology.build([Cpu(n) for n in range(4)], shared="0-3"),
    memory_bytes=16 * GIB,
    memory_promised_bytes=0,
    disk_free_bytes=16 * GIB,
    cards_free=(),
)
WANT = MachineWant(
    name="cad",
    service_class=ServiceClass.SHARED,
    vcpus=1,
    memory_bytes=GIB,
    disk_bytes=0,
    gpus=2,
    gpu_profile="a",
)


@pytest.mark.parametrize(
    ("cards", "taken"),
    [
        # One that runs the profile already before one that is empty.
        ({"c1": {"a": 4, "b": 2}, "c2": {"a": 2, "b": 0}}, ("c2", "c2")),
        # The least room first, over several cards where one has not enough.
        ({"c1": {"a": 3}, "c2": {"a": 1}}, ("c2", "c1")),
        ({"c1": {"b": 9}, "c2": {"a": 2}}, ("c2", "c2")),
    ],
)
def test_instances_come_from_the_fullest_cards(
    cards: Mapping[str, Mapping[str, int]], taken: tuple[str, ...]
) -> None:
    plan = place(Snapshot((replace(HOST, vgpus_free=cards),)), WANT)
    assert plan.chosen is not None
    assert (plan.chosen.vgpus, plan.chosen.cards) == (taken, ())


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"c1": {"a": 1}}, "h1: vGPU instances of a: 2 wanted, 1 free"),
        ({"c1": {"b": 4}}, "h1: vGPU instances of a: 2 wanted, 0 free"),
        (None, "h1: the host has not told yet which vGPU profiles it has"),
    ],
)
def test_who_lacks_them_says_so(cards: Mapping[str, Mapping[str, int]] | None, words: str) -> None:
    plan = place(Snapshot((replace(HOST, vgpus_free=cards),)), WANT)
    assert plan.chosen is None
    assert [row.code for row in plan.verdicts[0].reasons] == [ReasonCode.NO_VGPU]
    assert plan.explain() == words
