"""What the balancer waits for is told: each from its true source, once until it is gone, to those who keep the pool."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from millwright.accounts.models import User
from millwright.balancing import draining, measuring, pictures, recommending, rolling, waiting
from millwright.balancing.models import (
    HostDrain,
    MovePlan,
    Picture,
    PlacementRule,
    Recommendation,
    RollingDrain,
)
from millwright.core.balancing import parts_of, say
from millwright.core.lifecycle import HostPower
from millwright.environments import actions as environments
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import Host
from millwright.inventory.power import ask_wake, change_power
from millwright.inventory.snapshot import OVERHEAD_BYTES
from millwright.notifications import standing
from millwright.notifications.gather import gather
from millwright.notifications.models import Delivery, Notice, Notification, Standing, Webhook
from millwright.orchestrator.metrics import powers
from millwright.orchestrator.waits import waits

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import crowded
from tests.integration.environments.test_reporting import apart
from tests.integration.environments.test_sparing import tight
from tests.integration.environments.test_wishes import Clock, clock
from tests.support.plant import Plant

__all__ = ["apart", "clock", "crowded", "machines", "tight"]
MINUTE = dt.timedelta(minutes=1)


def _told(kind: str) -> list[Notice]:
    return list(Notice.objects.filter(kind=kind).order_by("at"))


def _readers(notice: Notice) -> set[User]:
    return {row.user for row in Notification.objects.filter(notice=notice).select_related("user")}


def _shown(now: dt.datetime) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("millwright_"), *sample.labels.values()): sample.value
        for family in waits(now)
        for sample in family.samples
    }


def _page(user: User) -> str:
    caller = Client()
    caller.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return caller.get("/").content.decode()


def test_moves_that_wait_are_told_once_for_the_round_that_brought_them(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    assert _shown(clock.now)["recommendation_oldest_seconds",] == 0
    clock.rounds(4)
    gather(clock.now)
    row = Recommendation.objects.get(state="open")
    way = f"{row.machine}: {row.source} → {row.destination}"
    (notice,) = _told("balancer.waits")
    assert way in notice.text and "1 in all" in notice.text
    assert "Empfohlene Umzüge warten" in notice.text_in("de") and way in notice.text_in("zh-hans")
    assert notice.facts["moves"][0]["why"] == row.text
    assert notice.link == "/balancing/"
    # To those who may approve; the machine's own people do not decide it.
    assert _readers(notice) == {plant.operator, plant.administrator}
    for _number in range(3):
        # Wanted again: no news, and older each time.
        clock.rounds(1)
        gather(clock.now)
    assert len(_told("balancer.waits")) == 1
    shown = _shown(clock.now)
    assert shown["recommendations_waiting",] == 1
    assert shown["recommendation_oldest_seconds",] == (clock.now - row.created_at).total_seconds()
    assert "Recommended moves that wait for a decision: 1" in _page(plant.operator)
    assert "What the balancer waits for" not in _page(plant.engineer)


def test_a_move_that_comes_and_goes_is_not_told_again_until_it_was_gone_for_long(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    gather(clock.now)
    first = Recommendation.objects.get(state="open").pk
    for _number in range(2):
        recommending.set_mode(plant.operator, "off")
        gather(clock.now)
        recommending.set_mode(plant.operator, "recommend")
        clock.rounds(2)
        gather(clock.now)
    assert Recommendation.objects.get(state="open").pk != first, "it is asked under another number"
    assert len(_told("balancer.waits")) == 1
    recommending.set_mode(plant.operator, "off")
    gather(clock.now)
    gather(clock.now + standing.TERMS["wish"].rest)
    assert not Standing.objects.exists()
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(2)
    gather(clock.now)
    assert len(_told("balancer.waits")) == 2


def test_what_a_person_decided_is_over_at_once(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    gather(clock.now)
    recommending.decide(plant.operator, Recommendation.objects.get(state="open"), approve=False)
    gather(clock.now)
    assert not Standing.objects.exists()


def _moving(plant: Plant, machine: Machine, **changes: Any) -> Recommendation:
    """A move that a round decided and that is under way."""
    operation = Operation.objects.create(kind="migrate", machine=machine, state="queued")
    return Recommendation.objects.create(
        machine=machine,
        source=plant.hosts[0],
        destination=plant.hosts[1],
        why="contention",
        text="crowded",
        seconds=9,
        mode="automatic",
        state="moving",
        operation=operation,
        **changes,
    )


def _fails(now: dt.datetime) -> None:
    running = Operation.objects.filter(kind="migrate", state="queued")
    assert running.update(state="failed", error="it lacks a CPU feature", ended_at=now) == 1
    measuring.measure_round(now)


def test_a_failed_move_is_told_with_its_reason_and_each_time_that_a_person_approved_it(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    row = Recommendation.objects.get(state="open")
    recommending.decide(plant.operator, row, approve=True)
    _fails(clock.now)
    gather(clock.now)
    gather(clock.now)
    assert len(_told("move.failed")) == 1
    assert _shown(clock.now)["moves_failed",] == 1
    # He tries it once more.
    _moving(plant, row.machine, decided_by=plant.operator)
    _fails(clock.now + 5 * MINUTE)
    gather(clock.now + 5 * MINUTE)
    assert len(_told("move.failed")) == 2
    notice = _told("move.failed")[0]
    assert "it lacks a CPU feature" in notice.text and str(plant.hosts[1]) in notice.text
    assert "fehlgeschlagen" in notice.text_in("de")
    assert _readers(notice) == {plant.operator, plant.administrator}
    later = clock.now + 5 * MINUTE + waiting.LATELY
    assert _shown(later)["moves_failed",] == 0
    gather(later)
    assert not Standing.objects.filter(key__startswith="failed").exists()


def test_a_machine_whose_automatic_move_fails_again_and_again_is_told_once(
    plant: Plant, machines: list[Machine]
) -> None:
    now = timezone.now()
    for number in range(4):
        _moving(plant, machines[0])
        _fails(now + number * 5 * MINUTE)
        gather(now + number * 5 * MINUTE)
    assert len(_told("move.failed")) == 1
    assert _shown(now + 20 * MINUTE)["moves_failed",] == 4
    # A later move brought it there: what fails after that is news.
    Recommendation.objects.filter(pk=Recommendation.objects.latest("pk").pk).update(state="moved")
    gather(now + 20 * MINUTE)
    assert not Standing.objects.filter(key__startswith="failed").exists()


def test_of_a_plan_the_move_that_failed_is_told_and_nothing_where_a_person_stopped_it(
    plant: Plant, machines: list[Machine]
) -> None:
    now = timezone.now()

    def ended(why: str) -> None:
        """A plan whose first move was made before it ended with the second."""
        plan = MovePlan.objects.create(text="both", seconds=1.0, steps=[], state="given_up")
        for machine, state in zip(machines, ("moved", "failed"), strict=True):
            Recommendation.objects.create(
                machine=machine, source=plant.hosts[0], destination=plant.hosts[1], why="contention",
                text="t", seconds=1.0, mode="automatic", plan=plan, state=state,
                ended_at=now if state == "failed" else None,
                actual={"error": str(why), "parts": parts_of(why)} if state == "failed" else {},
            )  # fmt: skip

    ended(say("note.stopped", person="Ada"))
    gather(now)
    assert _told("move.failed") == [] and _shown(now)["moves_failed",] == 0
    ended(say("note.of", machine=str(machines[1]), why="no CPU"))
    gather(now)
    (notice,) = _told("move.failed")
    assert notice.facts["name"] == str(machines[1])
    assert _shown(now)["moves_failed",] == 1


def test_a_drain_that_waits_is_told_with_what_is_in_its_way_and_when_it_is_done(
    plant: Plant, machines: list[Machine]
) -> None:
    now, host = timezone.now(), plant.hosts[0]
    gather(now)
    draining.start(plant.operator, host, approve=True, reason="new fan")
    draining.drain_round(now)
    Operation.objects.filter(kind="migrate", machine=machines[0]).update(
        state="failed", error="the guest is frozen"
    )
    draining.drain_round(now + MINUTE)
    gather(now + MINUTE)
    assert _told("drain.waits") == [], "it may be over in a moment"
    for minutes in (3, 4, 9):
        draining.drain_round(now + minutes * MINUTE)
        gather(now + minutes * MINUTE)
    (notice,) = _told("drain.waits")
    assert "the guest is frozen" in notice.text and host.name in notice.text
    assert notice.facts["blockers"] == HostDrain.objects.get().blockers
    assert notice.link == f"/pool/{host.name}/drain/"
    assert _readers(notice) == {plant.operator, plant.administrator}
    assert _shown(now + 9 * MINUTE)["drain_waiting_seconds", host.name] == 8 * 60
    assert f"The drain of {host.name} does not go on" in _page(plant.operator)
    for machine in machines:
        Operation.objects.filter(machine=machine, kind="migrate").update(state="succeeded")
        Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[1])
    draining.drain_round(now + 10 * MINUTE)
    gather(now + 10 * MINUTE)
    gather(now + 11 * MINUTE)
    (done,) = _told("drain.done")
    assert done.text == f"{host.name} is drained. new fan"
    assert _readers(done) == {plant.operator, plant.administrator}
    assert ("drain_waiting_seconds", host.name) not in _shown(now + 11 * MINUTE)
    gather(now + 30 * MINUTE)
    assert not Standing.objects.exists() and len(_told("drain.waits")) == 1


def test_a_rolling_drain_that_cannot_begin_its_host_is_told_and_a_paused_one_is_not(
    plant: Plant, machines: list[Machine]
) -> None:
    now, host = timezone.now(), plant.hosts[0]
    Machine.objects.update(movability="never")
    row = rolling.start(plant.operator, [host.name], work_minutes=5, approve=True)
    for minutes in (0, 10, 16, 17):
        rolling.rolling_round(now + minutes * MINUTE)
        gather(now + minutes * MINUTE)
    (notice,) = _told("drain.waits")
    assert notice.facts["why"] == RollingDrain.objects.get().note != ""
    # As data, so that each reader has it in his language.
    assert {part["code"] for part in notice.facts["why_parts"]} == {"never_moves"}
    assert "zieht nie um" in notice.text_in("de")
    assert notice.link == f"/rolling-drains/{row.pk}/"
    assert _shown(now + 17 * MINUTE)["drain_waiting_seconds", host.name] == 17 * 60
    rolling.pause(plant.operator, row)
    assert waiting.drains() == []


def test_hosts_in_turn_by_the_clock_are_told_when_all_are_done(
    plant: Plant, machines: list[Machine]
) -> None:
    now = timezone.now()
    gather(now)
    Machine.objects.update(host=plant.hosts[1])
    rolling.start(plant.operator, [plant.hosts[0].name], work_minutes=1)
    for minutes in range(6):
        rolling.rolling_round(now + minutes * MINUTE)
        draining.drain_round(now + minutes * MINUTE)
        gather(now + minutes * MINUTE)
    assert RollingDrain.objects.get().state == "done"
    (notice,) = _told("drain.done")
    assert notice.subject_type == "rollingdrain" and plant.hosts[0].name in notice.text


def test_a_rule_that_nothing_mends_is_told_after_two_rounds_and_again_after_it_was_kept(
    plant: Plant, crowded: list[Machine], apart: PlacementRule, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    Machine.objects.update(movability="never")

    def rounds(number: int) -> None:
        for _number in range(number):
            clock.rounds(1)
            gather(clock.now)

    rounds(2)
    assert _told("rule.broken") == [], "the next round may mend it"
    since = clock.now - 2 * 5 * MINUTE
    rounds(3)
    (notice,) = _told("rule.broken")
    assert "line-apart" in notice.text and "never" in notice.text
    assert notice.facts["broken"] == "rule line-apart: kept apart, and two are on one host"
    # The reason is data: each reads it in his own language.
    assert notice.facts["why_parts"][0]["code"] == "never_moves"
    assert notice.facts["why"] not in notice.text_in("de")
    assert _readers(notice) == {plant.operator, plant.administrator}
    shown = _shown(clock.now)["rule_broken_seconds", "line-apart"]
    assert shown == (clock.now - since).total_seconds()
    assert "Rule line-apart is not kept, and nothing mends it" in _page(plant.operator)
    # Kept for one round and broken again: the same thing.
    PlacementRule.objects.update(enabled=False)
    rounds(1)
    assert ("rule_broken_seconds", "line-apart") not in _shown(clock.now)
    PlacementRule.objects.update(enabled=True)
    rounds(4)
    assert len(_told("rule.broken")) == 1
    PlacementRule.objects.update(enabled=False)
    rounds(8)
    PlacementRule.objects.update(enabled=True)
    rounds(4)
    assert len(_told("rule.broken")) == 2
    # Rounds that are made no more tell nothing, good or bad.
    assert waiting.unmended(clock.now + dt.timedelta(hours=1)) is None
    gather(clock.now + dt.timedelta(hours=3))
    assert Standing.objects.filter(key="rule:line-apart", gone_at=None).exists()


def test_a_rule_that_a_move_under_way_mends_is_not_told(
    plant: Plant, crowded: list[Machine], apart: PlacementRule, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    for _number in range(5):
        clock.rounds(1)
        gather(clock.now)
    assert Operation.objects.filter(kind="migrate", state="queued").exists()
    assert _told("rule.broken") == []


def test_room_for_lost_hosts_that_is_used_up_is_told_and_that_it_is_there_again(
    plant: Plant, tight: list[Machine]
) -> None:
    now = timezone.now()
    gather(now)
    one = tight[0].memory_bytes + OVERHEAD_BYTES
    other = Host.objects.filter(pk=plant.hosts[1].pk)
    Webhook.objects.create(name="plant", url="https://1.1.1.1/")
    Webhook.objects.create(name="line", url="https://1.1.1.1/", project=plant.project)
    recommending.set_mode(plant.operator, "off", spare_hosts=1)

    def look(minutes: int) -> None:
        pictures.picture_round(now + minutes * MINUTE)
        gather(now + minutes * MINUTE)

    look(0)
    assert waiting.spare(now) is not None and not Standing.objects.exists()
    # As a round and a placement see it: what would be left is a refusal.
    other.update(memory_bytes=int(1.5 * one))
    with pytest.raises(ValidationError, match="would find no room if"):
        made = environments.create_request(plant.engineer, **plant.request_fields("three"))
        environments.submit_request(plant.engineer, made)
    for minutes in (6, 12, 18):
        look(minutes)
    (notice,) = _told("spare.gone")
    assert notice.facts == {
        "wanted": 1, "kept": 0, "count": 1, "name": "mw0-h1", "hosts": ["mw0-h1"],
    }  # fmt: skip
    assert "Platz für ausgefallene Hosts: 0 von 1" in notice.text_in("de")
    assert _readers(notice) == {plant.operator, plant.administrator}
    # It names hosts of all: a project's webhook does not hear of it.
    assert [row.webhook.name for row in Delivery.objects.filter(notice=notice, user=None)] == [
        "plant"
    ]
    shown = _shown(now + 18 * MINUTE)
    assert (shown["spare_hosts_wanted",], shown["spare_hosts_kept",]) == (1, 0)
    other.update(memory_bytes=int(2.5 * one))
    look(24)
    other.update(memory_bytes=int(1.5 * one))
    look(30)
    other.update(memory_bytes=int(2.5 * one))
    for minutes in (36, 42):
        look(minutes)
    assert len(_told("spare.gone")) == 1 and _told("spare.back") == []
    look(52)
    assert [row.facts for row in _told("spare.back")] == [{"wanted": 1, "kept": 1}]
    # What was counted long ago, or for another number, tells nothing.
    later = now + dt.timedelta(hours=2)
    assert waiting.spare(later) is None
    assert ("spare_hosts_kept",) not in _shown(later)
    recommending.set_mode(plant.operator, "off", spare_hosts=0)
    pictures.picture_round(later)
    assert not Picture.objects.exists()


def test_room_that_nobody_wants_any_more_has_not_come_back(
    plant: Plant, tight: list[Machine]
) -> None:
    now = timezone.now()
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    Host.objects.filter(pk=plant.hosts[1].pk).update(memory_bytes=2**20)
    for minutes in (0, 6):
        pictures.picture_round(now + minutes * MINUTE)
        gather(now + minutes * MINUTE)
    assert len(_told("spare.gone")) == 1
    assert "Room for lost hosts: 0 of 1" in _page(plant.operator)
    recommending.set_mode(plant.operator, "off", spare_hosts=0)
    gather(now + 7 * MINUTE)
    assert not Standing.objects.exists() and _told("spare.back") == []


def test_a_look_costs_the_same_whatever_waits(
    plant: Plant, crowded: list[Machine], apart: PlacementRule, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend", spare_hosts=1)

    def cost(work: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            work()
        return len(captured)

    def both() -> tuple[int, int]:
        return cost(lambda: standing.look(clock.now)), cost(lambda: list(waits(clock.now)))

    before = both()
    clock.rounds(4)
    for host in plant.hosts:
        HostDrain.objects.create(
            host=host, blockers=[{"machine": "", "why": "x"}], waiting_since=clock.now
        )
    for minutes in (0, 3, 12):
        gather(clock.now + minutes * MINUTE)
    assert Standing.objects.filter(told_at__isnull=False).count() >= 3
    assert both() == before
    assert before[0] <= 9 and before[1] <= 9


def test_the_choices_page_lists_every_kind(plant: Plant) -> None:
    caller = Client()
    caller.force_login(plant.operator, backend="django.contrib.auth.backends.ModelBackend")
    page = caller.get("/notifications/choices/").content.decode()
    for kind in ("balancer.waits", "move.failed", "drain.waits", "drain.done", "rule.broken", "spare.gone", "spare.back"):  # fmt: skip
        assert f'value="{kind}"' in page


def test_a_host_that_does_not_wake_is_told_once_until_it_is_awake(plant: Plant) -> None:
    host, now = plant.hosts[0], timezone.now()
    gather(now)
    Host.objects.filter(pk=host.pk).update(power="asleep", power_since=now)
    for number in range(3):
        operation = ask_wake(None, Host.objects.get(pk=host.pk), reason="a request")
        Operation.objects.filter(pk=operation.pk).update(
            state="failed", ended_at=now, error="no answer"
        )
        gather(now + number * MINUTE)
    (notice,) = _told("host.not_waking")
    assert (notice.facts["name"], notice.facts["why"]) == (host.name, "no answer")
    assert _readers(notice) == {plant.operator, plant.administrator}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in powers(now + MINUTE)
        for sample in family.samples
    }
    assert samples["millwright_host_not_waking_seconds", host.name] >= 1
    assert samples["millwright_host_power", host.name, "asleep"] == 1
    # Nobody says of it that it is down, and nobody that it is up.
    assert ("millwright_host_up", host.name) not in samples
    assert ("millwright_host_up", plant.hosts[1].name) in samples
    # It comes back by hand: told, and what stood is over.
    change_power(Host.objects.get(pk=host.pk), HostPower.AWAKE, "it answers, and nobody here has woken it")  # fmt: skip
    gather(now + 5 * MINUTE)
    (back,) = _told("host.awake")
    assert "nobody here has woken it" in back.facts["why"]
    assert not Standing.objects.filter(key__startswith="wake:").exists()
