"""Searching a cell: gently, within it, one at a time, and with a word in the trail."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.test import Client
from millwright.audit.models import AuditEntry
from millwright.gateway.errors import BadRequest, OutsideCells, TooBusy
from millwright.gateway.limits import Cells, write_cells
from millwright.gateway.sweep import Sweep
from millwright.shopfloor import searching
from millwright.shopfloor.actions import add_device
from rest_framework.test import APIClient

from tests.support.plant import Plant
from tests.support.tags import free_port

BACKEND = "django.contrib.auth.backends.ModelBackend"


async def _modbus(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Identifies itself as one vendor's; what is no request ends it."""
    try:
        while True:
            transaction, _zero, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            await reader.readexactly(length - 1)
            body = bytes([43, 14, 2, 0x82, 0, 0, 1, 0, 4]) + b"Acme"
            writer.write(struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_what_answers_is_found_and_said_what_it_is() -> None:
    modbus, opcua = free_port(), free_port()

    async def work() -> list[dict[str, Any]]:
        sweep = Sweep(per_second=500, doors={"modbus_tcp": modbus, "opcua": opcua})
        async with (
            await asyncio.start_server(_modbus, "127.0.9.3", modbus),
            await asyncio.start_server(_silent, "127.0.9.6", opcua),
        ):
            search = asyncio.create_task(sweep.search("127.0.9.1", "127.0.9.8", 2.0))
            await asyncio.sleep(0)
            with pytest.raises(TooBusy):
                await sweep.search("127.0.9.1", "127.0.9.1", 2.0)
            found = await search
            # Who leaves early leaves nothing behind, and the next one is served.
            left = asyncio.create_task(sweep.search("127.0.9.1", "127.0.9.8", 2.0))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            assert await sweep.search("127.0.9.1", "127.0.9.2", 2.0) == []
            return found

    found = asyncio.run(work())
    assert [(row["address"], row["port"], row["protocol"]) for row in found] == [
        ("127.0.9.3", modbus, "modbus_tcp"),
        ("127.0.9.6", opcua, "opcua"),
    ]
    assert found[0]["detail"] == "Acme"
    assert "the port is open" in found[1]["detail"]


def test_a_range_has_an_order_and_an_end_and_lies_in_one_cell(tmp_path: Path) -> None:
    for first, last in (("10.0.0.9", "10.0.0.8"), ("10.0.0.0", "10.0.1.0")):
        with pytest.raises(BadRequest):
            asyncio.run(Sweep().search(first, last, 1.0))
    write_cells(tmp_path / "cells.json", ["10.0.0.0/24", "10.0.2.0/24"])
    cells = Cells(tmp_path / "cells.json")
    cells.check_range("10.0.0.1", "10.0.0.254")
    # Both ends in a cell, and another network between them.
    with pytest.raises(OutsideCells):
        cells.check_range("10.0.0.200", "10.0.2.20")


class Door:
    """The gateway's answer, and what it was asked."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, *_given: Any, **_more: Any) -> None:
        pass

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def search(self, first: str, last: str) -> list[dict[str, Any]]:
        self.asked.append((first, last))
        return [
            {"address": "10.90.1.53", "port": 502, "protocol": "modbus_tcp", "detail": "Acme"},
            {"address": "10.90.1.60", "port": 4840, "protocol": "opcua", "detail": "3 endpoints"},
        ]


@pytest.mark.django_db
def test_the_wizard_lists_what_was_found_and_the_trail_knows(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "GatewayClient", Door)
    monkeypatch.setattr(Door, "asked", [])
    place = {"project": plant.project.pk, "cell": plant.cell.pk}
    add_device(
        plant.engineer,
        name="press",
        project=plant.project,
        cell=plant.cell,
        address="10.90.1.53",
        port=502,
    )
    page = Client()
    page.force_login(plant.engineer, backend=BACKEND)
    assert "Search for devices" in page.get("/devices/new/").content.decode()
    text = page.post("/devices/search/", place).content.decode()
    for word in ("10.90.1.53:502", "device press", "10.90.1.60:4840", "3 endpoints", "OPC UA"):
        assert word in text
    # By default the cell's beginning, without the network's own address.
    assert Door.asked == [("10.90.1.1", "10.90.1.254")]
    entry = AuditEntry.objects.get(action="cell.search")
    assert entry.actor == plant.engineer
    assert (entry.details["first"], entry.details["last"]) == Door.asked[0]
    for wrong, word in (
        ({"search_first": "10.91.0.1"}, "is not in cell"),
        ({"search_first": "10.90.1.9", "search_last": "10.90.1.3"}, "in order"),
    ):
        assert word in page.post("/devices/search/", place | wrong).content.decode()
    assert "Choose project and cell" in page.post("/devices/search/", {}).content.decode()
    other = Client()
    other.force_login(plant.operator, backend=BACKEND)
    assert "10.90.1.53" not in other.post("/devices/search/", place).content.decode()
    assert AuditEntry.objects.filter(action="cell.search").count() == 1
    api = APIClient()
    api.force_authenticate(plant.engineer)
    place = {"project": plant.project.slug, "cell": plant.cell.slug}
    rows = api.post("/api/v1/devices/search/", place, format="json").json()
    assert [row["known"] for row in rows] == ["device press", ""]
    refused = api.post("/api/v1/devices/search/", {**place, "first": "x"}, format="json")
    assert refused.status_code == 400
    api.force_authenticate(plant.operator)
    assert api.post("/api/v1/devices/search/", place, format="json").status_code == 403
