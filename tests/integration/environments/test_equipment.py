"""What hosts have beside CPUs and memory: read, shown, and obeyed by placements, moves, drains and rounds."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.balancing import draining, hours
from millwright.balancing.models import Recommendation
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Code, Movability, admit, drain
from millwright.environments import actions, moving
from millwright.environments.history import machine_observed
from millwright.environments.models import Machine, Operation, StartedCpu
from millwright.environments.placement import place_machine, preview
from millwright.hypervisor import (
    Accel,
    DomainState,
    GpuFacts,
    GuestCpu,
    HypervisorError,
    NicFacts,
)
from millwright.hypervisor.fake import FakePool
from millwright.hypervisor.fake.state import FakeDomain
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import DeviceClaim, Host
from millwright.inventory.snapshot import snapshot
from millwright.operations import StepFailed
from millwright.orchestrator import facts, traits
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.moves import kept_cpu
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.support.plant import SPEC, Plant, image_data
from tests.unit.hypervisor.specs import BASE

__all__ = ["machines"]
GIB = 2**30
CARD = GpuFacts(
    address="0000:65:00.0",
    model="10de:1eb8",
    name="NVIDIA T4",
    driver="nvidia",
    iommu_group=27,
    companions=("0000:65:00.1",),
)


@pytest.fixture
def pool(plant: Plant) -> FakePool:
    """The plant's hosts as fakes of the same names."""
    made = FakePool(site=str(ensure_site().pk))
    for host in plant.hosts:
        made.add_host(host.name, cpus=6, memory_bytes=16 * GIB)
    return made


def told(pool: FakePool) -> Hosts:
    """Have the inventory read what the fakes have."""
    hosts = Hosts(pool.site, factory=lambda name, uri, _: pool.host(name))
    hosts.sync(dict(Host.objects.values_list("name", "uri")))
    for name in hosts.names():
        row = Host.objects.get(name=name)
        # As if so much time had passed that all is asked anew.
        kept = row.equipment and {**row.equipment, "seldom_at": None}
        Host.objects.filter(pk=row.pk).update(equipment=kept)
        with contextlib.suppress(HypervisorError):
            facts.read_host(hosts.get(name), name, timezone.now())
    return hosts


def spec(**requires: Any) -> dict[str, Any]:
    return {**SPEC, "class": "shared", "sizes": [_size()], "requires": requires}


def _size() -> dict[str, Any]:
    shared = [{"role": "shared"}, {"role": "shared"}]
    return {"name": "small", "vcpus": shared, "memory_bytes": GIB, "disk_bytes": 2 * GIB}


def codes(plant: Plant, **requires: Any) -> dict[str, list[str]]:
    """Every host's refusals of a machine that needs this."""
    plan = preview(spec(**requires), "small", cell="line1", strict=False)
    return {
        verdict.host: [str(reason.code) for reason in verdict.reasons] for verdict in plan.verdicts
    }


BOTH = ("mw0-h1", "mw0-h2")


@pytest.mark.parametrize(
    ("requires", "code", "have"),
    [
        ({"hugepages": "2M"}, "no_hugepages", {"hugepages": {2 * 2**20: 512}}),
        ({"hugepages": "1G"}, "no_hugepages", {"hugepages": {GIB: 1}}),
        ({"cpu_features": ["avx2", "popcnt"]}, "no_cpu_feature", {"features": {"avx2", "popcnt"}}),
        ({"gpu": {"count": 1}}, "no_gpu", {"gpus": (CARD,)}),
        ({"gpu": {"count": 1, "model": "10de:1eb8"}}, "no_gpu", {"gpus": (CARD,)}),
    ],
)
def test_a_machine_goes_only_where_what_its_template_asks_for_is(
    plant: Plant, pool: FakePool, requires: dict[str, Any], code: str, have: dict[str, Any]
) -> None:
    for name, value in have.items():
        setattr(pool.host("mw0-h2").parts, name, value)
    told(pool)
    assert codes(plant) == {name: [] for name in BOTH}
    assert codes(plant, **requires) == {"mw0-h1": [code], "mw0-h2": []}


