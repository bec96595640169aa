"""The history read into the ledger: exact, once, in any order, and what people said stays."""

from __future__ import annotations

import datetime as dt
import random

import pytest
from django.utils import timezone
from millwright.environments.models import Operation
from millwright.inventory.models import Host
from millwright.service_levels import ledger
from millwright.service_levels.measuring import measure_one, refresh_due
from millwright.service_levels.models import (
    Absence,
    Interval,
    LedgerCursor,
    MonthSum,
    ServiceSpan,
    Supersession,
)
from millwright.service_levels.rounds import ledger_round
from millwright.service_levels.windows import decide_window, request_window

from tests.support.history import NOON, machine_of, put_in_service, second, write
from tests.support.plant import Plant

LATER = second(7200)


def rows() -> list[tuple]:
    return [
        (
            int((row.begin - NOON).total_seconds()),
            None if row.end is None else int((row.end - NOON).total_seconds()),
            row.kind,
            row.cause,
        )
        for row in Interval.objects.current().order_by("begin")
    ]


def test_what_was_seen_becomes_intervals_with_causes(plant: Plant) -> None:
    machine = machine_of(plant)
    write(machine, -100, "crashed")  # before it is in service nothing counts
    put_in_service(machine)
    write(machine, 100, "crashed", cause="guest panicked")
    write(machine, 400, "running")
    write(machine, 500, "stopped")
    write(machine, 560, "running")
    write(machine, 700, "unknown", cause="mw0-h1 does not answer")
    write(machine, 800, "running")
    write(machine, 900, "ok", aspect="probe_modbus")
    write(machine, 1000, "stopped")
    assert ledger.read_history(LATER) == 11
    assert rows() == [
        (100, 400, "down", "unplanned"),
        (500, 560, "down", "small_stop"),
        (700, 800, "missing", "unknown"),
        (1000, None, "down", "unknown"),
    ]
    write(machine, 2000, "running")
    write(machine.environment, 3000, "removing")
    write(machine, 3001, "absent")
    ledger.read_history(LATER)
    assert rows()[3:] == [(1000, 2000, "down", "unknown")]
    span = ServiceSpan.objects.get()
    assert (span.begin, span.end) == (NOON, second(3000))
    # The open row is still there, superseded by the closed one of the same incident.
    assert Supersession.objects.get().verb == "closed"
    assert Interval.objects.filter(begin=second(1000)).values("incident").distinct().count() == 1


