"""What people do with the ledger: causes, splits, merges, windows, contracts, seals; and who may."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.core.sla import month_period
from millwright.environments.models import Machine, Operation, Request
from millwright.service_levels import ledger
from millwright.service_levels.actions import (
    classify_interval,
    close_window,
    decide_window,
    merge_intervals,
    note_interval,
    preview_contract,
    record_cycle_fault,
    request_window,
    seal_month,
    split_interval,
    withdraw_window,
    write_contract,
)
from millwright.service_levels.contracts import contract_of, plant_zone, sync_objectives
from millwright.service_levels.measuring import measure_one
from millwright.service_levels.models import (
    Contract,
    Interval,
    MaintenanceWindow,
    Note,
    QualityCount,
)
from millwright.service_levels.monthly import month_of_environment
from millwright.service_levels.rounds import ledger_round
from millwright.service_levels.seals import verify_seal
from millwright.service_levels.times import held_against, provisioned

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

JUNE = dt.date(2026, 6, 1)
JULY = dt.datetime(2026, 7, 2, tzinfo=dt.UTC)


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """Down from second 1000 to 4000 and from 5000 to 6000, nobody knows why."""
    found = machine_of(plant)
    put_in_service(found)
    for begin, end in ((1000, 4000), (5000, 6000)):
        write(found, begin, "stopped")
        write(found, end, "running")
    ledger.read_history(second(7200))
    return found


def current() -> list[Interval]:
    return list(Interval.objects.current().order_by("begin"))


def refused(call: Any, field: str) -> str:
    with pytest.raises(ValidationError) as caught:
        call()
    assert field in caught.value.message_dict, caught.value.message_dict
    return str(caught.value.message_dict[field])


def test_a_cause_is_given_by_operators_and_taken_out_of_the_budget_by_approvers(
    plant: Plant, machine: Machine
) -> None:
    row = current()[0]
    with pytest.raises(PermissionRefused):
        classify_interval(plant.stranger, row, "unplanned")
    made = classify_interval(plant.operator, row, "unplanned")
    assert (made.incident, made.written_by, made.verb) == (row.incident, plant.operator, "classify")
    refused(lambda: classify_interval(plant.operator, row, "unknown"), "interval")
    refused(lambda: classify_interval(plant.operator, made, "weather"), "cause")
    for cause in ("planned", "excluded", "void"):
        with pytest.raises(PermissionRefused):
            classify_interval(plant.engineer, made, cause, "because")
    approver = plant.administrator
    refused(lambda: classify_interval(approver, made, "excluded"), "reason")
    before = measure_one(machine.environment_id, JUNE, second(7200))
    classify_interval(approver, made, "excluded", "flood, agreed with the line")
    after = measure_one(machine.environment_id, JUNE, second(7200))
    assert (before.down - after.down).total_seconds() == 3000
    assert after.excluded.total_seconds() == 3000
    entry = AuditEntry.objects.filter(action="ledger.classify").first()
    assert entry is not None
    assert entry.details["before"] == "unplanned"
    assert entry.reason == "flood, agreed with the line"
    # All of it is still there.
    assert Interval.objects.filter(incident=row.incident).exclude(end=None).count() == 3


def test_what_people_said_of_an_open_row_stays_when_it_ends(plant: Plant, machine: Machine) -> None:
    write(machine, 8000, "stopped")
    ledger.read_history(second(8100))
    classify_interval(plant.operator, current()[-1], "unplanned", "pump")
    write(machine, 9000, "running")
    ledger.read_history(second(9100))
    row = current()[-1]
    assert (row.begin, row.end, row.cause) == (second(8000), second(9000), "unplanned")
    assert (row.written_by, row.reason) == (plant.operator, "pump")


def test_split_and_merge_keep_the_time(plant: Plant, machine: Machine) -> None:
    first, second_row = current()
    refused(lambda: split_interval(plant.operator, first, second(4000)), "at")
    one, two = split_interval(plant.operator, first, second(2000), "two reasons")
    assert (one.begin, one.end, two.begin, two.end) == (
        second(1000),
        second(2000),
        second(2000),
        second(4000),
    )
    assert one.incident == first.incident != two.incident
    classify_interval(plant.operator, one, "unplanned")
    one, two, second_row = current()
    refused(lambda: merge_intervals(plant.operator, [one, second_row]), "interval")
    refused(lambda: merge_intervals(plant.operator, [one]), "interval")
    merged = merge_intervals(plant.operator, [one, two, second_row], "the same again and again")
    assert (merged.begin, merged.end, merged.cause) == (second(1000), second(6000), "unplanned")
    assert current() == [merged]
    # The history folded again changes nothing of it.
    ledger.LedgerCursor.objects.update(transition=0, seen=[])
    ledger.read_history(second(7200))
    assert current() == [merged]
    with pytest.raises(PermissionRefused):
        split_interval(plant.stranger, merged, second(2000))


def test_notes_stay_with_the_incident(plant: Plant, machine: Machine) -> None:
    row = current()[0]
    refused(lambda: note_interval(plant.operator, row, "  "), "text")
    note_interval(plant.operator, row, acknowledge=True)
    note_interval(plant.operator, row, acknowledge=True)
    made = classify_interval(plant.operator, row, "unplanned")
    note_interval(plant.engineer, made, "the fuse was 2 A")
    notes = Note.objects.filter(incident=made.incident)
    assert [(note.kind, note.actor) for note in notes] == [
        ("acknowledge", plant.operator),
        ("comment", plant.engineer),
    ]


# --- maintenance ----------------------------------------------------------------------------------


def test_a_window_is_decided_by_another_and_needs_a_reason_when_late(
    plant: Plant, machine: Machine
) -> None:
    environment, now = machine.environment, timezone.now()
    hour = dt.timedelta(hours=1)
    early = request_window(plant.engineer, environment, now + 48 * hour, now + 50 * hour, "filters")
    assert (early.late, early.retroactive) == (False, False)
    late = request_window(plant.operator, environment, now + hour, now + 2 * hour, "leak")
    assert (late.late, late.retroactive) == (True, False)
    with pytest.raises(PermissionRefused):
        decide_window(plant.engineer, late, True, "yes")
    refused(lambda: decide_window(plant.approver, late, True), "reason")
    refused(lambda: decide_window(plant.approver, late, False), "reason")
    assert decide_window(plant.approver, late, True, "it leaks").state == "approved"
    refused(lambda: decide_window(plant.approver, late, True, "again"), "state")
    assert decide_window(plant.approver, early, True).state == "approved"
    mine = request_window(
        plant.administrator, environment, now + 30 * hour, now + 31 * hour, "mine"
    )
    refused(lambda: decide_window(plant.administrator, mine, True), "approved_by")
    refused(lambda: close_window(plant.engineer, early), "state")
    assert withdraw_window(plant.engineer, early).state == "withdrawn"
    with pytest.raises(PermissionRefused):
        request_window(plant.stranger, environment, now, now + hour, "no")
    for wrong, field in (
        ({"ends_at": now}, "ends_at"),
        ({"ends_at": now + dt.timedelta(days=15)}, "ends_at"),
        ({"reason": " "}, "reason"),
        ({"every_days": 7}, "until"),
        ({"until": now.date()}, "until"),
        ({"every_days": 7, "until": now.date() - dt.timedelta(days=9)}, "until"),
    ):
        fields = {"begins_at": now, "ends_at": now + hour, "reason": "x", **wrong}
        refused(lambda fields=fields: request_window(plant.engineer, environment, **fields), field)


def test_no_more_is_approved_than_the_contract_allows_in_a_year(
    plant: Plant, machine: Machine
) -> None:
    begin = dt.datetime(2027, 2, 1, 6, tzinfo=dt.UTC)
    weekly = request_window(
        plant.engineer,
        machine.environment,
        begin,
        begin + dt.timedelta(hours=4),
        "each week",
        every_days=7,
        until=dt.date(2027, 5, 1),
    )
    text = refused(lambda: decide_window(plant.approver, weekly, True), "ends_at")
    assert "52.0 h" in text
    assert "48 h" in text
    weekly = request_window(
        plant.engineer,
        machine.environment,
        begin,
        begin + dt.timedelta(hours=4),
        "each week",
        every_days=7,
        until=dt.date(2027, 4, 20),
    )
    assert decide_window(plant.approver, weekly, True).state == "approved"
    more = request_window(
        plant.engineer, machine.environment, begin, begin + dt.timedelta(hours=5), "more"
    )
    refused(lambda: decide_window(plant.approver, more, True), "ends_at")


def test_windows_become_active_and_are_closed_by_the_clock_and_by_people(
    plant: Plant, machine: Machine
) -> None:
    now = timezone.now()
    window = request_window(
        plant.engineer,
        machine.environment,
        now + dt.timedelta(hours=30),
        now + dt.timedelta(hours=32),
        "filters",
        every_days=2,
        until=(now + dt.timedelta(days=6)).date(),
    )
    decide_window(plant.approver, window, True)
    states = []
    for hours in (29, 31, 33, 79, 81, 200):
        ledger_round(now + dt.timedelta(hours=hours))
        window.refresh_from_db()
        states.append(window.state)
    assert states == ["approved", "active", "approved", "active", "approved", "closed"]
    past = request_window(
        plant.engineer,
        machine.environment,
        now - dt.timedelta(hours=2),
        now + dt.timedelta(hours=2),
        "longer than thought",
    )
    assert decide_window(plant.approver, past, True, "agreed").state == "active"
    closed = close_window(plant.engineer, past)
    assert closed.state == "closed"
    assert MaintenanceWindow.objects.get(pk=past.pk).closed_at is not None


# --- contracts ------------------------------------------------------------------------------------


def test_shipped_objectives_are_contracts_of_classes_until_a_person_decides(plant: Plant) -> None:
    assert sync_objectives() == 6
    assert sync_objectives() == 0
    machine = machine_of(plant)
    assert contract_of(machine.environment).objective == "realtime-availability"
    Machine.objects.update(best_effort=["emulated: timing is not promised"])
    emulated = contract_of(machine.environment)
    assert emulated.service_class == "emulated"
    assert emulated.cycle_ratio is None
    assert emulated.note
    with pytest.raises(PermissionRefused):
        write_contract(plant.operator, service_class="emulated", availability_ratio=0.9)
    write_contract(plant.administrator, service_class="emulated", availability_ratio=0.9)
    assert contract_of(machine.environment).availability_ratio == 0.9
    assert sync_objectives() == 0


def test_a_contract_applies_from_a_time_on_and_says_what_is_wrong(
    plant: Plant, machine: Machine
) -> None:
    environment = machine.environment
    for wrong, field in (
        ({"availability_ratio": 1.0}, "availability_ratio"),
        ({"availability_ratio": 99.9}, "availability_ratio"),
        ({"cycle_ratio": 0.1}, "cycle_ratio"),
        ({"small_stop_s": 4000}, "small_stop_s"),
        ({"hours": {"shifts": [{"from": "25:00"}]}}, "hours"),
        ({"service_class": "realtime"}, "service_class"),
        ({"valid_from": timezone.now() - dt.timedelta(days=1)}, "valid_from"),
    ):
        fields = {"environment": environment, "availability_ratio": 0.99, **wrong}
        refused(lambda fields=fields: write_contract(plant.administrator, **fields), field)
    soon = timezone.now() + dt.timedelta(days=2)
    write_contract(
        plant.administrator, environment=environment, availability_ratio=0.95, valid_from=soon
    )
    assert contract_of(environment).availability_ratio == 0.99
    assert contract_of(environment, soon).availability_ratio == 0.95
    assert Contract.objects.filter(environment=environment).count() == 1
    assert AuditEntry.objects.filter(action="contract.write").exists()


def test_a_preview_says_what_the_months_would_have_been(plant: Plant, machine: Machine) -> None:
    office = {"shifts": [{"days": ["wed"], "from": "12:00", "to": "13:00"}]}
    (june,) = preview_contract(
        plant.administrator,
        environment=machine.environment,
        availability_ratio=0.5,
        hours=office,
        months=1,
        now=JULY,
    )
    # Down from 12:16:40 for the rest of the only hour that counts on the first of three Wednesdays.
    eligible = 3 * 3600
    assert june.month == JUNE
    assert june.would == pytest.approx(1 - 2600 / eligible)
    assert june.was is not None
    assert june.would_keep == 1
    assert june.kept == 1
    assert june.budget_left.total_seconds() == eligible / 2 - 2600
    with pytest.raises(PermissionRefused):
        preview_contract(plant.engineer, environment=machine.environment, availability_ratio=0.5)


def test_minutes_of_links_cores_and_the_portal_are_previewed_and_reported(
    plant: Plant, machine: Machine
) -> None:
    sync_objectives()
    for indicator, whose, good in (
        ("device-link", machine.environment, 59.4),
        ("run-queue-wait", machine.environment, 60.0),
        ("portal-availability", None, 57.0),
    ):
        QualityCount.objects.create(
            environment=whose,
            indicator=indicator,
            begin=second(0),
            end=second(3600),
            minutes=60,
            good=good,
        )
    own = {"environment": machine.environment, "availability_ratio": 0.9, "months": 1, "now": JULY}
    (june,) = preview_contract(plant.administrator, **own, device_link_ratio=0.98)
    links, cores = june.quality
    assert (links.share, links.objective, links.kept) == (pytest.approx(0.99), 0.98, True)
    assert (cores.share, cores.objective, cores.kept) == (1.0, None, None)
    (june,) = preview_contract(plant.administrator, **own, device_link_ratio=0.995)
    assert june.quality[0].kept is False
    # The month's report holds it against what was promised then: the shipped objective of the class.
    month = month_of_environment(machine.environment, JUNE, JULY)
    assert [(row.share, row.kept) for row in month.quality] == [
        (pytest.approx(0.99), False),
        (1.0, True),
    ]
    # Scans: in time, and how many late ones one after another.
    record_cycle_fault(machine, second(0), second(3600), scans=1000, missed=2, longest_streak=2)
    (mild,) = preview_contract(plant.administrator, **own, cycle_ratio=0.99, cycle_streak=2)
    (strict,) = preview_contract(plant.administrator, **own, cycle_streak=1)
    (sharp,) = preview_contract(plant.administrator, **own, cycle_ratio=0.999)
    assert mild.cycles.in_time == pytest.approx(0.998)
    assert [row.cycles.in_keeping for row in (mild, strict, sharp)] == [1, 0, 0]
    assert {row.cycles.promised for row in (mild, strict, sharp)} == {1}
    assert june.cycles.promised == 0
    # The portal: 95 % of its minutes.
    of = {"service_class": "plant", "months": 1, "now": JULY}
    (strict,) = preview_contract(plant.administrator, **of, availability_ratio=0.99)
    (mild,) = preview_contract(plant.administrator, **of, availability_ratio=0.9)
    assert (strict.would, strict.would_keep, mild.would_keep) == (pytest.approx(0.95), 0, 1)
    assert mild.budget_left == dt.timedelta(minutes=3)
    refused(
        lambda: write_contract(
            plant.administrator, service_class="plant", availability_ratio=0.9, cycle_ratio=0.9
        ),
        "cycle_ratio",
    )
    refused(
        lambda: write_contract(
            plant.administrator,
            environment=machine.environment,
            availability_ratio=0.9,
            run_queue_ratio=1.2,
        ),
        "run_queue_ratio",
    )


# --- seals -------------------------------------------------------------------------------------------


def test_a_sealed_month_shows_corrections_and_edits(
    plant: Plant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_objectives()
    record_cycle_fault(machine, second(0), second(3600), scans=1000, missed=2, longest_streak=1)
    with pytest.raises(PermissionRefused):
        seal_month(plant.operator, machine.environment, JUNE)
    monkeypatch.setattr(timezone, "now", lambda: JULY)
    refused(lambda: seal_month(plant.approver, machine.environment, dt.date(2026, 7, 1)), "month")
    seal = seal_month(plant.approver, machine.environment, JUNE)
    verdict = verify_seal(seal)
    assert (verdict.intact, verdict.since, verdict.changed) == (True, {}, {})
    # A correction through the ledger is lawful, and shows.
    classify_interval(plant.administrator, current()[0], "excluded", "flood")
    verdict = verify_seal(seal)
    assert verdict.intact
    assert verdict.since == {"intervals": 1, "corrections": 1}
    assert verdict.changed["down_us"] == (4_000_000_000, 1_000_000_000)
    # A seal of before good minutes were kept says nothing of them, and holds.
    del seal.inputs["qualities"]
    assert "qualities" not in verify_seal(seal).broken
    seal.refresh_from_db()
    again = seal_month(plant.approver, machine.environment, JUNE)
    assert (again.number, again.previous) == (2, seal.digest)
    assert verify_seal(again).intact
    # An edit past the ledger, by somebody who may change the database.
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER service_levels_interval_no_update")
        cursor.execute(
            "UPDATE service_levels_interval SET cause = 'planned' WHERE cause = 'unknown'"
        )
    for one in (seal, again):
        verdict = verify_seal(one)
        assert not verdict.intact
        assert verdict.broken == ("intervals",)


def test_a_forged_seal_shows(plant: Plant, machine: Machine, monkeypatch: Any) -> None:
    monkeypatch.setattr(timezone, "now", lambda: JULY)
    seal = seal_month(plant.approver, machine.environment, JUNE)
    seal.inputs["figures"]["down_us"] = 0
    assert verify_seal(seal).broken == ("seal",)
    seal.previous = "0" * 64
    assert set(verify_seal(seal).broken) == {"seal", "previous"}


# --- promised times ----------------------------------------------------------------------------------


def test_provisioning_and_coming_back_are_held_against_what_held_then(
    plant: Plant, machine: Machine
) -> None:
    span = month_period(plant_zone(), JUNE)
    keys = [machine.environment_id]
    decided = span.begin + dt.timedelta(hours=1)
    Request.objects.update(decided_at=decided)
    Operation.objects.filter(kind="provision").update(
        state="succeeded", ended_at=decided + dt.timedelta(seconds=90)
    )
    Interval.objects.create(
        environment=machine.environment,
        machine=machine,
        begin=span.begin + dt.timedelta(days=20),
        end=span.begin + dt.timedelta(days=20, seconds=700),
        kind="missing",
        cause="unknown",
        host="h1",
    )
    found = provisioned(keys, span)
    assert [row.length.total_seconds() for row in found] == [90.0]
    for limit, within, promised in ((89, 0, 1), (90, 1, 1), (None, 0, 0)):
        contract = Contract(provisioning_s=limit)
        times = held_against(found, lambda _key, _at, held=contract: held, "provisioning_s")
        assert (times.count, times.within, times.promised) == (1, within, promised)
    (june,) = preview_contract(
        plant.administrator,
        environment=machine.environment,
        availability_ratio=0.5,
        provisioning_s=60,
        recovery_s=900,
        months=1,
        now=JULY,
    )
    assert (june.provisioning.within, june.provisioning.promised) == (0, 1)
    assert (june.recovery.within, june.recovery.promised) == (1, 1)
    assert june.recovery.longest == dt.timedelta(seconds=700)
    with pytest.raises(ValidationError) as caught:
        write_contract(
            plant.administrator,
            environment=machine.environment,
            availability_ratio=0.9,
            recovery_s=0,
        )
    assert "recovery_s" in caught.value.message_dict