def test_a_disk_goes_to_the_pool_that_is_asked_for(plant: Plant, pool: FakePool) -> None:
    pool.host("mw0-h2").ensure_pool("fast", "/srv/fast")
    told(pool)
    assert codes(plant, storage_pool="fast") == {"mw0-h1": ["no_storage_pool"], "mw0-h2": []}
    pool.host("mw0-h2")._pools["fast"].capacity_bytes = GIB
    told(pool)
    assert codes(plant, storage_pool="fast")["mw0-h2"] == ["no_disk"]


def test_what_is_not_known_keeps_nobody_away(
    plant: Plant, machines: list[Machine], pool: FakePool, client: Client
) -> None:
    for requires in ({"hugepages": "1G"}, {"cpu_features": ["avx2"]}, {"storage_pool": "fast"}):
        assert codes(plant, **requires) == {name: [] for name in BOTH}, requires
    # A card has to be named before it can be given.
    assert codes(plant, gpu={"count": 1}) == {name: ["no_gpu"] for name in BOTH}
    plan = preview(spec(cpu_features=["avx2"]), "small", cell="line1", strict=False)
    assert plan.chosen is not None
    assert plan.chosen.unmet == ("not known whether the host has it: CPU features",)
    # Where it is known comes first.
    pool.host("mw0-h2").parts.features = frozenset({"avx2"})
    told(pool)
    Host.objects.filter(name="mw0-h1").update(equipment=None)
    plan = preview(spec(cpu_features=["avx2"]), "small", cell="line1", strict=False)
    assert plan.chosen is not None
    assert plan.chosen.host == "mw0-h2"
    # What a machine was found to run with does not lock it in either.
    cpu = GuestCpu(accel=Accel.EMULATION, features=frozenset({"avx2"}))
    Machine.objects.update(started_cpu=kept_cpu(cpu))
    assert not drain(read_plant(), ["mw0-h2"]).blockers
    client.force_login(plant.operator)
    page = client.get("/pool/mw0-h1/").content.decode()
    assert "Not read yet" in page
    assert "keeps no machine away" in page


def test_the_page_says_what_is_there_what_is_missing_and_how_to_mend_it(
    plant: Plant, pool: FakePool, client: Client
) -> None:
    parts = pool.host("mw0-h1").parts
    parts.hugepages = {2 * 2**20: 64}
    locked = GpuFacts(
        address="0000:66:00.0", model="1002:73bf", name="", driver="", iommu_group=None
    )
    shared = {"nvidia-222": 16}
    parts.gpus = (
        locked,
        GpuFacts(
            address=CARD.address,
            model=CARD.model,
            name=CARD.name,
            driver="",
            iommu_group=27,
            profiles=shared,
        ),
    )
    parts.nics = (NicFacts(name="eno1", up=True, speed_bits_s=25 * 10**9),)
    bare = pool.host("mw0-h2").parts
    bare.nics, bare.unread = (), {"gpus": "unsupported node device driver"}
    told(pool)
    client.force_login(plant.operator)
    page = client.get("/pool/mw0-h1/").content.decode()
    for words in (
        "node 0: 64 of 2 MiB, 64 free",
        "Fake fake, 6 features",
        "sse4.2",
        "default (dir):",
        "eno1: 25 Gbit/s",
        "NVIDIA T4 (10de:1eb8, 0000:65:00.0); vGPU types: nvidia-222 × 16",
        "cannot be given to a guest",
        "intel_iommu=on",
    ):
        assert words in page, words
    other = client.get("/pool/mw0-h2/").content.decode()
    for words in (
        "none are reserved",
        "hugepagesz=1G",
        "1 Gbit/s is assumed",
        "unknown",
        "unsupported node device driver",
        "driver of node devices",
    ):
        assert words in other, words
    row = client.get("/api/v1/hosts/mw0-h1/").json()
    assert row["equipment"]["pages"] == [
        {"node": 0, "size_bytes": 2 * 2**20, "total": 64, "free": 64}
    ]
    assert client.get("/api/v1/hosts/mw0-h2/").json()["equipment"]["gpus"] is None


