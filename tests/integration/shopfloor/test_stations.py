"""Engineering stations: registered on a page or by command, let in by the firewall, told to the controller, removed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import Cell
from millwright.shopfloor import config, stations
from millwright.shopfloor.models import EngineeringStation

from tests.support.plant import Plant, serving, signed_in


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """A machine that runs and serves Modbus."""
    return serving(plant, modbus=502)


@pytest.fixture
def keeper(plant: Plant) -> Client:
    return signed_in(plant.administrator)


def _peers(machine: Machine) -> set[str]:
    return {pair.peer for pair in config.firewall_pairs(machine) if pair.note.startswith("station")}


def _told() -> int:
    return Operation.objects.filter(kind="deliver_config", state="queued").count()


def test_a_station_is_registered_changed_and_removed_on_its_page(
    plant: Plant, machine: Machine, keeper: Client
) -> None:
    there = {"project": plant.project.pk, "cell": plant.cell.pk, "name": "desk"}
    empty = keeper.get(reverse("portal:stations")).content.decode()
    assert "No engineering stations yet" in empty
    made = keeper.post(
        reverse("portal:station_new"),
        {**there, "cidr": "10.90.1.8", "write_ranges": "holding 3-9, coil 320"},
    )
    assert made.status_code == 302
    row = EngineeringStation.objects.get()
    assert row.cidr == "10.90.1.8/32"
    assert _peers(machine) == {"10.90.1.8/32"}
    assert _told() == 1
    client = tomllib.loads(config.config_files(machine)["security.toml"])["modbus"]["client"]
    (desk,) = [each for each in client if each["name"] == "desk"]
    assert desk["write"] == [
        {"area": "holding", "first": 3, "last": 9},
        {"area": "coil", "first": 320, "last": 320},
    ]
    page = keeper.get(reverse("portal:stations")).content.decode()
    assert "holding 3-9, coil 320" in page
    assert "10.90.1.8/32" in page
    place = reverse("portal:station", args=[row.pk])
    assert "holding 3-9, coil 320" in keeper.get(place).content.decode()
    # The same again under its name is not a second one, and does not silently change the first.
    twice = keeper.post(reverse("portal:station_new"), {**there, "cidr": "10.90.1.9"})
    assert twice.status_code == 422
    assert "There is one of this name" in twice.content.decode()
    Operation.objects.update(state="succeeded")
    keeper.post(place, {"cell": plant.cell.pk, "cidr": "10.90.1.12/30", "write_ranges": ""})
    assert _peers(machine) == {"10.90.1.12/30"}
    Operation.objects.update(state="succeeded")
    keeper.post(reverse("portal:station_remove", args=[row.pk]))
    assert not _peers(machine)
    assert _told() == 1, "the firewall closes, and the controller is told"
    assert not EngineeringStation.objects.exists()
    trail = AuditEntry.objects.filter(action__startswith="station.").order_by("at")
    assert [entry.action for entry in trail] == ["station.set", "station.set", "station.remove"]
    assert {entry.project for entry in trail} == {plant.project}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cidr": "10.91.1.8"}, "is not in cell line1"),
        ({"cidr": "fd00::8"}, "is not in cell line1"),
        ({"cidr": "10.90.1.8/24"}, "has host bits set"),
        ({"cidr": "the desk"}, "does not appear to be"),
        ({"write_ranges": "holding 9-3"}, "first &lt;= last below 65536"),
        ({"write_ranges": "holding 3-70000"}, "first &lt;= last below 65536"),
        ({"write_ranges": "input 3"}, "written like holding 3-9"),
        ({"name": "the desk"}, "slug"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    plant: Plant, keeper: Client, changes: dict[str, str], words: str
) -> None:
    form = {
        "project": plant.project.pk,
        "cell": plant.cell.pk,
        "name": "desk",
        "cidr": "10.90.1.8",
        "write_ranges": "",
    }
    answer = keeper.post(reverse("portal:station_new"), form | changes)
    assert answer.status_code == 422
    (field,) = changes
    page = answer.content.decode()
    assert words in page
    assert list(answer.context["form"].errors) == [field]
    assert not EngineeringStation.objects.exists()


def test_everything_that_is_wrong_is_said_at_once(plant: Plant, keeper: Client) -> None:
    form = {"project": plant.project.pk, "cell": plant.cell.pk, "name": "the desk"}
    answer = keeper.post(
        reverse("portal:station_new"), {**form, "cidr": "fd00::8", "write_ranges": "input 3"}
    )
    assert set(answer.context["form"].errors) == {"name", "cidr", "write_ranges"}


def test_a_station_that_moves_to_another_cell_is_shut_out_of_the_first(
    plant: Plant, machine: Machine
) -> None:
    other = Cell.objects.create(
        slug="line2", cidr="10.91.2.0/24", bridge="mwc2", network_name="mw-c2", gateway_address="10.91.2.2",
        first_address="10.91.2.100", last_address="10.91.2.199",
    )  # fmt: skip
    where: dict[str, Any] = {"project": plant.project, "name": "desk", "write_ranges": []}
    stations.set_station(plant.administrator, cell=plant.cell, cidr="10.90.1.8", **where)
    Operation.objects.update(state="succeeded")
    stations.set_station(plant.administrator, cell=other, cidr="10.91.2.8", **where)
    assert not _peers(machine)
    assert _told() == 1


def test_only_who_administers_the_project_registers_and_removes(
    plant: Plant, machine: Machine
) -> None:
    where: dict[str, Any] = {"project": plant.project, "cell": plant.cell, "name": "desk"}
    with pytest.raises(PermissionRefused):
        stations.set_station(plant.engineer, cidr="10.90.1.8", write_ranges=[], **where)
    row = stations.set_station(plant.administrator, cidr="10.90.1.8", write_ranges=[], **where)
    with pytest.raises(PermissionRefused):
        stations.remove_station(plant.engineer, row)
    reader = signed_in(plant.engineer)
    page = reader.get(reverse("portal:stations")).content.decode()
    assert "10.90.1.8/32" in page
    assert reverse("portal:station", args=[row.pk]) not in page
    assert reverse("portal:station_new") not in page
    many = [{"area": "coil", "first": n, "last": n} for n in range(stations.MOST_RANGES + 1)]
    with pytest.raises(ValidationError, match="65 ranges; at most 64"):
        stations.set_station(plant.administrator, cidr="10.90.1.8", write_ranges=many, **where)
