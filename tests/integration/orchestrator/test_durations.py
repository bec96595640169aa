"""How long provisioning and recovery took, as the metrics tell it: what the ledger and operations hold, each once."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.core.sla import Interval as Span
from millwright.environments.models import Machine, Operation
from millwright.orchestrator.durations import Durations, Histogram
from millwright.service_levels import actions
from millwright.service_levels.models import Interval
from millwright.service_levels.probes import record_probe
from millwright.service_levels.rounds import ledger_round
from millwright.service_levels.times import recovered

from tests.support.history import machine_of, put_in_service, write
from tests.support.plant import Plant, build_plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def plant() -> Plant:
    return build_plant()


@pytest.fixture
def machine(plant: Plant) -> Machine:
    made = machine_of(plant)
    put_in_service(made, ago(3600))
    return made


def ago(seconds: float) -> dt.datetime:
    return timezone.now() - dt.timedelta(seconds=seconds)


def counted(histograms: dict[str, Histogram]) -> tuple[float, float]:
    """How many there are of all levels, and their seconds."""
    return (
        sum(row.buckets()[-1][1] for row in histograms.values()),
        sum(row.total_s for row in histograms.values()),
    )


def test_a_machine_that_nobody_sees_until_its_host_is_back_has_recovered(
    plant: Plant, machine: Machine
) -> None:
    write(machine, ago(900), "unknown")
    write(machine, ago(600), "running")
    ledger_round(timezone.now())
    kept = Durations()
    for _ in range(2):
        kept.refresh()
        assert counted(kept.recovery) == (1.0, pytest.approx(300, abs=1))


def test_so_has_one_that_probes_found_down_after_its_host_was_lost(
    plant: Plant, machine: Machine
) -> None:
    record_probe(machine, "modbus", True, ago(1000))
    write(machine, ago(900), "unknown")
    write(plant.hosts[0], ago(899), "suspect", aspect="health", before="up", cause="no answer")
    record_probe(machine, "modbus", False, ago(895))
    write(machine, ago(620), "running")
    record_probe(machine, "modbus", True, ago(600))
    ledger_round(timezone.now())
    (row,) = Interval.objects.current()
    assert (row.kind, row.cause, row.explained_by) == ("down", "unplanned", "host")
    kept = Durations()
    kept.refresh()
    assert counted(kept.recovery) == (1.0, pytest.approx(300, abs=1))
    # What an operator says of it is no second recovery.
    actions.classify_interval(plant.operator, row, "small_stop")
    kept.refresh()
    assert counted(kept.recovery)[0] == 1.0
    # Who begins anew counts what the report does.
    anew = Durations()
    anew.refresh()
    month = Span(ago(10_000), timezone.now())
    assert counted(anew.recovery)[0] == len(recovered([machine.environment_id], month))


def test_the_code_decides_what_was_a_hosts_loss_and_not_the_words(machine: Machine) -> None:
    said = {"kind": "down", "cause": "unplanned", "machine": machine, "host": "h1"}
    for number, (code, why) in enumerate((("", "host h1 down: no answer"), ("host", "Strom weg"))):
        begin = ago(900 - 100 * number)
        Interval.objects.create(
            environment=machine.environment,
            begin=begin,
            end=begin + dt.timedelta(seconds=50 + number),
            explained_by=code,
            why=why,
            **said,
        )
    month = Span(ago(10_000), timezone.now())
    found = recovered([machine.environment_id], month)
    assert [row.length.total_seconds() for row in found] == [51.0]


def test_a_crash_and_an_order_are_no_recovery(plant: Plant, machine: Machine) -> None:
    write(machine, ago(900), "crashed", cause="crashed")
    write(machine, ago(600), "running")
    write(machine, ago(500), "stopped")
    write(machine, ago(400), "running")
    ledger_round(timezone.now())
    assert Interval.objects.current().count() == 2
    kept = Durations()
    kept.refresh()
    assert counted(kept.recovery) == (0, 0)


def test_provisioning_lasts_from_approval_to_the_end_of_its_operation(machine: Machine) -> None:
    decided = machine.environment.request.decided_at
    assert decided is not None
    operation = Operation.objects.get(kind="provision")
    kept = Durations()
    kept.refresh()
    assert counted(kept.provisioning) == (0, 0)
    end = decided + dt.timedelta(seconds=75)
    Operation.objects.filter(pk=operation.pk).update(state="succeeded", ended_at=end)
    for _ in range(2):
        kept.refresh()
        assert counted(kept.provisioning) == (1.0, pytest.approx(75))
