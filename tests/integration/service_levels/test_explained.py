"""What explains a row is a code: rows of before get theirs from their words, and seals of before still hold."""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from millwright.core.sla import month_period
from millwright.environments.models import Machine
from millwright.service_levels.actions import seal_month
from millwright.service_levels.contracts import plant_zone
from millwright.service_levels.models import Interval
from millwright.service_levels.seals import input_rows, verify_seal
from millwright.service_levels.words import code_of

from tests.support.history import machine_of, put_in_service, second
from tests.support.plant import Plant

JUNE = dt.date(2026, 6, 1)
MIGRATION = import_module("millwright.service_levels.migrations.0007_explained_by")


@pytest.fixture
def machine(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = machine_of(plant)
    put_in_service(found)
    monkeypatch.setattr(timezone, "now", lambda: dt.datetime(2026, 7, 2, tzinfo=dt.UTC))
    return found


def row(machine: Machine, begin: int, **said: Any) -> Interval:
    fields = {"kind": "down", "cause": "unplanned", "host": "h1", **said}
    return Interval.objects.create(
        environment=machine.environment,
        machine=machine,
        begin=second(begin),
        end=second(begin + 50),
        **fields,
    )


@pytest.mark.parametrize(
    ("why", "host", "code"),
    [
        ("stopped; host h1 suspect: no answer", "h1", "host"),
        ("host h10 suspect: no answer", "h1", ""),
        ("host h1 suspect: slow; crashed: killed", "h1", "crash"),
        ("crashed", "h1", "crash"),
        ("move of another", "h1", ""),
        ("host  down", "", ""),
    ],
)
def test_words_of_before_are_read_as_they_were_meant(why: str, host: str, code: str) -> None:
    assert code_of("down", "unplanned", why, host) == code
    assert code_of("down", "planned", why, host) == code_of("missing", "unknown", why, host) == ""


def test_rows_of_before_get_their_code(machine: Machine) -> None:
    kept = row(machine, 1000, why="host h1 down: no answer")
    other = row(machine, 2000, why="host h1 down: no answer", cause="planned")
    editor = connection.schema_editor()
    MIGRATION.ALLOW(apps, editor)
    MIGRATION.explain(apps, editor)
    MIGRATION.FORBID(apps, editor)
    found = dict(Interval.objects.values_list("pk", "explained_by"))
    assert found == {kept.pk: "host", other.pk: ""}


@pytest.mark.parametrize("edited", [("told", ""), ("silent", ""), ("silent", "crash")])
def test_a_seal_of_before_holds_and_an_edit_of_the_code_shows(
    plant: Plant, machine: Machine, edited: tuple[str, str]
) -> None:
    told = row(machine, 1000, why="host h1 down: no answer", explained_by="host")
    silent = row(machine, 2000, why="dark", explained_by="host")
    span = month_period(plant_zone(), JUNE)
    rows = input_rows(machine.environment, span, "intervals", silent.pk)
    # The first is hashed as it was before there was a code.
    assert [len(found) for found in rows] == [13, 14]
    seal = seal_month(plant.approver, machine.environment, JUNE)
    assert verify_seal(seal).intact
    which, code = edited
    MIGRATION.ALLOW(apps, connection.schema_editor())
    Interval.objects.filter(pk={"told": told, "silent": silent}[which].pk).update(explained_by=code)
    assert verify_seal(seal).broken == ("intervals",)