def test_in_pieces_in_another_order_and_twice_it_is_the_same(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    chance = random.Random(7)  # noqa: S311 - reproducible
    at = 10
    for _ in range(60):
        at += chance.randint(1, 90)
        aspect = chance.choice(["observed", "observed", "probe_modbus", "probe_opcua"])
        states = (
            ["running", "crashed", "unknown", "stopped"]
            if aspect == "observed"
            else ["ok", "failing", "stale"]
        )
        write(machine, at, chance.choice(states), aspect=aspect)
        if chance.random() < 0.4:
            ledger.read_history(LATER)
    ledger.read_history(LATER)
    in_pieces = rows()
    assert len(in_pieces) > 10
    before = Interval.objects.count()
    assert ledger.read_history(LATER) == 0
    # As after a crash that lost the cursor's last change: all of it again.
    LedgerCursor.objects.update(transition=0, seen=[])
    ledger.read_history(LATER)
    assert rows() == in_pieces
    assert Interval.objects.count() == before


def test_a_late_commit_is_put_in_its_place(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    write(machine, 600, "stopped")
    write(machine, 900, "running")
    ledger.read_history(LATER)
    assert rows() == [(600, 900, "down", "unknown")]
    # Seen by another process at 650, committed after the others.
    write(machine, 650, "running")
    ledger.read_history(LATER)
    assert rows() == [(600, 650, "down", "small_stop")]


def test_events_explain_what_they_are_near_to(plant: Plant) -> None:
    machine, host = machine_of(plant), plant.hosts[0]
    put_in_service(machine)
    for kind, begin in (("stop", 1000), ("deliver_program", 2000)):
        Operation.objects.create(
            kind=kind,
            state="succeeded",
            machine=machine,
            environment=machine.environment,
            requested_by=plant.engineer,
            reason="cleaning",
            started_at=second(begin),
            ended_at=second(begin + 8),
        )
        write(machine, begin + 5, "stopped")
        write(machine, begin + 305, "running")
    write(host, 3000, "suspect", aspect="health", cause="no answer")
    write(machine, 3000, "unknown", cause="mw0-h1 does not answer")
    write(machine, 3004, "failing", aspect="probe_modbus", cause="timed out")
    write(machine, 3300, "running")
    write(machine, 3310, "ok", aspect="probe_modbus")
    ledger.read_history(LATER)
    assert rows() == [
        (1005, 1305, "down", "planned"),
        (2005, 2305, "down", "changeover"),
        # Lost from sight, then found not to answer: down since it was lost.
        (3000, 3310, "down", "unplanned"),
    ]
    words = [row.why for row in Interval.objects.current()]
    assert "stop by erin cleaning" in words[0]
    assert "host mw0-h1 suspect: no answer" in words[2]
    assert {row.host for row in Interval.objects.all()} == {"mw0-h1"}


def test_a_host_whose_silence_is_noticed_later_explains_what_the_probes_saw_before(
    plant: Plant,
) -> None:
    machine, host = machine_of(plant), plant.hosts[0]
    put_in_service(machine)
    write(machine, 1000, "failing", aspect="probe_modbus", cause="timed out")
    ledger.read_history(second(1002))
    assert rows() == [(1000, None, "down", "unknown")]
    incident = Interval.objects.get().incident
    write(host, 1009, "suspect", aspect="health", cause="no answer")
    write(machine, 1009, "unknown", cause="mw0-h1 does not answer")
    ledger.read_history(second(1010))
    assert rows() == [(1000, None, "down", "unplanned")]
    row = Interval.objects.current().get()
    assert "host mw0-h1 suspect: no answer" in row.why
    assert (row.incident, row.verb) == (incident, "seen")
    # What is explained is not written again.
    write(machine, 1100, "ok", aspect="probe_opcua")
    ledger.read_history(second(1101))
    assert Interval.objects.count() == 2


def test_a_machine_that_answers_from_outside_is_up_though_its_host_is_silent(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    write(machine, 50, "ok", aspect="probe_modbus")
    write(machine, 100, "unknown")
    write(machine, 105, "ok", aspect="probe_modbus")
    write(machine, 400, "running")
    ledger.read_history(LATER)
    assert rows() == [(100, 105, "missing", "unknown")]


def test_nobody_looking_is_missing_data_and_a_stop_in_order_is_agreed(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine, NOON)
    ledger.begin_rounds(NOON)
    ledger.read_history(NOON)
    ledger.begin_rounds(second(1000))
    assert Absence.objects.count() == 1
    figures = measure_one(machine.environment_id, dt.date(2026, 6, 1), second(2000))
    assert figures.missing.total_seconds() == 1000 - 120
    ledger.read_history(second(1001))
    ledger.end_rounds(second(1010))
    ledger.begin_rounds(second(1510))
    figures = measure_one(machine.environment_id, dt.date(2026, 6, 1), second(2000))
    assert figures.missing.total_seconds() == 1000 - 120
    assert figures.excluded.total_seconds() == 500
    assert figures.eligible.total_seconds() == 1500


def test_sums_follow_the_ledger_and_what_was_agreed_afterwards(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    write(machine, 100, "crashed")
    write(machine, 700, "running")
    ledger_round(second(1000))
    june = MonthSum.objects.get()
    assert (june.eligible_s, june.down_s, june.outages, june.stale) == (1000, 600, 1, False)
    window = request_window(
        plant.engineer, machine.environment, second(0), second(400), "the supply was changed"
    )
    assert window.late
    assert window.retroactive
    decide_window(plant.approver, window, True, "agreed by telephone, see ticket 7")
    june.refresh_from_db()
    assert june.stale
    ledger_round(second(1000))
    june.refresh_from_db()
    assert (june.eligible_s, june.down_s, june.excluded_s) == (600, 300, 400)
    window.refresh_from_db()
    assert window.state == "closed"


def test_the_running_months_sum_is_measured_again_after_a_while(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    ledger_round(second(100))
    assert refresh_due(second(200)) == 0
    assert refresh_due(second(500)) == 1
    assert MonthSum.objects.get().eligible_s == 500


@pytest.mark.django_db
def test_machines_of_a_host_that_came_back_are_read_in_few_queries(
    plant: Plant, django_assert_max_num_queries: object
) -> None:
    plant.project.quota_environments = 20
    plant.project.quota_vcpus = plant.project.quota_realtime_cores = 100
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 2**50
    plant.project.save()
    Host.objects.update(memory_bytes=2**45, disk_free_bytes=2**50)
    for number in range(10):
        machine = machine_of(plant, f"line-{number}")
        put_in_service(machine)
        write(machine, 100 + number, "unknown")
    with django_assert_max_num_queries(150):  # type: ignore[operator]
        ledger.read_history(timezone.now())
    assert len(rows()) == 10