def test_memory_set_aside_for_pages_is_nobody_s_ordinary_memory(
    plant: Plant, machines: list[Machine], pool: FakePool
) -> None:
    told(pool)
    before = {host.name: host.memory_free_bytes for host in snapshot().hosts}
    pool.host("mw0-h2").parts.hugepages = {GIB: 4}
    told(pool)
    after = {host.name: host for host in snapshot().hosts}
    assert after["mw0-h2"].memory_free_bytes == before["mw0-h2"] - 4 * GIB
    assert after["mw0-h2"].hugepages_free == {GIB: 4}
    # Who lies in pages takes them, and none of the rest but what QEMU needs itself.
    version = TemplateVersion.objects.get()
    version.spec = spec(hugepages="1G")
    version.save()
    Machine.objects.update(host=plant.hosts[1], memory_bytes=GIB)
    then = {host.name: host for host in snapshot().hosts}["mw0-h2"]
    assert then.hugepages_free == {GIB: 2}
    assert then.memory_free_bytes > after["mw0-h2"].memory_free_bytes - GIB
    model = next(host for host in read_plant().hosts if host.name == "mw0-h2")
    assert model.hugepages == {"1G": 4}
    plant_now = read_plant()
    asked = replace(plant_now.vms[0], name="new/vplc", host=None, memory_bytes=3 * GIB)
    for number, wanted in ((3, (Code.HUGEPAGES,)), (2, ())):
        new = replace(asked, memory_bytes=number * GIB)
        answers = admit(plant_now, [new]).placed[0].answers
        assert next(row.codes for row in answers if row.host == "mw0-h2") == wanted


def test_a_move_never_goes_where_the_cpu_lacks_what_the_machine_was_started_with(
    plant: Plant, machines: list[Machine], pool: FakePool, tmp_path: Any
) -> None:
    store = DjangoStore(str(ensure_site().pk), Ed25519PrivateKey.generate(), tmp_path / "bundles")
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    Host.objects.update(accel="kvm")
    pool.host("mw0-h1").parts.features = frozenset({"popcnt", "avx2"})
    pool.host("mw0-h2").parts.features = frozenset({"popcnt"})
    told(pool)
    two = machines[1]
    cpu = GuestCpu(accel=Accel.KVM, model="fake", features=frozenset({"popcnt", "avx2"}))
    operation = moving.move_machine(plant.operator, two)
    with pytest.raises(StepFailed, match="not all that it was started with: avx2"):
        store.prepare_move(operation.pk, two.pk, None, started=cpu)
    Machine.objects.filter(pk=two.pk).update(started_cpu=kept_cpu(cpu))
    # The balancer knows it beforehand: a drain says so and moves nothing.
    blockers = {row.machine: row.why for row in draining.preview(plant.hosts[0]).blockers}
    assert str(two) in blockers
    with pytest.raises(ValidationError):
        draining.start(plant.operator, plant.hosts[0], approve=True)
    # From KVM to emulation there is no way either; started anew it may go anywhere.
    Host.objects.filter(name="mw0-h2").update(accel="emulation")
    want = place_machine(Machine.objects.get(pk=two.pk), {"mw0-h2"}, running=True)
    assert [str(reason.code) for reason in want.verdicts[0].reasons] == ["other_cpu"]
    assert place_machine(Machine.objects.get(pk=two.pk), {"mw0-h2"}).chosen is not None
    Host.objects.filter(name="mw0-h2").update(accel="kvm")
    pool.host("mw0-h2").parts.features = frozenset({"popcnt", "avx2", "more"})
    told(pool)
    assert not draining.preview(plant.hosts[0]).blockers
    assert store.prepare_move(operation.pk, two.pk, None, started=cpu).destination == "mw0-h2"
    # Passed through, the model must be the same too.
    store.undo_move(operation.pk, "again")
    pool.host("mw0-h2").parts.cpu_model = "newer"
    told(pool)
    own = GuestCpu(accel=Accel.KVM, model="fake", features=cpu.features, passthrough=True)
    with pytest.raises(StepFailed, match="with the CPU fake and the host has newer"):
        store.prepare_move(operation.pk, two.pk, None, started=own)


def test_a_machine_that_starts_anew_forgets_the_cpu_it_had(
    plant: Plant, machines: list[Machine]
) -> None:
    cpu = kept_cpu(GuestCpu(accel=Accel.KVM, model="fake"))
    Machine.objects.update(started_cpu=cpu, traits={"dirty_bytes_s": 5})
    one = Machine.objects.get(pk=machines[0].pk)
    machine_observed(one, "paused")
    machine_observed(one, "running")
    one.refresh_from_db()
    assert one.started_cpu == cpu
    machine_observed(one, "stopped")
    machine_observed(one, "running")
    one.refresh_from_db()
    assert (one.started_cpu, one.traits) == (None, {"dirty_bytes_s": 5})


