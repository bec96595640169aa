"""What hosts say of themselves is read host by host: one that hangs keeps nobody waiting, and seldom is asked what seldom changes."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.utils import timezone
from millwright.hypervisor import GpuFacts, HostUnreachable, HypervisorError
from millwright.hypervisor.fake import FakePool
from millwright.inventory import equipment
from millwright.inventory.models import Host
from millwright.orchestrator.facts import OFTEN, SELDOM, Facts, due_parts, read_host

from tests.support.hanging import LIMIT_S, Hanging
from tests.support.plant import Plant, build_plant

GIB = 2**30


@pytest.fixture
def plant(transactional_db: None) -> Plant:
    return build_plant()


@pytest.fixture
def pool(plant: Plant) -> FakePool:
    made = FakePool(site="s")
    for host in plant.hosts:
        made.add_host(host.name, cpus=6, memory_bytes=16 * GIB)
    return made


def read_at(name: str) -> str | None:
    at: str | None = (Host.objects.get(name=name).equipment or {}).get("at")
    return at


@pytest.mark.parametrize("verb", ["facts", "ensure_pool", "equipment"])
def test_a_host_that_hangs_holds_up_neither_rounds_nor_other_hosts(
    plant: Plant, pool: FakePool, verb: str
) -> None:
    first, second = (host.name for host in plant.hosts)
    hosts = Hanging(pool, first, verb)
    facts = Facts(hosts)
    try:
        # Were the host asked in this thread, it would not come back: nobody opens the gate before.
        begun = facts.round([first, second])
        assert hosts.asked.wait(LIMIT_S)
        assert begun[second].result(LIMIT_S)
        seen = read_at(second)
        assert (read_at(first), seen is None) == (None, False)
        # The other one is read round by round, the hanging one is not asked a second time.
        again = facts.round([first, second])
        assert set(again) == {second}
        assert again[second].result(LIMIT_S)
        assert read_at(second) != seen
        assert (hosts.times, begun[first].done()) == (1, False)
        hosts.gate.set()
        assert begun[first].result(LIMIT_S)
        assert read_at(first) is not None
        assert set(facts.round([first, second])) == {first, second}
    finally:
        hosts.gate.set()
        facts.close()


def test_what_goes_wrong_is_that_host_s_alone_and_what_it_said_stands(
    plant: Plant, pool: FakePool
) -> None:
    first, second = (host.name for host in plant.hosts)
    facts = Facts(SimpleNamespace(get=pool.host))
    for future in facts.round([first, second]).values():
        assert future.result(LIMIT_S)
    seen = read_at(first)
    for odd in (HostUnreachable("gone"), RuntimeError("odd")):
        pool.host(first).faults.fail_next("equipment", odd)  # type: ignore[arg-type]  # no error of ours, on purpose
        begun = facts.round([first, second])
        assert (begun[first].result(LIMIT_S), begun[second].result(LIMIT_S)) == (False, True)
        assert read_at(first) == seen
    facts.close()


def test_what_changes_seldom_is_asked_seldom(plant: Plant, pool: FakePool) -> None:
    name = plant.hosts[0].name
    fake, now = pool.host(name), timezone.now()

    def told(later: dt.timedelta) -> tuple[frozenset[str] | None, int]:
        assert read_host(fake, name, now + later)
        host = Host.objects.get(name=name)
        assert host.equipment["at"] == (now + later).isoformat()
        return equipment.cpu_features(host), equipment.pages_bytes(host)

    minute = dt.timedelta(minutes=1)
    before, _ = told(0 * minute)
    fake.parts.features = frozenset({"avx2"})
    fake.parts.hugepages = {GIB: 2}
    assert told(minute) == (before, 2 * GIB)
    assert told(SELDOM - minute) == (before, 2 * GIB)
    assert told(SELDOM) == ({"avx2"}, 2 * GIB)
    # Another libvirt, QEMU or CPU may give guests something else: it is asked at once.
    fake.parts.features = frozenset({"avx512f"})
    kept = Host.objects.get(name=name).equipment
    Host.objects.filter(name=name).update(equipment={**kept, "versions": ["1", "1", "old"]})
    assert told(SELDOM + minute) == ({"avx512f"}, 2 * GIB)


def test_cards_that_are_shared_are_asked_each_time(plant: Plant, pool: FakePool) -> None:
    """A place that a machine has given back is one for the next within a minute, not after ten."""
    name = plant.hosts[0].name
    fake, now = pool.host(name), timezone.now()
    card = GpuFacts(
        address="0000:65:00.0",
        model="10de:1eb8",
        name="NVIDIA T4",
        driver="nvidia",
        iommu_group=27,
    )
    shared: dict[str, int] = {"nvidia-35": 2}
    for profiles, parts in ({}, OFTEN), (shared, (*OFTEN, "gpus")):
        fake.parts.gpus = (replace(card, profiles=profiles),)
        Host.objects.filter(name=name).update(equipment={})
        read_host(fake, name, now)
        kept = Host.objects.get(name=name).equipment
        assert due_parts(kept, kept["versions"], now) == parts


def test_a_part_that_could_not_be_read_is_asked_for_again(plant: Plant, pool: FakePool) -> None:
    name = plant.hosts[0].name
    fake, now = pool.host(name), timezone.now()
    fake.parts.unread = {"gpus": "the list was interrupted", "pages": "busy"}
    read_host(fake, name, now)
    kept = Host.objects.get(name=name).equipment
    assert kept["unread"] == fake.parts.unread
    assert due_parts(kept, kept["versions"], now) == ("pages", "pools", "gpus")
    fake.parts.unread = {}
    read_host(fake, name, now + dt.timedelta(minutes=1))
    after = Host.objects.get(name=name).equipment
    assert (after["unread"], after["gpus"], after["pages"]) == ({}, [], [])
    # It is no whole reading: that comes when it is due.
    assert after["seldom_at"] == kept["seldom_at"]
    assert due_parts(after, after["versions"], now) == OFTEN


def test_a_host_that_is_not_connected_or_not_known_is_not_asked(
    plant: Plant, pool: FakePool
) -> None:
    name = plant.hosts[0].name
    stranger = pool.add_host("stranger")
    assert read_host(stranger, "stranger", timezone.now()) is False
    pool.host(name).kill()
    try:
        told = read_host(pool.host(name), name, timezone.now())
    except HypervisorError:
        told = False
    assert (told, read_at(name)) == (False, None)
