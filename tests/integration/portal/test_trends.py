"""Longer trends: tags that are recorded with nobody looking, and what Prometheus has of them."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from django.test import Client
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Environment, Machine
from millwright.gateway.errors import TargetFailed
from millwright.gateway.limits import Cells, write_cells
from millwright.gateway.metrics import Metrics
from millwright.gateway.modbus import ModbusDoor
from millwright.gateway.recorder import Recorded, Recorder, write_recorded
from millwright.gateway.requests import WatchedTag
from millwright.inventory.models import AddressClaim
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor import recording
from millwright.shopfloor.models import Deployment, ProgramVersion, RecordedTag
from rest_framework.test import APIClient

from tests.support.plant import Plant

BACKEND = "django.contrib.auth.backends.ModelBackend"
SYMBOLS = {
    "symbols": [
        {"path": "Main.level", "type": "UINT", "area": "Q", "offset": 0, "size": 2},
        {"path": "Main.valve", "type": "BOOL", "area": "Q", "offset": 2, "size": 1, "bit": 0},
        {"path": "Main.inner", "type": "UINT", "area": "arena", "offset": 0, "size": 2},
    ]
}


class Door:
    """Registers that answer, or do not."""

    def __init__(self) -> None:
        self.answers = True
        self.reads = 0

    async def read(self, host: str, port: int, unit: int, area: str, first: int, count: int) -> Any:
        self.reads += 1
        if not self.answers:
            raise TargetFailed(f"{host}: no answer")
        return [True] * count if area == "coil" else [40 + self.reads] * count


def test_the_gateway_records_with_nobody_looking_and_shows_gaps(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells.json", ["10.90.1.0/24"])
    recorded = Recorded(
        machine=uuid.uuid4(),
        environment="line",
        name="plc",
        host="10.90.1.7",
        tags=(
            WatchedTag(path="Main.level", area="holding", address=0),
            WatchedTag(path="Main.valve", area="coil", address=16, type="BOOL"),
        ),
    )
    path, metrics, door = tmp_path / "recorded.json", Metrics(), Door()
    assert write_recorded(path, [recorded])
    assert not write_recorded(path, [recorded])

    def value(tag: str) -> float | None:
        labels = {"environment": "line", "machine": "plc", "tag": tag}
        return metrics.registry.get_sample_value("millwright_tag", labels)

    async def until(condition: Any) -> None:
        async with asyncio.timeout(120):
            while not condition():
                await asyncio.sleep(0.01)

    async def work() -> None:
        recorder = Recorder(
            path,
            Cells(tmp_path / "cells.json"),
            cast(ModbusDoor, door),
            metrics.recorded,
            every_s=0.02,
        )
        task = asyncio.create_task(recorder.run())
        await until(lambda: value("Main.level") is not None and value("Main.valve") == 1.0)
        door.answers = False
        await until(lambda: value("Main.level") is None)
        door.answers = True
        await until(lambda: value("Main.level") is not None)
        path.write_text("half a fi")
        await asyncio.sleep(0.1)
        assert value("Main.level") is not None
        write_recorded(path, [])
        await until(lambda: value("Main.level") is None)
        reads = door.reads
        await asyncio.sleep(0.1)
        assert door.reads == reads
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())


@pytest.fixture
def at(plant: Plant) -> tuple[Plant, Machine]:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Environment.objects.update(state="running")
    Machine.objects.update(host=plant.hosts[0], observed="running")
    machine = Machine.objects.with_names().get()
    version = machine.template_version
    type(version).objects.filter(pk=version.pk).update(
        spec={**version.spec, "outputs": {"modbus": 502}}
    )
    sources = {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
    program = shopfloor.upload_program(plant.engineer, plant.project, "filling", sources)
    ProgramVersion.objects.update(state="ready", symbols=SYMBOLS)
    Deployment.objects.create(
        machine=machine, program_version=program, deployed_by=plant.engineer, state="active"
    )
    if not AddressClaim.objects.filter(machine=machine).exists():
        AddressClaim.objects.create(machine=machine, cell=plant.cell, address="10.90.1.100")
    return plant, Machine.objects.with_names().get()


@pytest.mark.django_db
def test_tags_are_chosen_told_to_the_gateway_and_drawn(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, machine = at
    page = Client()
    page.force_login(plant.engineer, backend=BACKEND)
    path = "/environments/filling-line-1/"
    assert "No tag is recorded." in page.get(path).content.decode()
    chosen = {"machine": str(machine.pk), "tag": "main.level", "verb": "start"}
    page.post(f"{path}trends/", chosen)
    # Neither what Modbus does not show nor what there is not.
    for tag in ("Main.inner", "Main.none"):
        page.post(f"{path}trends/", {**chosen, "tag": tag})
    assert list(RecordedTag.objects.values_list("tag", flat=True)) == ["Main.level"]
    assert AuditEntry.objects.filter(action="trend.record").count() == 1
    (told,) = recording.targets()
    assert (told.environment, told.name) == ("filling-line-1", machine.name)
    assert [(tag.path, tag.area, tag.address) for tag in told.tags] == [
        ("Main.level", "holding", 0)
    ]
    Machine.objects.update(observed="stopped")
    assert recording.targets() == []
    Machine.objects.update(observed="running")

    monkeypatch.setattr(
        recording, "_asked", lambda *_: {"Main.level": {0.0: 1.0, 15.0: 2.0, 60.0: 3.0}}
    )
    api = APIClient()
    api.force_authenticate(plant.engineer)
    address = f"/api/v1/machines/{machine.pk}/trend/"
    found = api.get(address, {"minutes": 60}).json()
    # The silence between 15 and 60 is a gap, not a line.
    assert found["time"] == [0.0, 15.0, 30.0, 60.0]
    assert found["values"] == {"Main.level": [1.0, 2.0, None, 3.0]}
    assert found["recorded"] == ["Main.level"]
    assert api.get(address, {"minutes": 7}).status_code == 400

    def silent(*_: Any) -> Any:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(recording, "_asked", silent)
    assert "Prometheus does not answer" in api.get(address, {"minutes": 480}).json()["error"]
    record = f"/api/v1/machines/{machine.pk}/record/"
    more = api.post(record, {"tag": "Main.valve"}, format="json").json()
    assert more == {"recorded": ["Main.level", "Main.valve"]}
    less = api.post(record, {"tag": "Main.level", "on": False}, format="json").json()
    assert less == {"recorded": ["Main.valve"]}
    assert AuditEntry.objects.filter(action="trend.stop").count() == 1
    api.force_authenticate(plant.operator)
    assert api.post(record, {"tag": "Main.level"}, format="json").status_code == 403
    monkeypatch.setattr(recording, "MOST_TAGS", 1)
    api.force_authenticate(plant.engineer)
    refused = api.post(record, {"tag": "Main.level"}, format="json")
    assert "that is the most" in refused.json()["errors"][0]["message"]
