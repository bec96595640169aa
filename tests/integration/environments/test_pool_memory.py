"""Memory of resource pools: what is refused, what machines hold of it, and what their balloons follow."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils.translation import override
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, pooling
from millwright.balancing.models import ResourcePool
from millwright.balancing.plant import read_plant
from millwright.balancing.pool_memory import room_for
from millwright.balancing.pooling import PoolDraft
from millwright.core.balancing import allotments, least_bytes
from millwright.environments.models import Machine
from millwright.environments.placement import place_machine
from millwright.environments.reasons import said
from millwright.inventory.models import Host as HostRow
from millwright.inventory.snapshot import OVERHEAD_BYTES

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]
GIB = 2**30


@pytest.mark.parametrize(
    ("draft", "field", "words"),
    [
        (PoolDraft("x", memory_shares=0), "memory_shares", "from 1 to 100000"),
        (PoolDraft("x", memory_limit_bytes=-1), "memory_limit_bytes", "from 0"),
        (
            PoolDraft("x", memory_reservation_bytes=2 * GIB, memory_limit_bytes=GIB),
            "memory_reservation_bytes",
            "2048 MiB is above the limit of 1024 MiB",
        ),
        (
            PoolDraft("x", parent="works", memory_limit_bytes=20 * GIB),
            "memory_limit_bytes",
            "20480 MiB is above the 16384 MiB to which works is limited",
        ),
        (
            PoolDraft("x", parent="works", memory_reservation_bytes=9 * GIB),
            "memory_reservation_bytes",
            "9216 MiB, and 8192 MiB beside it, are above the 16384 MiB to which works is limited",
        ),
    ],
)
def test_memory_that_cannot_be_is_said_at_its_field(
    plant: Plant, draft: PoolDraft, field: str, words: str
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=16 * GIB))
    hall = PoolDraft("hall", parent="works", memory_reservation_bytes=8 * GIB)
    pooling.save_pool(plant.operator, hall)
    with pytest.raises(ValidationError) as told:
        pooling.save_pool(plant.operator, draft)
    assert words in " ".join(told.value.message_dict[field])


def test_a_pool_s_limit_holds_what_lies_in_it(plant: Plant) -> None:
    works = pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=16 * GIB))
    pooling.save_pool(
        plant.operator,
        PoolDraft("hall", "works", memory_reservation_bytes=8 * GIB, memory_limit_bytes=12 * GIB),
    )
    with pytest.raises(ValidationError, match="pools in it have reserved 8192 MiB"):
        pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=4 * GIB), works)
    with pytest.raises(ValidationError, match="hall in it is limited to 12288 MiB"):
        pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=10 * GIB), works)
    # What lies in it counts too where a pool is put into another one.
    pooling.save_pool(plant.operator, PoolDraft("small", memory_limit_bytes=6 * GIB))
    with pytest.raises(ValidationError, match="above the 6144 MiB to which small is limited"):
        pooling.save_pool(plant.operator, PoolDraft("works", parent="small"), works)
    entry = AuditEntry.objects.filter(action="pool.create").order_by("pk")[1]
    assert entry.details["after"]["memory_limit_bytes"] == 12 * GIB


def test_what_machines_hold_is_counted_as_the_model_counts_it(
    plant: Plant, machines: list[Machine]
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=16 * GIB))
    pooling.save_pool(plant.operator, PoolDraft("hall", parent="works"))
    Machine.objects.update(service_class="shared", memory_bytes=2 * GIB)
    entitling.set_entitlement(plant.operator, machines[0], pool="hall", memory_minimum_bytes=GIB)
    entitling.set_entitlement(plant.operator, machines[1], pool="works")
    held = {row.pool.name: row.held_bytes for row in pooling.tree("off")}
    read = read_plant()
    least = {vm.pool: least_bytes(vm) for vm in read.vms}
    assert held == {"hall": least["hall"], "works": least["hall"] + least["works"]}
    assert {pool.name: pool.memory_limit_bytes for pool in read.pools} == {
        "works": 16 * GIB,
        "hall": None,
    }


def test_nothing_is_placed_above_a_limit_and_who_has_a_place_comes_in_only_within_it(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=3 * GIB))
    hall = pooling.save_pool(plant.operator, PoolDraft("hall", parent="works"))
    Machine.objects.update(service_class="shared", memory_bytes=2 * GIB)
    entitling.set_entitlement(plant.operator, machines[0], pool="hall")
    with pytest.raises(ValidationError) as told:
        entitling.set_entitlement(plant.operator, machines[1], pool="works")
    assert told.value.message_dict == {
        "pool": [
            "2240 MiB are wanted, and 832 MiB are left of the 3072 MiB to which works is limited"
        ]
    }
    # One that has no place yet finds no host, whichever is asked.
    Machine.objects.filter(pk=machines[1].pk).update(host=None, pool=hall)
    waiting = Machine.objects.select_related("template_version", "cell", "pool").get(
        pk=machines[1].pk
    )
    plan = place_machine(waiting)
    assert plan.chosen is None
    codes = [{str(reason.code) for reason in row.reasons} for row in plan.verdicts]
    assert codes
    assert all("no_pool_memory" in row for row in codes)
    assert (
        "memory of resource pool 'works': 2240 MiB wanted, 832 MiB free of its limit of 3072 MiB"
        in plan.explain()
    )
    with override("de"):
        assert "Ressourcenpool" in said(plan.verdicts[0].reasons[-1].message)
    # A limit that was set lower since holds up no move: what is there is counted wherever it goes.
    works = ResourcePool.objects.get(name="works")
    pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=GIB), works)
    there = Machine.objects.select_related("template_version", "cell").get(pk=machines[0].pk)
    assert place_machine(there).chosen is not None
    client.force_login(plant.operator)
    assert "above the limit" in client.get("/pools/").content.decode()
    # The least memory of one that has a place grows only within it as well.
    with pytest.raises(ValidationError, match="to which works is limited"):
        Machine.objects.filter(pk=there.pk).update(memory_minimum_bytes=GIB)
        entitling.set_entitlement(plant.operator, there, memory_minimum_bytes=2 * GIB)


def test_balloons_follow_the_shares_of_pools(plant: Plant, machines: list[Machine]) -> None:
    Machine.objects.update(
        service_class="shared", memory_bytes=4 * GIB, memory_minimum_bytes=GIB, host=plant.hosts[0]
    )
    HostRow.objects.filter(pk=plant.hosts[0].pk).update(memory_bytes=6 * GIB)
    pooling.save_pool(plant.operator, PoolDraft("day", memory_shares=4000))
    pooling.save_pool(plant.operator, PoolDraft("night"))
    for machine, pool in zip(machines, ("day", "night"), strict=True):
        entitling.set_entitlement(plant.operator, machine, pool=pool)
    given = {name: row.balloon_bytes for name, row in allotments(read_plant()).items()}
    day, night = (given[str(machine)] for machine in machines)
    assert GIB < night < day < 4 * GIB + OVERHEAD_BYTES
    pooling.save_pool(
        plant.operator,
        PoolDraft("day", memory_limit_bytes=2 * GIB),
        ResourcePool.objects.get(name="day"),
    )
    given = {name: row.balloon_bytes for name, row in allotments(read_plant()).items()}
    assert given[str(machines[0])] <= 2 * GIB


def test_memory_on_the_page_and_the_interface(plant: Plant, client: Client) -> None:
    client.force_login(plant.operator)
    form = {"name": "night", "shares": "500", "cpu_reservation": "1"}
    memory = {"memory_reservation_mib": "1024", "memory_limit_mib": "512", "memory_shares": "700"}
    refused = client.post("/pools/new/", form | memory)
    assert refused.status_code == 422
    assert "1024 MiB is above the limit of 512 MiB" in refused.content.decode()
    assert client.post("/pools/new/", form | memory | {"memory_limit_mib": ""}).status_code == 302
    row = ResourcePool.objects.get()
    assert (row.memory_reservation_bytes, row.memory_limit_bytes, row.memory_shares) == (
        GIB,
        None,
        700,
    )
    # A form of before these fields leaves them.
    assert client.post("/pools/night/edit/", form).status_code == 302
    assert ResourcePool.objects.get().memory_shares == 700
    assert "1 GiB" in client.get("/pools/").content.decode()
    # What the interface was given to the byte is not cut to whole MiB by another change on the page.
    ResourcePool.objects.update(memory_limit_bytes=2 * GIB + 5)
    whole = memory | {"memory_limit_mib": "2048", "memory_shares": "701"}
    assert client.post("/pools/night/edit/", form | whole).status_code == 302
    assert ResourcePool.objects.get().memory_limit_bytes == 2 * GIB + 5
    body: dict[str, Any] = {"name": "night", "memory_limit_bytes": 2 * GIB}
    told = client.put("/api/v1/pools/night/", body, "application/json").json()
    assert (told["memory_limit_bytes"], told["memory_shares"]) == (2 * GIB, 1000)
    wrong = client.put(
        "/api/v1/pools/night/", body | {"memory_reservation_bytes": 3 * GIB}, "application/json"
    )
    assert wrong.status_code == 400
    assert "memory_reservation_bytes" in wrong.content.decode()


def test_a_pool_that_is_removed_meanwhile_limits_nobody(
    plant: Plant, machines: list[Machine]
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works", memory_limit_bytes=16 * GIB))
    machine = machines[0]
    entitling.set_entitlement(plant.operator, machine, pool="works")
    machine.refresh_from_db()
    assert room_for(machine) is not None
    entitling.set_entitlement(plant.operator, machine, pool="")
    pooling.remove_pool(plant.operator, ResourcePool.objects.get())
    # As it was read before.
    assert machine.pool_id is not None
    assert room_for(machine) is None
