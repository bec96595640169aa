"""The doors by which measurements come in, and the tables that nobody changes."""

from __future__ import annotations

import datetime as dt

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from millwright.audit.models import AppendOnly, AppendOnlyError
from millwright.environments import actions as environments
from millwright.environments.models import Machine, StateTransition
from millwright.service_levels.actions import record_cycle_fault, record_probe
from millwright.service_levels.models import CycleCount, Interval, ProbeState

from tests.support.plant import Plant

NOW = timezone.now()


@pytest.fixture
def machine(plant: Plant) -> Machine:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    return Machine.objects.get()


def second(number: int) -> dt.datetime:
    return NOW + dt.timedelta(seconds=number)


def test_only_changes_of_a_probe_reach_the_history(machine: Machine) -> None:
    answers = [(0, True), (15, True), (30, False), (45, False), (60, True), (50, False)]
    changed = [record_probe(machine, "modbus", ok, second(at), "no answer") for at, ok in answers]
    assert changed == [True, False, True, False, True, False]
    rows = StateTransition.objects.filter(aspect="probe_modbus").order_by("pk")
    assert list(rows.values_list("at", "before", "after", "cause")) == [
        (NOW, "", "ok", "no answer"),
        (second(30), "ok", "failing", "no answer"),
        (second(60), "failing", "ok", "no answer"),
    ]
    state = ProbeState.objects.get()
    assert (state.ok, state.since, state.last_at) == (True, second(60), second(60))


def test_probes_that_cannot_be_are_refused_by_field(machine: Machine) -> None:
    with pytest.raises(ValidationError) as caught:
        record_probe(machine, "Modbus TCP", True, NOW)
    assert "kind" in caught.value.message_dict
    with pytest.raises(ValidationError) as caught:
        record_probe(machine, "modbus", True, NOW.replace(tzinfo=None))
    assert "at" in caught.value.message_dict


def test_a_count_of_scans_is_taken_once(machine: Machine) -> None:
    for _ in range(2):
        record_cycle_fault(machine, NOW, second(10), scans=1000, missed=3, longest_streak=2)
    assert CycleCount.objects.get().missed == 3
    for wrong in ({"missed": 1001}, {"missed": 1, "longest_streak": 2}):
        with pytest.raises(ValidationError):
            record_cycle_fault(machine, second(20), second(30), scans=1000, **wrong)
    with pytest.raises(ValidationError):
        record_cycle_fault(machine, NOW, NOW, scans=1, missed=0)


@pytest.mark.django_db
def test_every_append_only_table_is_guarded_by_the_database() -> None:
    tables = {row._meta.db_table for row in apps.get_models() if issubclass(row, AppendOnly)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")
        guarded = [row[0] for row in cursor.fetchall()]
    assert {table: guarded.count(table) for table in tables} == dict.fromkeys(tables, 2)


def test_rows_of_the_ledger_are_neither_changed_nor_deleted(machine: Machine) -> None:
    row = Interval.objects.create(
        environment=machine.environment, begin=NOW, kind="down", cause="unknown"
    )
    row.cause = "planned"
    with pytest.raises(AppendOnlyError):
        row.save()
    with pytest.raises(AppendOnlyError):
        row.delete()
    for change in (
        lambda: Interval.objects.update(cause="planned"),
        lambda: Interval.objects.filter(pk=row.pk).delete(),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    with connection.cursor() as cursor:
        cursor.execute("SELECT cause FROM service_levels_interval")
        assert cursor.fetchall() == [("unknown",)]
