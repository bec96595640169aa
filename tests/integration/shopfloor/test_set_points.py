"""Set-points against a real Modbus server through a real gateway; pictures and what is wrong with them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments import actions as environments
from millwright.environments.models import Machine
from millwright.gateway import GatewayError
from millwright.gateway.errors import TargetFailed
from millwright.inventory.models import AddressClaim
from millwright.shopfloor import config, live, setpoints
from millwright.shopfloor.models import Deployment, Program, ProgramVersion, SetPoint
from millwright.shopfloor.pictures import parse_picture, picture_of

from tests.support.plant import Plant
from tests.support.tags import PICTURE, SYMBOLS, LiveRegisters, open_gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def machine(plant: Plant) -> Machine:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    program = Program.objects.create(project=plant.project, name="filling")
    version = ProgramVersion.objects.create(
        program=program,
        number=1,
        files={"src/main.st": "", "picture.toml": PICTURE},
        state="ready",
        symbols=SYMBOLS,
        uploaded_by=plant.engineer,
    )
    row = Machine.objects.get()
    Deployment.objects.create(machine=row, program_version=version, state="active")
    AddressClaim.objects.create(cell=plant.cell, address="10.90.1.100", machine=row)
    Machine.objects.update(observed="running", host=plant.hosts[0])
    return Machine.objects.with_names().get()


def _allow(plant: Plant, machine: Machine, **changes: Any) -> SetPoint:
    fields = {"tag": "Main.setpoint", "low": 0, "high": 9000, "unit": "l", **changes}
    return setpoints.allow(plant.engineer, machine, **fields)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"tag": "Main.level"}, "tag", "that the program does not write itself"),
        ({"tag": "Main.nothing"}, "tag", "'Main.nothing'"),
        ({"high": 70000}, "high", "70000: UINT goes from 0 to 65535"),
        ({"low": float("nan")}, "low", "nan"),
        ({"low": 9, "high": 8}, "high", "8 is below the lowest value, 9"),
    ],
)
def test_a_wrong_set_point_is_refused(
    plant: Plant, machine: Machine, changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        _allow(plant, machine, **changes)
    assert words in refused.value.message_dict[field][0]
    assert not SetPoint.objects.exists()


def test_the_machine_lets_the_gateway_write_exactly_the_registers_of_set_points(
    plant: Plant, machine: Machine
) -> None:
    from industrial.modbus.access import AccessList, Peer

    before = AccessList.parse(config.config_files(machine)["security.toml"])
    assert not before.may_write(Peer(plant.cell.gateway_address), 16, "holding", 3, 1)
    point = _allow(plant, machine)
    allowed = AccessList.parse(config.config_files(machine)["security.toml"])
    peer = Peer(plant.cell.gateway_address)
    assert [n for n in range(10) if allowed.may_write(peer, 16, "holding", n, 1)] == [3]
    assert not allowed.may_write(Peer("10.90.1.77"), 16, "holding", 3, 1)
    setpoints.forbid(plant.engineer, point)
    assert AccessList.parse(config.config_files(machine)["security.toml"]) == before


@pytest.mark.parametrize("text", ["", "abc", "1.5", "nan", "inf", "9001", "-1"])
def test_a_value_that_is_none_or_beyond_the_limits_is_refused(
    plant: Plant, machine: Machine, text: str
) -> None:
    point = _allow(plant, machine)
    with pytest.raises(ValidationError) as refused:
        setpoints.checked(point, text)
    assert set(refused.value.message_dict) == {"value"}


def test_a_write_is_permitted_sent_read_back_and_audited(
    plant: Plant, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point = SetPoint.objects.select_related("machine__environment__project").get(
        pk=_allow(plant, machine).pk
    )
    with pytest.raises(PermissionRefused):
        setpoints.write(plant.approver, point, 7)
    with LiveRegisters([4000, 0, 0, 8000]) as registers, open_gateway(tmp_path, registers.port):
        monkeypatch.setattr(setpoints, "address_of", lambda _machine: "127.0.0.1")
        monkeypatch.setattr(live, "address_of", lambda _machine: "127.0.0.1")
        made = setpoints.write(plant.operator, point, "7500", "warm day")
        assert made == setpoints.Written(8000, 7500)
        assert registers.values()[3] == 7500
        entry = AuditEntry.objects.get(action="setpoint.write")
        assert (entry.actor, entry.reason) == (plant.operator, "warm day")
        assert (entry.details["before"], entry.details["value"]) == (8000, 7500)
        reading = live.read_tags(machine)
        shown = {row["path"]: row["value"] for row in reading.rows}
        assert (
            reading.error == "" and shown["Main.setpoint"] == 7500 and shown["Main.level"] == 4000
        )
        assert live.trend(machine)["values"]["Main.setpoint"][-1] == 7500
    with pytest.raises(GatewayError):
        setpoints.write(plant.operator, point, 7000)
    assert AuditEntry.objects.filter(action="setpoint.write").count() == 1


def test_a_machine_that_does_not_run_is_not_written(plant: Plant, machine: Machine) -> None:
    Machine.objects.update(observed="stopped")
    point = SetPoint.objects.get(pk=_allow(plant, machine).pk)
    with pytest.raises(TargetFailed, match="not running"):
        setpoints.write(plant.operator, point, 5)
    assert not AuditEntry.objects.filter(action="setpoint.write").exists()


def test_the_picture_of_the_running_program(machine: Machine) -> None:
    picture = picture_of(machine)
    assert picture is not None
    assert (picture.title, picture.width, picture.height) == ("Filling line", 480, 320)
    assert {element.kind for element in picture.elements} >= {"tank", "valve", "conveyor"}
    tags = {symbol["path"] for symbol in SYMBOLS["symbols"]}
    assert {element.tag for element in picture.elements} <= tags


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format = ", "picture.toml: "),
        ("format = 2", "format: 1"),
        ("format = 1", "element: at least one"),
        ('format = 1\n[[element]]\nkind = "script"\n', "element[0].kind: tank, valve"),
        (
            'format = 1\n[[element]]\nkind = "lamp"\ntag = "A.b"\nx = 9\ny = 0\n',
            "column from 0 to 7",
        ),
        ('format = 1\n[[element]]\nkind = "lamp"\ntag = 5\nx = 0\ny = 0\n', "element[0].tag: text"),
        (
            "format = 1\n[[element]]\nkind = 'tank'\ntag = 'A'\nx = 0\ny = 0\nlow = 5\nhigh = 5",
            "above low",
        ),
        ("format = 1\nelement = 5", "element: at most"),
    ],
)
def test_a_wrong_picture_names_field_and_rule(text: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parse_picture(text)
    assert words in refused.value.message_dict["files"][0]


def test_values_of_several_registers_are_read_whole(
    plant: Plant, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wide = [
        {"path": "Main.flow", "type": "REAL", "area": "Q", "offset": 20, "size": 4},
        {"path": "Main.total", "type": "LINT", "area": "Q", "offset": 24, "size": 8},
        # Beyond the window that shows memory word by word.
        {"path": "Main.far", "type": "REAL", "area": "M", "offset": 2046, "size": 4},
        {"path": "Main.near", "type": "DINT", "area": "M", "offset": 4, "size": 4},
    ]
    ProgramVersion.objects.update(symbols={"symbols": [*SYMBOLS["symbols"], *wide]})
    monkeypatch.setattr(live, "address_of", lambda _machine: "127.0.0.1")
    symbols = {row["path"]: row for row in live.live_symbols(machine)}
    assert symbols["Main.near"]["modbus_address"] == 1026
    assert "Main.far" not in symbols
    del wide[2:]
    ProgramVersion.objects.update(symbols={"symbols": [*SYMBOLS["symbols"], *wide]})
    words = struct.unpack("<6H", struct.pack("<fq", 21.4, -5_000_000_000))
    with (
        LiveRegisters([4000, 0, 12, 8000, *[0] * 6, *words]) as registers,
        open_gateway(tmp_path, registers.port),
    ):
        values = {row["path"]: row["value"] for row in live.read_tags(machine).rows}
    assert (values["Main.level"], values["Main.flow"]) == (4000, 21.4)
    assert values["Main.total"] == -5_000_000_000
    # Nobody writes half of a value.
    assert not {"Main.flow", "Main.total"} & {row["path"] for row in live.writable_symbols(machine)}
