"""Mappings as CSV and what is odd about them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from millwright.environments import actions as environments
from millwright.environments.models import Machine
from millwright.shopfloor import actions
from millwright.shopfloor.mapping_csv import from_csv, to_csv
from millwright.shopfloor.models import Deployment, Device, Program, ProgramVersion
from millwright.shopfloor.review import review

from tests.support.plant import Plant

SYMBOLS = {
    "symbols": [
        {"path": f"Main.{name}", "type": kind, "area": area, "offset": 0, "size": 2, **more}
        for name, kind, area, more in (
            ("level", "UINT", "I", {"located": "%IW0"}),
            ("flow", "INT", "I", {"located": "%IW1"}),
            ("valve", "BOOL", "Q", {"driven": True}),
            ("speed", "INT", "Q", {}),
        )
    ]
}


@pytest.fixture
def pair(plant: Plant) -> tuple[Machine, Device]:
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    program = Program.objects.create(project=plant.project, name="filling")
    version = ProgramVersion.objects.create(
        program=program, number=1, files={}, symbols=SYMBOLS, uploaded_by=plant.engineer
    )
    machine = Machine.objects.with_names().get()
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    device = actions.add_device(
        plant.engineer,
        name="station",
        project=plant.project,
        cell=plant.cell,
        address="10.90.1.50",
        port=502,
    )
    return machine, device


def _set(plant: Plant, pair: tuple[Machine, Device], *rows: dict[str, Any]) -> None:
    filled = [{"area": "input", "direction": "in", "data_type": "UINT", **row} for row in rows]
    actions.set_mappings(plant.engineer, *pair, filled)


def test_what_goes_out_comes_back_the_same(plant: Plant, pair: tuple[Machine, Device]) -> None:
    _set(
        plant,
        pair,
        {"tag": "Main.level", "register": "3", "scale": -0.5, "offset": 1.25, "fail": "zero"},
        {"tag": "Main.speed", "register": "9", "area": "holding", "direction": "out"},
    )
    machine, device = pair
    before = list(machine.mappings.values_list("tag", "register", "scale", "offset", "fail"))
    text = to_csv(machine.mappings.all())
    actions.set_mappings(plant.engineer, machine, device, [])
    actions.set_mappings(plant.engineer, machine, device, from_csv(text))
    assert (
        list(machine.mappings.values_list("tag", "register", "scale", "offset", "fail")) == before
    )


def test_a_german_spreadsheet_is_read() -> None:
    (row,) = from_csv("\ufefftag;area;register;direction;scale\r\nMain.level;input;3;in;0,25\r\n")
    assert (row["tag"], row["scale"], row["data_type"]) == ("Main.level", 0.25, "INT")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no row"),
        ("tag,area\nA,input\n", "misses register, direction"),
        ("tag,area,register,direction,colour\n", "colour: unknown"),
        ("tag,area,register,direction,tag\n", "stands twice"),
        ("tag,area,register,direction\nA,input,0,in,9\n", "row 1: more cells"),
        ("tag,area,register,direction,scale\nA,input,0,in,many\n", "row 1: scale: 'many'"),
        ("tag,area,register,direction,scale\nA,input,0,in,nan\n", "row 1: scale: 'nan'"),
        ("tag,area,register,direction\n" + "A,input,0,in\n" * 2001, "2001 rows"),
        ("x" * 600_000, "at most 512 KiB"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        from_csv(text)
    assert words in " ".join(refused.value.message_dict["mappings"])


def test_a_formula_leaves_as_text(plant: Plant, pair: tuple[Machine, Device]) -> None:
    machine, device = pair
    made = device.mappings.model(machine=machine, device=device, tag="=cmd()", area="input")
    assert "'=cmd()" in to_csv([made])


def test_odd_mappings_are_told(plant: Plant, pair: tuple[Machine, Device]) -> None:
    machine, _device = pair
    assert {(row.kind, row.tag) for row in review(machine)} == {
        ("unmapped", "Main.level"),
        ("unmapped", "Main.flow"),
    }
    _set(
        plant,
        pair,
        {"tag": "Main.level", "register": "0", "data_type": "REAL"},
        {"tag": "Main.flow", "register": "1"},
        {"tag": "Main.valve", "register": "5"},
    )
    found = {(row.kind, row.tag) for row in review(machine)}
    assert found == {
        ("overlap", "Main.flow"),
        ("type", "Main.level"),
        ("type", "Main.flow"),
        ("type", "Main.valve"),
        ("direction", "Main.valve"),
    }
    _set(
        plant,
        pair,
        {"tag": "Main.level", "register": "0"},
        {"tag": "Main.flow", "register": "0", "scale": 0.5},
    )
    # The same register read into two tags is no mistake, nor is a scaled one.
    assert review(machine) == []


def test_the_page_takes_and_gives_a_table(plant: Plant, pair: tuple[Machine, Device]) -> None:
    machine, device = pair
    caller = Client()
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    url = reverse("portal:mappings_csv", kwargs={"name": machine.environment.name})
    about = {"machine": str(machine.pk), "device": str(device.pk)}
    text = "tag,area,register,direction\nMain.level,input,7,in\n"
    answer = caller.post(url, {**about, "text": text}, follow=True)
    assert "Main.level" in answer.content.decode()
    taken = caller.get(url, about)
    assert taken["Content-Disposition"] == 'attachment; filename="filling-line-1-station.csv"'
    assert "Main.level,input,7,INT,in,1.0,0.0,hold,0.0" in taken.content.decode()
    refused = caller.post(url, {**about, "text": "tag\n"}, follow=True)
    assert "misses area, register, direction" in refused.content.decode()
    assert machine.mappings.count() == 1
