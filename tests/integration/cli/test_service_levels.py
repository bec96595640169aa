"""`millwright sla`, `ledger`, `maintenance` and `contract` on a real portal."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from django.utils import timezone
from millwright.cli.errors import CliError
from millwright.environments.models import Machine
from millwright.service_levels import ledger
from millwright.service_levels.contracts import contract_of, sync_objectives
from millwright.service_levels.measuring import refresh
from millwright.service_levels.models import Interval, Seal

from tests.integration.cli.test_nouns import Shell, plant, shell
from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

__all__ = ["plant", "shell"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """In June down twice, nobody knows why."""
    sync_objectives()
    found = machine_of(plant)
    put_in_service(found)
    for begin, end in ((1000, 4000), (5000, 6000)):
        write(found, begin, "stopped")
        write(found, end, "running")
    ledger.read_history(second(7200))
    refresh([found.environment_id], dt.date(2026, 6, 1), timezone.now())
    return found


def test_what_is_kept_is_listed_and_shown(shell: Shell, plant: Plant, machine: Machine) -> None:
    (line,) = shell.json(plant.operator, "sla", "status")
    assert (line["environment"], line["state"]) == ("filling-line-1", "up")
    table = shell(plant.operator, "sla", "list", "--month", "2026-06").output
    assert "66 min" in table
    shown = shell(plant.engineer, "sla", "show", "filling-line-1", "--month", "2026-06").output
    assert "unclassified" not in shown
    assert "unknown" in shown
    assert "100.000 %" in shown
    assert shell.json(plant.stranger, "sla", "status") == []


def test_a_stop_is_explained_split_and_merged(shell: Shell, plant: Plant, machine: Machine) -> None:
    rows = shell.json(plant.operator, "ledger", "list")
    assert len(rows) == 2
    late, early = (str(row["id"]) for row in rows)
    assert "unplanned" in shell(plant.operator, "ledger", "classify", late, "unplanned").output
    assert len(shell.json(plant.operator, "ledger", "list")) == 1
    parts = shell(plant.operator, "ledger", "split", early, "2026-06-10T12:30:00Z").output
    numbers = [line.split(":")[0] for line in parts.splitlines()]
    assert len(numbers) == 2
    (merged,) = shell(plant.operator, "ledger", "merge", *numbers).output.splitlines()
    assert shell(plant.operator, "ledger", "comment", merged.split(":")[0], "fuse").exit_code == 0
    assert shell(plant.operator, "ledger", "acknowledge", merged.split(":")[0]).exit_code == 0
    refused = shell(plant.operator, "ledger", "classify", merged.split(":")[0], "excluded")
    assert isinstance(refused.exception, CliError)
    assert Interval.objects.current().count() == 2


def test_maintenance_is_asked_for_and_approved(
    shell: Shell, plant: Plant, machine: Machine
) -> None:
    span = ("2026-06-10T12:00:00Z", "2026-06-10T13:00:00Z")
    asked = shell(
        plant.engineer, "maintenance", "ask", "filling-line-1", *span, "--reason", "filters"
    ).output
    assert "late" in asked
    window = asked.split(":")[0]
    refused = shell(plant.approver, "maintenance", "approve", window)
    assert "reason" in str(refused.exception)
    done = shell(plant.approver, "maintenance", "approve", window, "--reason", "agreed")
    assert done.output.strip() == f"{window}: closed"
    assert shell.json(plant.operator, "maintenance", "list")[0]["state"] == "closed"


def test_a_contract_is_previewed_and_written(
    shell: Shell, plant: Plant, machine: Machine, tmp_path: Path
) -> None:
    hours = tmp_path / "hours.json"
    hours.write_text('{"shifts": [{"days": ["wed"], "from": "12:00", "to": "13:00"}]}')
    words = ("--environment", "filling-line-1", "--availability", "0.95", "--hours", str(hours))
    months = shell.json(plant.administrator, "contract", "preview", *words)
    assert len(months) == 3
    assert "95.0000%" in shell(plant.administrator, "contract", "write", *words).output
    assert contract_of(machine.environment).availability_ratio == 0.95
    assert len(shell.json(plant.engineer, "contract", "list")) == 7
    refused = shell(plant.engineer, "contract", "write", *words)
    assert isinstance(refused.exception, CliError)


def test_a_month_is_sealed_exported_and_reported(
    shell: Shell, plant: Plant, machine: Machine, tmp_path: Path
) -> None:
    made = shell(plant.approver, "sla", "seal", "filling-line-1", "2026-06").output
    seal = Seal.objects.get()
    assert seal.digest in made
    assert [row["id"] for row in shell.json(plant.engineer, "sla", "seals")] == [seal.pk]
    file, table = tmp_path / "june.jsonl", tmp_path / "june.csv"
    assert shell(plant.engineer, "sla", "export", str(seal.pk), "-o", str(file)).exit_code == 0
    good = shell(plant.engineer, "sla", "verify", str(file), "--digest", seal.digest)
    assert good.exit_code == 0, good.output
    words = ("sla", "report", "filling-line-1", "2026-06", "--as", "csv", "-o", str(table))
    assert shell(plant.engineer, *words).exit_code == 0
    assert table.read_text().startswith("section,what,begin")
