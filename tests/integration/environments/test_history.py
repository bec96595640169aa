"""The history of moves and rounds: by period, pool, machine, mode and outcome, on page, API and command."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from millwright.balancing import history
from millwright.balancing.models import BalanceRound, MovePlan, Recommendation, ResourcePool
from millwright.environments.models import Machine
from millwright.settings import get_settings

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]

PAGE, API = "/balancing/earlier/", "/api/v1/recommendations/"
DAY = dt.datetime(2026, 5, 4, 6, tzinfo=get_settings().plant_zone)


@pytest.fixture
def kept(plant: Plant, machines: list[Machine]) -> Callable[..., Recommendation]:
    """Keeps a move of the first machine, of a day so many days after the fourth of May."""

    def keep(day: int, machine: int = 0, **values: Any) -> Recommendation:
        row = {
            "machine": machines[machine], "source": plant.hosts[0], "destination": plant.hosts[1],
            "why": "contention", "text": f"move {day} of {machine}", "seconds": 1.0, "mode": "automatic",
            "state": "moved", "created_at": DAY + dt.timedelta(days=day),
        } | values  # fmt: skip
        return Recommendation.objects.create(**row)

    return keep


def _shown(client: Client, **query: str) -> set[str]:
    """Texts of the moves that the API lists; the page shows the same ones."""
    rows = client.get(API, query).json()["results"]
    page = client.get(PAGE, query).content.decode()
    texts = {row["text"] for row in rows}
    for text in Recommendation.objects.values_list("text", flat=True):
        assert (text in page) == (text in texts), text
    return texts


def test_by_period_pool_machine_mode_and_outcome(
    plant: Plant, machines: list[Machine], kept: Callable[..., Recommendation], client: Client
) -> None:
    top = ResourcePool.objects.create(name="top")
    Machine.objects.filter(pk=machines[1].pk).update(
        pool=ResourcePool.objects.create(name="below", parent=top)
    )
    kept(0)
    kept(1, machine=1, mode="recommend", state="rejected")
    kept(2, mode="shadow", state="shadow")
    kept(3, state="failed")
    client.force_login(plant.operator)
    every = {"move 0 of 0", "move 1 of 1", "move 2 of 0", "move 3 of 0"}
    assert _shown(client) == every
    # A day in `to` counts whole; a time does not.
    assert _shown(client, **{"from": "2026-05-05", "to": "2026-05-06"}) == {
        "move 1 of 1",
        "move 2 of 0",
    }
    assert _shown(client, to="2026-05-05T06:00") == {"move 0 of 0"}
    assert _shown(client, **{"from": "2026-05-07T06:00"}) == {"move 3 of 0"}
    assert _shown(client, mode="real") == every - {"move 2 of 0"}
    assert _shown(client, mode="shadow") == {"move 2 of 0"}
    assert _shown(client, state="failed") == {"move 3 of 0"}
    # A pool has the machines of the pools below it.
    assert _shown(client, pool="top") == _shown(client, pool="below") == {"move 1 of 1"}
    assert _shown(client, machine=str(machines[1])) == {"move 1 of 1"}
    assert _shown(client, machine="nobody/here") == set()
    assert _shown(client, mode="real", state="moved", **{"from": "2026-05-04"}) == {"move 0 of 0"}


def test_a_plan_is_of_every_machine_and_pool_that_it_moves(
    plant: Plant, machines: list[Machine], kept: Callable[..., Recommendation], client: Client
) -> None:
    """The page shows a plan once, by its first move, whichever of its machines is asked for."""
    pool = ResourcePool.objects.create(name="night")
    Machine.objects.filter(pk=machines[1].pk).update(pool=pool)
    plan = MovePlan.objects.create(text="they change places", seconds=1.0, steps=[], state="done")
    kept(0, plan=plan)
    kept(0, machine=1, plan=plan)
    kept(1)
    client.force_login(plant.operator)
    for query in ({"machine": str(machines[1])}, {"pool": "night"}):
        page = client.get(PAGE, query).content.decode()
        assert ("they change places" in page, "move 1 of 0" in page) == (True, False), query
        # The interface lists move by move.
        assert [row["text"] for row in client.get(API, query).json()["results"]] == ["move 0 of 1"]
    both = {"machine": str(machines[0]), "pool": "night"}
    assert "they change places" not in client.get(PAGE, both).content.decode()


def test_a_time_without_a_zone_is_the_plants_own(
    monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    monkeypatch.setenv("MILLWRIGHT_TIME_ZONE", "Asia/Shanghai")
    get_settings.cache_clear()
    try:
        told = history.asked({"from": "2026-05-04", "to": "2026-05-04T06:00+02:00"})
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert told.since == dt.datetime(2026, 5, 3, 16, tzinfo=dt.UTC)
    assert told.until == dt.datetime(2026, 5, 4, 4, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"from": "2026-13-01"}, "from", "'2026-13-01': a day like 2026-05-04"),
        ({"to": "yesterday"}, "to", "'yesterday': a day like 2026-05-04"),
        ({"to": "0001-01-01"}, "to", "'0001-01-01': a day like 2026-05-04"),
        ({"to": "9999-12-31"}, "to", "from 1970 on"),
        ({"from": "2026-05-05", "to": "2026-05-04"}, "to", "not before 2026-05-05"),
        ({"mode": "bold"}, "mode", "'bold': one of real, recommend, automatic, shadow"),
        ({"pool": "none"}, "pool", "no resource pool is named 'none'"),
        ({"machine": "vplc"}, "machine", "'vplc': written as environment/machine"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    plant: Plant, client: Client, query: dict[str, str], field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as told:
        history.asked(query)
    assert list(told.value.message_dict) == [field]
    client.force_login(plant.operator)
    answer = client.get(API, query)
    assert answer.status_code == 400
    assert words in answer.content.decode().replace("\\u0027", "'")
    page = client.get(PAGE, query)
    assert page.status_code == 422
    assert words in page.content.decode().replace("&#x27;", "'")


def test_rounds_by_period_mode_and_outcome(plant: Plant, client: Client) -> None:
    figures = {"imbalance": 0.5, "highest": 0.9, "highest_host": "mw0-h1"}
    for hour, (mode, moves, broken) in enumerate(
        [("automatic", 2, 0), ("shadow", 0, 1), ("recommend", 0, 0)]
    ):
        BalanceRound.objects.create(
            at=DAY + dt.timedelta(hours=hour), mode=mode, level=3, moves=moves, broken=broken,
            figures={"before": figures, "after": figures}, counts={"no_host": 2},
        )  # fmt: skip
    client.force_login(plant.operator)

    def listed(**query: str) -> list[str]:
        rows = client.get(f"{API}rounds/", query).json()["results"]
        page = client.get("/balancing/rounds/", query)
        assert page.status_code == 200
        assert page.content.decode().count("mw0-h1 90 %") == 2 * len(rows)
        return [row["mode"] for row in rows]

    assert listed() == ["recommend", "shadow", "automatic"]
    assert listed(mode="real") == ["recommend", "automatic"]
    assert listed(state="moves") == ["automatic"]
    assert listed(state="nothing") == ["recommend", "shadow"]
    assert listed(state="broken") == ["shadow"]
    assert listed(**{"from": "2026-05-04T07:00"}) == ["recommend", "shadow"]
    assert listed(to="2026-05-03") == []
    row = client.get(f"{API}rounds/", headers={"accept-language": "de"}).json()["results"][0]
    assert row["reasons"] == [
        {
            "code": "no_host",
            "title": "Maschinen, die umziehen sollten und die kein Host nimmt",
            "count": 2,
        }
    ]
    assert client.get(f"{API}rounds/", {"state": "bold"}).status_code == 400
    assert client.get("/balancing/rounds/", {"to": "soon"}).status_code == 422
    client.force_login(plant.engineer)
    assert client.get("/balancing/rounds/").status_code == 403
    assert client.get(f"{API}rounds/").status_code == 403


def test_pages_cost_the_same_however_many_there_are(
    plant: Plant, kept: Callable[..., Recommendation], client: Client
) -> None:
    client.force_login(plant.operator)
    query = {"from": "2026-01-01", "mode": "real", "state": "moved"}

    def cost() -> list[int]:
        found = []
        for url in (PAGE, API, "/balancing/rounds/", f"{API}rounds/"):
            asked = query if "rounds" not in url else {"from": "2026-01-01", "mode": "real"}
            client.get(url, asked)
            with CaptureQueriesContext(connection) as told:
                assert client.get(url, asked).status_code == 200
            found.append(len(told))
        return found

    def more(first: int, last: int) -> None:
        for day in range(first, last):
            kept(day, machine=day % 2)
            BalanceRound.objects.create(at=DAY + dt.timedelta(days=day), mode="automatic", level=3)

    more(0, 3)
    few = cost()
    more(3, 60)
    assert cost() == few
    page = client.get(PAGE, query).content.decode()
    assert "1 to 20 of 60" in page
    assert "2026-01-01" in page
    second = client.get(PAGE, query | {"page": "2"}).content.decode()
    assert "21 to 40 of 60" in second
    following = client.get(API, query | {"page_size": "50"}).json()
    assert len(following["results"]) == 50
    assert len(client.get(following["next"]).json()["results"]) == 10


def test_the_indexes_of_the_history_are_there(db: None) -> None:
    """Newest first, whole or of a mode, an outcome or a machine: each without sorting all of them."""
    with connection.cursor() as cursor:
        known = connection.introspection.get_constraints(cursor, Recommendation._meta.db_table)
    for name, column in (
        ("move_when", []),
        ("move_mode_when", ["mode"]),
        ("move_state_when", ["state"]),
        ("move_machine_when", ["machine_id"]),
    ):
        assert known[name]["columns"] == [*column, "created_at", "id"]
