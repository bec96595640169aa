"""What a wrong device gets: the field, the value and the rule, and nothing half made."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from millwright.environments import actions as environments
from millwright.environments.models import Machine
from millwright.inventory.models import AddressClaim
from millwright.orchestrator.store import _free_address
from millwright.shopfloor import actions, config
from millwright.shopfloor.models import Device

from industrial.devices import load_devices
from tests.support.plant import Plant


def _fields(plant: Plant, **changes: Any) -> dict[str, Any]:
    return {
        "name": "station",
        "project": plant.project,
        "cell": plant.cell,
        "address": "10.90.1.50",
        "port": 502,
        **changes,
    }


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ten", "'ten' is not an IP address"),
        ("10.91.1.50", r"10\.91\.1\.50 is not in cell line1 \(10\.90\.1\.0/24\)"),
        ("10.90.1.2", r"10\.90\.1\.2 is used by the cell line1 itself"),
        ("10.90.1.1", r"10\.90\.1\.1 is used by the cell line1 itself"),
        ("10.90.1.255", r"10\.90\.1\.255 is used by the cell line1 itself"),
    ],
)
def test_a_wrong_address_is_refused(plant: Plant, address: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        actions.add_device(plant.engineer, **_fields(plant, address=address))
    assert set(refused.value.message_dict) == {"address"}
    assert not Device.objects.exists()


def test_the_address_of_a_machine_is_refused_with_its_owner(plant: Plant) -> None:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    machine = Machine.objects.get()
    AddressClaim.objects.create(cell=plant.cell, address="10.90.1.100", machine=machine)
    with pytest.raises(ValidationError, match=r"10\.90\.1\.100 belongs to filling-line-1"):
        actions.add_device(plant.engineer, **_fields(plant, address="10.90.1.100"))
    assert not Device.objects.exists()


def test_a_second_device_on_the_same_place_or_with_the_same_name_is_refused(plant: Plant) -> None:
    actions.add_device(plant.engineer, **_fields(plant))
    with pytest.raises(ValidationError):
        actions.add_device(plant.engineer, **_fields(plant, name="another"))
    with pytest.raises(ValidationError):
        actions.add_device(plant.engineer, **_fields(plant, address="10.90.1.51"))
    assert Device.objects.count() == 1


def test_a_machine_gets_no_address_that_a_device_has(plant: Plant) -> None:
    actions.add_device(plant.engineer, **_fields(plant, address="10.90.1.100"))
    assert _free_address(plant.cell) == "10.90.1.101"


@pytest.mark.parametrize(
    ("device", "row"),
    [
        ({"protocol": "modbus_tcp", "word_order": "high_first"}, {"area": "input", "register": "3"}),
        ({"protocol": "modbus_rtu_tcp"}, {"area": "input", "register": "3"}),
        ({"protocol": "opcua", "port": 4840, "unencrypted": "an old controller"}, {"area": "node", "register": "ns=2;s=Main.level"}),
    ],
)  # fmt: skip
def test_a_controller_takes_what_the_portal_writes(
    plant: Plant, device: dict[str, Any], row: dict[str, Any]
) -> None:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    machine = Machine.objects.with_names().get()
    registered = actions.add_device(plant.engineer, **_fields(plant, **device))
    filled = {"tag": "Main.level", "direction": "in", "data_type": "UINT", **row}
    wrong = {**filled, "area": "input" if row["area"] == "node" else "node"}
    with pytest.raises(ValidationError, match="does not fit"):
        actions.set_mappings(plant.engineer, machine, registered, [{**wrong, "register": "3"}])
    actions.set_mappings(plant.engineer, machine, registered, [filled])
    files = config.config_files(machine)
    symbols = [{"path": "Main.level", "type": "UINT", "area": "I", "offset": 0, "bit": None}]
    (found,) = load_devices({"io/station.toml": files["io/station.toml"]}, symbols)
    assert found.protocol == device["protocol"]
    assert found.high_first == (device.get("word_order") == "high_first")
    (point,) = found.points
    assert point.node == (row["register"] if row["area"] == "node" else "")


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"protocol": "s7"}, "protocol"), ({"word_order": "mixed"}, "word_order")],
)
def test_an_unknown_protocol_or_order_is_refused(
    plant: Plant, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        actions.add_device(plant.engineer, **_fields(plant, **changes))
    assert list(refused.value.message_dict) == [field]
