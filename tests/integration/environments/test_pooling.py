"""Resource pools: who writes them, what is refused, and that rounds go by the mode of each."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, pooling, recommending
from millwright.balancing.models import Recommendation, ResourcePool
from millwright.balancing.plant import read_plant
from millwright.balancing.pooling import PoolDraft
from millwright.core.balancing import MOST_DEPTH, Mode, entitlements
from millwright.environments.models import Machine

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import _rounds, crowded
from tests.support.plant import Plant

__all__ = ["crowded", "machines"]


@pytest.mark.parametrize(
    ("draft", "field", "words"),
    [
        (PoolDraft("Day Shift"), "name", "small letters"),
        (PoolDraft("day"), "name", "already"),
        (PoolDraft("x", parent="nothing"), "parent", "no pool is named"),
        (PoolDraft("x", shares=0), "shares", "from 1"),
        (PoolDraft("x", cpu_reservation=-1), "cpu_reservation", "from 0"),
        (PoolDraft("x", cpu_reservation=2, cpu_limit=1), "cpu_reservation", "above the limit"),
        (PoolDraft("x", balance_mode="wild"), "balance_mode", "one of off"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    plant: Plant, draft: PoolDraft, field: str, words: str
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("day"))
    with pytest.raises(ValidationError) as told:
        pooling.save_pool(plant.operator, draft)
    assert words in " ".join(told.value.message_dict[field])


def test_a_tree_without_circles_and_nothing_removed_that_holds_something(
    plant: Plant, machines: list[Machine]
) -> None:
    day = pooling.save_pool(plant.operator, PoolDraft("day", balance_mode="shadow"))
    cae = pooling.save_pool(plant.operator, PoolDraft("cae", parent="day"))
    with pytest.raises(ValidationError, match="lies below it"):
        pooling.save_pool(plant.operator, PoolDraft("day", parent="cae"), day)
    with pytest.raises(ValidationError, match="empty it first"):
        pooling.remove_pool(plant.operator, day)
    with pytest.raises(PermissionRefused):
        pooling.save_pool(plant.engineer, PoolDraft("mine"))
    rows = [(row.pool.name, row.depth, row.mode, row.own) for row in pooling.tree("off")]
    assert rows == [("day", 0, "shadow", True), ("cae", 1, "shadow", False)]
    entitling.set_entitlement(plant.operator, machines[0], pool="cae")
    with pytest.raises(ValidationError, match="1 machines"):
        pooling.remove_pool(plant.operator, cae)
    with pytest.raises(ValidationError, match="no pool is named"):
        entitling.set_entitlement(plant.operator, machines[0], pool="nothing")
    entitling.set_entitlement(plant.operator, machines[0], pool="")
    pooling.remove_pool(plant.operator, cae)
    last = AuditEntry.objects.filter(action="machine.entitlement").latest("pk")
    assert last.details["before"] == {"pool": "cae"}
    assert AuditEntry.objects.filter(action__startswith="pool.").count() == 3


def test_a_tree_has_a_greatest_depth(plant: Plant) -> None:
    above = ""
    for level in range(MOST_DEPTH):
        above = pooling.save_pool(plant.operator, PoolDraft(f"p{level}", parent=above)).name
    with pytest.raises(ValidationError, match="at most 32 deep"):
        pooling.save_pool(plant.operator, PoolDraft("lower", parent=above))
    pair = pooling.save_pool(plant.operator, PoolDraft("pair"))
    pooling.save_pool(plant.operator, PoolDraft("child", parent="pair"))
    with pytest.raises(ValidationError, match="at most 32 deep"):
        pooling.save_pool(plant.operator, PoolDraft("pair", parent=f"p{MOST_DEPTH - 2}"), pair)
    pooling.save_pool(plant.operator, PoolDraft("pair", parent=f"p{MOST_DEPTH - 3}"), pair)
    # Its parent stays, so its shares may change however deep it lies.
    last = ResourcePool.objects.get(name="child")
    pooling.save_pool(plant.operator, PoolDraft("child", parent="pair", shares=7), last)


def test_rounds_go_by_the_mode_of_each_pool(plant: Plant, crowded: list[Machine]) -> None:
    pooling.save_pool(plant.operator, PoolDraft("day", balance_mode="recommend"))
    assert {pool.name: pool.mode for pool in read_plant().pools} == {"day": Mode.RECOMMEND}
    # The plant is off, and nobody is in the pool yet.
    assert sum(_rounds(6)) == 0
    entitling.set_entitlement(plant.operator, crowded[1], pool="day")
    recommending.balancer().__class__.objects.update(last_round=None, state={})
    assert sum(_rounds(6)) > 0
    assert {row.machine for row in Recommendation.objects.all()} == {crowded[1]}
    assert set(Recommendation.objects.values_list("mode", flat=True)) == {"recommend"}


def test_a_pool_without_a_mode_of_its_own_goes_as_the_plant(
    plant: Plant, crowded: list[Machine]
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works"))
    pooling.save_pool(plant.operator, PoolDraft("hall", parent="works", cpu_limit=0.5))
    for machine in crowded:
        entitling.set_entitlement(plant.operator, machine, pool="hall")
    read = read_plant(timezone.now() + dt.timedelta(minutes=40))
    assert {pool.name: pool.parent for pool in read.pools} == {"works": "", "hall": "works"}
    # The tree divides: what the pool is limited to is all that both of them get.
    assert sum(entitlements(read).values()) == pytest.approx(0.5)
    pooling.save_pool(
        plant.operator,
        PoolDraft("hall", parent="works"),
        ResourcePool.objects.get(name="hall"),
    )
    recommending.set_mode(plant.operator, "recommend")
    assert sum(_rounds(6)) > 0


def test_pages_and_interface(plant: Plant, machines: list[Machine], client: Client) -> None:
    client.force_login(plant.operator)
    assert "No resource pools" in client.get("/pools/").content.decode()
    form = {"name": "night", "shares": "500", "cpu_reservation": "1,5", "balance_mode": "automatic"}
    assert client.post("/pools/new/", {**form, "shares": "many"}).status_code == 422
    assert client.post("/pools/new/", form).status_code == 302
    assert ResourcePool.objects.get().cpu_reservation == 1.5
    page = client.get("/pools/").content.decode()
    assert "automatic" in page
    assert "night" in client.get(f"/machines/{machines[0].pk}/place/").content.decode()
    body: dict[str, Any] = {"name": "night", "balance_mode": "off", "cpu_limit": 4}
    told = client.put("/api/v1/pools/night/", body, "application/json").json()
    assert (told["balance_mode"], told["cpu_limit"], told["shares"]) == ("off", 4.0, 1000)
    listed = client.get("/api/v1/pools/").json()["results"]
    assert [row["name"] for row in listed] == ["night"]
    assert client.delete("/api/v1/pools/night/").status_code == 204
