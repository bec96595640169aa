"""Bandwidth that templates reserve: placements, requests, moves, drains and rounds keep to what a host's NICs carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from millwright.accounts.models import Project
from millwright.balancing import draining
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Code, Vm, admit, violations
from millwright.environments import actions
from millwright.environments.models import Machine, Move, Operation
from millwright.environments.reasons import said
from millwright.hypervisor import NicFacts
from millwright.hypervisor.fake import FakePool
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import Host
from millwright.inventory.snapshot import bandwidth_reserved, snapshot
from millwright.operations import StepFailed
from millwright.orchestrator.store import DjangoStore
from pydantic import ValidationError as SchemaError

from tests.integration.environments.test_equipment import BOTH, codes, pool, spec, told
from tests.support.plant import Plant, image_data
from vmtemplates.schema import Template

__all__ = ["pool"]
#: A NIC of 1 Gbit/s, and a fifth more than half of it.
GBIT, MOST = 125_000_000, 75_000_000
TEMPLATE = Path(__file__).parents[3] / "vmtemplates/tiny/template.yaml"


def asks(plant: Plant, folder: Path, bytes_s: int) -> None:
    """Machines of the plant's template reserve this in their cell."""
    for version in TemplateVersion.objects.all():
        version.spec = spec(bandwidth_bytes_s={"cell": bytes_s})
        version.image, version.image_state = image_data(folder), "ready"
        version.save()


def requested(plant: Plant, name: str) -> Machine:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    return Machine.objects.get(environment__name=name)


@pytest.fixture
def store(tmp_path: Path) -> DjangoStore:
    return DjangoStore(str(ensure_site().pk), Ed25519PrivateKey.generate(), tmp_path / "bundles")


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"management": 1}, "requires.bandwidth_bytes_s.management: the machine has no such"),
        ({"cell": -1}, "greater than or equal to 0"),
        ({"cell": 10**12}, "less than or equal to 100000000000"),
        ({"wifi": 1}, "Input should be 'cell' or 'management'"),
    ],
)
def test_a_template_asks_for_networks_that_its_machines_have(
    asked: dict[str, int], rule: str
) -> None:
    text = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    text["devices"] = {**text.get("devices", {}), "nics": ["cell"]}
    good = Template.model_validate(text | {"requires": {"bandwidth_bytes_s": {"cell": GBIT}}})
    assert good.as_spec()["requires"]["bandwidth_bytes_s"] == {"cell": GBIT}  # type: ignore[index]  # a tree of objects
    with pytest.raises(SchemaError, match=rule):
        Template.model_validate(text | {"requires": {"bandwidth_bytes_s": asked}})


def test_no_host_is_given_more_than_its_cards_carry(
    plant: Plant, pool: FakePool, store: DjangoStore, tmp_path: Path, client: Client
) -> None:
    told(pool)
    asks(plant, tmp_path, MOST)
    Project.objects.update(quota_environments=9)
    plant.project.refresh_from_db()
    one, two, three = (requested(plant, name) for name in ("one", "two", "three"))
    hosts = {store.claim(machine.pk, uuid4()).host for machine in (one, two)}
    # The first takes more than half of a host's: each has its own, and nobody else finds room.
    assert hosts == set(BOTH)
    assert codes(plant, bandwidth_bytes_s={"cell": MOST}) == {
        name: ["no_bandwidth"] for name in BOTH
    }
    assert codes(plant, bandwidth_bytes_s={"cell": GBIT - MOST}) == {name: [] for name in BOTH}
    with pytest.raises(StepFailed, match="600 Mbit/s wanted, 400 Mbit/s free"):
        store.claim(three.pk, uuid4())
    client.force_login(plant.operator)
    page = client.get(f"/pool/{BOTH[0]}/").content.decode()
    assert "reserved by machines: 600 of 1000 Mbit/s" in page
    rows = client.get("/api/v1/hosts/").json()["results"]
    told_of = {row["name"]: row["nic_reserved_bytes_s"] for row in rows}
    assert told_of == dict.fromkeys(BOTH, MOST)
    assert client.get(f"/api/v1/hosts/{BOTH[0]}/").json()["nic_reserved_bytes_s"] == MOST
    # What has no cards whose speed is known keeps nobody away.
    pool.host(BOTH[1]).parts.nics = (NicFacts(name="eno1", up=True, speed_bits_s=None),)
    told(pool)
    assert store.claim(three.pk, uuid4()).host == BOTH[1]
    page = client.get(f"/pool/{BOTH[1]}/").content.decode()
    assert "reserved by machines: 1200 of ? Mbit/s" in page


def test_one_that_is_on_its_way_counts_on_both_hosts(
    plant: Plant, pool: FakePool, store: DjangoStore, tmp_path: Path
) -> None:
    told(pool)
    asks(plant, tmp_path, MOST)
    machine = requested(plant, "one")
    source = Host.objects.get(name=store.claim(machine.pk, uuid4()).host)
    Machine.objects.update(observed="running")
    (other,) = (host for host in Host.objects.all() if host != source)
    operation = Operation.objects.create(kind="migrate", machine=machine, state="running")
    Move.objects.create(
        operation=operation, machine=machine, source=source, destination=other, generation=9
    )
    assert bandwidth_reserved([source.pk, other.pk]) == {source.pk: MOST, other.pk: MOST}
    free = {host.name: host.nic_free_bytes_s for host in snapshot().hosts}
    assert free == {source.name: GBIT - MOST, other.name: GBIT - MOST}


def test_rounds_drains_and_plans_find_the_bandwidth_that_a_placement_finds(
    plant: Plant, pool: FakePool, store: DjangoStore, tmp_path: Path
) -> None:
    told(pool)
    asks(plant, tmp_path, MOST)
    one, two = (requested(plant, name) for name in ("one", "two"))
    for machine in (one, two):
        store.claim(machine.pk, uuid4())
    Operation.objects.update(state="succeeded")
    Machine.objects.update(observed="running", desired="running", movability="free")
    known = read_plant()
    assert {vm.name: vm.nic_bytes_s for vm in known.vms} == {str(one): MOST, str(two): MOST}
    assert {host.name: host.nic_bytes_s for host in known.hosts} == dict.fromkeys(BOTH, GBIT)
    first = Machine.objects.get(pk=one.pk)
    plan = draining.preview(Host.objects.get(pk=first.host_id))
    assert [blocker.machine for blocker in plan.blockers] == [str(one)]
    assert "network bandwidth" in plan.blockers[0].why
    # A whole card is all of it, to the byte: as a placement has it.
    whole = Vm(name="new", vcpus=1, memory_bytes=2**20, nic_bytes_s=float(GBIT))
    (taken,) = admit(replace(known, vms=()), [whole]).placed
    assert taken.host is not None
    (refused,) = admit(known, [whole]).placed
    assert refused.host is None
    assert all(Code.NIC in row.codes for row in refused.answers)
    assert not violations(known)
    # With another card there is room, and the drain is possible.
    pool.host(BOTH[1]).parts.nics *= 2
    pool.host(BOTH[0]).parts.nics *= 2
    told(pool)
    plan = draining.preview(Host.objects.get(pk=first.host_id))
    assert (plan.blockers, len(plan.moves)) == ((), 1)


def test_what_is_lacking_is_said_in_every_language(plant: Plant) -> None:
    from django.utils import translation

    text = "network bandwidth: 600 Mbit/s wanted, 400 Mbit/s free"
    assert said(text) == text
    for language in ("de", "zh-hans"):
        with translation.override(language):
            words: Any = said(text)
        assert "600 Mbit/s" in words
        assert words != text