def test_a_lost_host_s_machine_may_start_where_the_cpu_is_another(
    plant: Plant, machines: list[Machine], pool: FakePool
) -> None:
    told(pool)
    cpu = kept_cpu(GuestCpu(accel=Accel.KVM, features=frozenset({"gone"})))
    Machine.objects.update(started_cpu=cpu)
    needs = {vm.cpu_features for vm in read_plant().vms}
    assert needs == {frozenset({"gone"})}
    Host.objects.filter(name="mw0-h1").update(health="down")
    assert {vm.cpu_features for vm in read_plant().vms} == {frozenset()}


def test_pages_that_a_limit_leaves_out_already_are_not_taken_twice(
    plant: Plant, pool: FakePool
) -> None:
    told(pool)
    host = Host.objects.get(name="mw0-h2")
    host.policy = {**host.policy, "memory_limit_bytes": 9 * GIB}
    host.save()
    told(pool)
    before = {row.name: row.memory_free_bytes for row in snapshot().hosts}["mw0-h2"]
    # 16 GiB in all, of which the plant may use 9: seven may lie in pages before it has less.
    for pages, less in ((7, 0), (9, 2)):
        pool.host("mw0-h2").parts.hugepages = {GIB: pages}
        told(pool)
        assert {row.name: row.memory_free_bytes for row in snapshot().hosts}["mw0-h2"] == (
            before - less * GIB
        )
        model = next(row for row in read_plant().hosts if row.name == "mw0-h2")
        assert model.memory_bytes - pages * GIB == (9 - less) * GIB


def test_only_cards_that_may_be_given_are_offered(plant: Plant, pool: FakePool) -> None:
    pool.host("mw0-h2").parts.gpus = (
        replace(CARD, address="0000:01:00.0", model="1a03:2000", companions=()),
        replace(CARD, address="0000:02:00.0", profiles={"nvidia-222": 16}, companions=()),
        replace(CARD, companions=("0000:65:00.1",)),
        replace(CARD, address="0000:65:00.1", companions=("0000:65:00.0",)),
    )
    told(pool)
    free = next(row for row in snapshot().hosts if row.name == "mw0-h2").cards_free
    assert free is not None
    assert [card.address for card in free] == [CARD.address]
    model = next(row for row in read_plant().hosts if row.name == "mw0-h2")
    assert [gpu.model for gpu in model.gpus] == [CARD.model, "0000:02:00.0 shared"]


