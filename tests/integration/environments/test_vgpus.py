"""vGPU profiles from template to host: placed where instances are free, claimed, counted by plans, and given back."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from millwright.balancing.filling import fits
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Code, Movability, admit
from millwright.environments.models import Machine
from millwright.environments.placement import place_machine, preview
from millwright.hypervisor import GpuFacts, VgpuSpec, vgpu_uuid
from millwright.hypervisor.fake import FakePool
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import DeviceClaim, Host
from millwright.inventory.snapshot import snapshot
from millwright.operations.spec import domain_spec
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_equipment import pool, spec, told
from tests.support.plant import Plant, image_data

__all__ = ["machines", "pool"]
CARD = GpuFacts(
    address="0000:65:00.0",
    model="10de:1eb8",
    name="NVIDIA T4",
    driver="nvidia",
    iommu_group=27,
    profiles={"nvidia-35": 2, "nvidia-36": 1},
)
ASKED = {"gpu": {"profile": "nvidia-35", "count": 1}}


@pytest.fixture
def waiting(plant: Plant, machines: list[Machine], pool: FakePool, tmp_path: Any) -> list[Machine]:
    """Two machines that ask for an instance and have no place; a card with two of them on the second host."""
    pool.host("mw0-h2").parts.gpus = (CARD,)
    told(pool)
    version = TemplateVersion.objects.get()
    version.spec, version.image = spec(**ASKED), image_data(tmp_path)
    version.image_state = "ready"
    version.save()
    Machine.objects.update(host=None, service_class="shared", cpu_assignment={}, observed="absent")
    return list(Machine.objects.order_by("environment__name"))


def _store(tmp_path: Any) -> DjangoStore:
    return DjangoStore(str(ensure_site().pk), Ed25519PrivateKey.generate(), tmp_path / "bundles")


def _free() -> Any:
    return {host.name: host.vgpus_free for host in snapshot().hosts}


def test_instances_are_claimed_made_and_given_back(
    plant: Plant, waiting: list[Machine], pool: FakePool, tmp_path: Any, client: Client
) -> None:
    store, operation = _store(tmp_path), uuid4()
    assert _free() == {"mw0-h1": {}, "mw0-h2": {CARD.address: {"nvidia-35": 2, "nvidia-36": 1}}}
    one, two = (store.claim(machine.pk, operation) for machine in waiting)
    assert [record.host for record in (one, two)] == ["mw0-h2", "mw0-h2"]
    assert one.vgpus == (VgpuSpec(card=CARD.address, profile="nvidia-35"),)
    assert one.gpus == ()
    # Claimed, and not made yet: none is left, of the other profile neither.
    assert _free()["mw0-h2"] == {CARD.address: {"nvidia-35": 0, "nvidia-36": 0}}
    plan = preview(spec(**ASKED), "small", cell="line1", strict=False)
    codes = {row.host: [str(reason.code) for reason in row.reasons] for row in plan.verdicts}
    assert codes == {"mw0-h1": ["no_vgpu"], "mw0-h2": ["no_vgpu"]}
    # Made, and told by the host: counted once.
    host = pool.host("mw0-h2")
    made, _ = domain_spec(one, operation, kernel="/k", initrd="/i", disk=None)
    assert made.vgpus == one.vgpus
    host.ensure_network(_network(one))
    host.define(made)
    told(pool)
    (card,) = Host.objects.get(name="mw0-h2").equipment["gpus"]
    assert card["instances"] == {str(vgpu_uuid(one.id, 0)): "nvidia-35"}
    assert _free()["mw0-h2"] == {CARD.address: {"nvidia-35": 0, "nvidia-36": 0}}
    client.force_login(plant.operator)
    page = client.get("/pool/mw0-h2/").content.decode()
    assert "given to one, two" in page
    # Removed: both have it again.
    host.undefine(one.id)
    for record in (one, two):
        store.release(record.id)
    told(pool)
    assert not DeviceClaim.objects.exists()
    assert _free()["mw0-h2"] == {CARD.address: {"nvidia-35": 2, "nvidia-36": 1}}


def _network(record: Any) -> Any:
    from millwright.hypervisor import NetworkSpec

    return NetworkSpec(name=record.network, bridge=record.bridge)


def test_plans_and_capacity_know_them(plant: Plant, waiting: list[Machine], tmp_path: Any) -> None:
    assert dict(fits("vplc", "small").per_host) == {"mw0-h2": 2}
    _store(tmp_path).claim(waiting[0].pk, uuid4())
    Machine.objects.filter(pk=waiting[0].pk).update(movability="free")
    read = read_plant()
    vm = next(vm for vm in read.vms if vm.name == str(waiting[0]))
    # It cannot go along, whatever its movability says.
    assert (dict(vm.gpus), vm.moves) == ({"nvidia-35": 1}, Movability.NEVER)
    assert dict(fits("vplc", "small").per_host) == {"mw0-h2": 1}
    answers = admit(read, [vm]).placed[0].answers
    assert {row.host: row.codes for row in answers}["mw0-h1"] == (Code.GPU,)


def test_a_machine_that_has_one_keeps_its_place_in_a_new_plan(
    plant: Plant, waiting: list[Machine]
) -> None:
    plan = place_machine(waiting[0])
    assert plan.chosen is not None
    assert (plan.chosen.host, plan.chosen.vgpus) == ("mw0-h2", (CARD.address,))
