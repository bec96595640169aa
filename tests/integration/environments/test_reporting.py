"""Why rounds did nothing stands where people look, and shadow is compared with what happened without it."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client
from millwright.balancing import measuring, recommending, reporting
from millwright.balancing.models import (
    Balancer,
    BalanceRound,
    MovePlan,
    PlacementRule,
    Recommendation,
    ResourcePool,
)
from millwright.environments.models import DemandSample, Machine, Operation

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import crowded
from tests.integration.environments.test_wishes import Clock, clock
from tests.support.plant import Plant

__all__ = ["clock", "crowded", "machines"]


@pytest.fixture
def apart(crowded: list[Machine]) -> PlacementRule:
    """Both are on one host and must not be."""
    rule = PlacementRule.objects.create(name="line-apart", kind="apart")
    rule.machines.set(crowded)
    return rule


def test_a_broken_rule_that_cannot_be_mended_says_why(
    plant: Plant, crowded: list[Machine], apart: PlacementRule, client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    Machine.objects.update(movability="never")
    clock.rounds(2)
    assert not Recommendation.objects.exists()
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert "rule line-apart: kept apart, and two are on one host" in page
    why = reporting.broken_rules(reporting.last())["line-apart"]["why"]
    assert "never moves" in why or "never" in why
    assert why in page
    assert "Machines that ought to move, and are never moved" in page
    assert why in client.get("/rules/").content.decode()
    told = client.get("/api/v1/rules/line-apart/").json()["broken"]
    assert told == {
        "text": "rule line-apart: kept apart, and two are on one host",
        "parts": [{"code": "rule.apart", "facts": {"rule": "line-apart"}}],
        "why": why,
        "why_parts": [
            {"code": "never_moves", "facts": {"machine": str(machine)}} for machine in crowded[:1]
        ],
        "mending": False,
    }
    row = client.get("/api/v1/recommendations/round/").json()["round"]
    assert (row["moves"], row["broken"], row["violations"][0]["why"]) == (0, 1, why)
    # It names machines of others: who does not read the plant gets only that it is not kept.
    client.force_login(plant.engineer)
    assert client.get("/api/v1/rules/line-apart/").json()["broken"] is None
    assert why not in client.get("/rules/").content.decode()


def test_a_rule_that_is_being_mended_says_by_which_move(
    plant: Plant, apart: PlacementRule, client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(1)
    entry = reporting.broken_rules(reporting.last())["line-apart"]
    row = Recommendation.objects.get(state="open")
    way = f"{row.machine}: {row.source} → {row.destination}"
    # While a person thinks nothing is mended yet.
    assert (entry["mending"], entry["why"]) == (False, f"a move waits for a person: {way}")
    client.force_login(plant.operator)
    assert "a move waits for a person:" in client.get("/rules/").content.decode()
    recommending.set_mode(plant.operator, "shadow")
    clock.rounds(1)
    entry = reporting.broken_rules(reporting.last())["line-apart"]
    assert (entry["mending"], entry["why"]) == (False, f"shadow only notes the move: {way}")
    recommending.set_mode(plant.operator, "automatic")
    clock.rounds(1)
    entry = reporting.broken_rules(reporting.last())["line-apart"]
    assert (entry["mending"], entry["why"]) == (True, way)
    assert "Being mended:" in client.get("/rules/").content.decode()
    # Kept by now: the round's word is old, and the page does not repeat it.
    Machine.objects.filter(pk=row.machine_id).update(host=row.destination)
    assert "Being mended:" not in client.get("/rules/").content.decode()


def test_each_reason_for_doing_nothing_is_told(
    plant: Plant,
    crowded: list[Machine],
    client: Client,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.force_login(plant.operator)

    def page() -> str:
        return client.get("/balancing/").content.decode()

    assert "Balancing is off: no rounds are made." in page()
    assert client.get("/api/v1/recommendations/round/").json() == {"round": None, "next_at": None}
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(1)
    assert "the imbalance has lasted 1 of 2 rounds" in page()
    assert "It has not lasted long enough yet" in page()
    clock.rounds(2)
    row = Recommendation.objects.get(state="open")
    recommending.decide(plant.operator, row, approve=True)
    Operation.objects.filter(kind="migrate").update(state="succeeded")
    Machine.objects.filter(pk=row.machine_id).update(host=row.destination)
    # All want to be on the other host by now, and the one that moved rests.
    Machine.objects.update(host=row.destination)
    clock.rounds(3)
    assert "moved a short time ago and rests" in page()
    figures = client.get("/api/v1/recommendations/round/").json()["round"]["figures"]
    assert figures["before"]["highest"] > figures["after"]["highest"]
    assert "unevenness of CPUs" in page()
    real = recommending.read_plant

    def moving(*args: object) -> object:
        from dataclasses import replace

        read = real(*args)  # type: ignore[arg-type]  # handed on as they come
        return replace(read, settings=replace(read.settings, moves_running=2))

    with monkeypatch.context() as patched:
        patched.setattr(recommending, "read_plant", moving)
        clock.rounds(1)
    assert "moves under way: 2" in page()
    DemandSample.objects.update(cpu_ratio=0.1)
    clock.rounds(1)
    assert "There was nothing to do: no host is above its threshold" in page()


def test_only_the_newest_round_is_kept_in_full_and_all_of_them_for_a_time(
    plant: Plant, apart: PlacementRule, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    Machine.objects.update(movability="never")
    clock.rounds(4)
    newest, *older = BalanceRound.objects.all()
    assert len(older) == 3
    assert newest.refused
    assert newest.violations
    for row in older:
        assert (row.refused, row.violations, row.broken) == ([], [], 1)
        assert row.counts["never_moves"] == newest.counts["never_moves"]
    assert reporting.forget(clock.now) == 0
    assert reporting.forget(clock.now + reporting.ROUNDS_KEPT) == 4


def test_shadow_is_compared_with_what_happened_without_it(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    pool = ResourcePool.objects.create(name="day")
    Machine.objects.update(pool=pool)
    recommending.set_mode(plant.operator, "shadow")
    clock.rounds(3)
    row = Recommendation.objects.get()
    assert (row.state, row.actual) == ("shadow", {})
    assert measuring.measure_round(row.created_at + dt.timedelta(minutes=9)) == 0
    assert measuring.measure_round(clock.now + dt.timedelta(minutes=10)) == 1
    row.refresh_from_db()
    # The machine stayed: the host is as full as it was, where the move would have halved that.
    assert row.state == "shadow"
    assert row.actual["source"] == pytest.approx(row.effect["source_before"], abs=0.01)
    assert row.actual["source"] > row.effect["source_after"] + 0.5
    assert measuring.measure_round(clock.now + dt.timedelta(minutes=20)) == 0
    clock.rounds(3)
    # Six rounds with one host above; from the second on the move would have mended it.
    sums = {each.pool: each for each in reporting.shadow_sums(clock.now)}
    assert (sums[""].moves, sums[""].above_minutes, sums[""].foreseen_minutes) == (1, 30, 5)
    assert (sums["day"].moves, sums["day"].above_minutes, sums["day"].foreseen_minutes) == (
        1,
        25,
        0,
    )
    client.force_login(plant.operator)
    told = client.get("/api/v1/recommendations/shadow/").json()
    assert told == [
        {"pool": "", "moves": 1, "above_minutes": 30, "foreseen_minutes": 5},
        {"pool": "day", "moves": 1, "above_minutes": 25, "foreseen_minutes": 0},
    ]
    page = client.get("/balancing/").content.decode()
    assert "What shadow would have done in the last week" in page
    assert "30 min" in page
    earlier = client.get("/balancing/earlier/?state=shadow").content.decode()
    assert "CPUs, measured without the move" in earlier
    # Where nothing is in shadow, nothing is summed.
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(1)
    newest = BalanceRound.objects.first()
    assert newest is not None
    assert newest.shadow == {}


def test_what_came_to_nothing_is_forgotten_and_what_was_done_is_kept(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    old = clock.now - reporting.WISHES_KEPT - dt.timedelta(days=1)

    def made(state: str, plan: MovePlan | None = None, **more: dt.datetime) -> Recommendation:
        return Recommendation.objects.create(
            machine=crowded[0],
            source=plant.hosts[0],
            destination=plant.hosts[1],
            why="contention",
            text="",
            seconds=1.0,
            mode="recommend",
            state=state,
            plan=plan,
            created_at=old,
            **more,
        )

    done = MovePlan.objects.create(text="", seconds=1.0, state="done")
    gone = MovePlan.objects.create(text="", seconds=1.0, state="superseded")
    MovePlan.objects.update(created_at=old)
    kept = [made("moved"), made("failed"), made("rejected"), made("open")]
    kept += [made("superseded", done), made("shadow", wanted_at=clock.now)]
    made("superseded")
    made("shadow")
    made("superseded", gone)
    assert reporting.forget(clock.now) == 4
    assert set(Recommendation.objects.all()) == set(kept)
    assert list(MovePlan.objects.all()) == [done]
    assert Balancer.objects.count() <= 1