def test_a_card_is_claimed_once_given_back_and_keeps_its_machine_where_it_is(
    plant: Plant, pool: FakePool, tmp_path: Any
) -> None:
    store = DjangoStore(str(ensure_site().pk), Ed25519PrivateKey.generate(), tmp_path / "bundles")
    pool.host("mw0-h2").parts.gpus = (CARD,)
    told(pool)
    version = TemplateVersion.objects.get()
    version.spec, version.image, version.image_state = (
        spec(gpu={"count": 1}),
        image_data(tmp_path),
        "ready",
    )
    version.save()
    for name in ("one", "two"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    one, two = Machine.objects.order_by("environment__name")
    record = store.claim(one.pk, uuid4())
    # The sound of a card goes with it: the kernel gives a group away as one.
    assert (record.host, record.gpus) == ("mw0-h2", (CARD.address, "0000:65:00.1"))
    assert store.claim(one.pk, uuid4()) == record
    with pytest.raises(StepFailed, match="graphics cards: 1 wanted, 0 free of any model"):
        store.claim(two.pk, uuid4())
    Machine.objects.filter(pk=one.pk).update(observed="running", movability="free")
    one.refresh_from_db()
    assert "graphics card" in moving.why_not_movable(one, approved=True)
    vm = next(vm for vm in read_plant().vms if vm.name == str(one))
    assert (vm.movability, vm.gpus) == (Movability.NEVER, {"any": 1})
    # Whatever the calendar says.
    hours.set_calendar(plant.operator, [{"name": "free", "vms": [str(one)], "movability": "free"}])
    assert {vm.movability for vm in read_plant().vms if vm.gpus} == {Movability.NEVER}
    model = next(host for host in read_plant().hosts if host.name == "mw0-h2")
    assert [card.model for card in model.gpus] == ["10de:1eb8"]
    store.release(one.pk)
    assert not DeviceClaim.objects.exists()
    assert store.claim(two.pk, uuid4()).gpus == (CARD.address, "0000:65:00.1")


def test_rounds_and_drains_find_the_room_of_disks_that_a_placement_finds(
    plant: Plant, machines: list[Machine], pool: FakePool
) -> None:
    Machine.objects.update(disk_bytes=3 * GIB)
    pool.host("mw0-h2")._pools["default"].capacity_bytes = 4 * GIB
    told(pool)
    answer = drain(read_plant(), ["mw0-h1"])
    # One of two: of the other there is no room for the disk.
    assert len([row for row in answer.blockers if Code.STORAGE in row.codes]) == 1
    pool.host("mw0-h2")._pools["default"].capacity_bytes = 6 * GIB
    told(pool)
    assert not drain(read_plant(), ["mw0-h1"]).blockers


def test_links_are_as_fast_as_the_network_cards(plant: Plant, pool: FakePool) -> None:
    assert {host.link_bytes_s for host in read_plant().hosts} == {125e6}
    pool.host("mw0-h1").parts.nics = (
        NicFacts(name="eno1", up=True, speed_bits_s=10**10),
        NicFacts(name="eno2", up=True, speed_bits_s=25 * 10**9),
        NicFacts(name="eno3", up=False, speed_bits_s=10**8),
        NicFacts(name="eno4", up=True, speed_bits_s=None),
    )
    pool.host("mw0-h2").parts.nics = ()
    told(pool)
    one, two = sorted(read_plant().hosts, key=lambda host: host.name)
    assert (one.link_bytes_s, one.nic_bytes_s) == (1.25e9, 35e9 / 8)
    assert (two.link_bytes_s, two.nic_bytes_s) == (125e6, 1.25e9)


def test_what_machines_write_is_measured_slowly_and_first_where_a_move_is_considered(
    plant: Plant, machines: list[Machine], pool: FakePool
) -> None:
    now = timezone.now()
    hosts = told(pool)
    one, two = machines
    source = pool.host("mw0-h1")
    live = replace(BASE, metadata=replace(BASE.metadata, site=pool.site))
    for machine in (one, two):
        source._domains[machine.pk] = FakeDomain(
            uuid=machine.pk,
            name=machine.domain_name,
            spec=live,
            live=live,
            state=DomainState.RUNNING,
            cpu=GuestCpu(accel=Accel.KVM, model="fake"),
        )
    source.parts.dirty_rates = {one.pk: 7 * 2**20, two.pk: 9 * 2**20}
    Recommendation.objects.create(
        machine=two,
        source=plant.hosts[0],
        destination=plant.hosts[1],
        why="contention",
        text="crowded",
        seconds=3,
        mode="recommend",
    )
    assert traits.due(now) == [two, one]
    assert traits.traits_round(hosts, now) == 2
    one.refresh_from_db()
    assert one.traits["dirty_bytes_s"] == 7 * 2**20
    assert one.started_cpu is not None
    assert one.started_cpu.model == "fake"
    # Kept once for both.
    assert StartedCpu.objects.count() == 1
    rates = {vm.name: vm.dirty_bytes_s for vm in read_plant().vms}
    assert rates == {str(one): 7.0 * 2**20, str(two): 9.0 * 2**20}
    assert traits.due(now + dt.timedelta(minutes=6)) == [two]
    assert traits.due(now + dt.timedelta(minutes=31)) == [two, one]
    # A day later it says nothing any more, and who cannot be asked is left until its turn comes again.
    assert {vm.dirty_bytes_s for vm in read_plant(now + dt.timedelta(days=2)).vms} == {0.0}
    source.cut()
    assert traits.traits_round(hosts, now + dt.timedelta(hours=1)) == 0
    Operation.objects.update(state="running")
    assert traits.due(now + dt.timedelta(hours=1)) == []
