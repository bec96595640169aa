"""A device's page: its health from Prometheus, and trust in its certificate, with a real OPC UA server and gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.audit.models import AuditEntry
from millwright.environments import actions as environments
from millwright.environments.models import Machine, Operation
from millwright.shopfloor import actions, health, trust
from millwright.shopfloor.config import config_files
from millwright.shopfloor.models import Deployment, Device, Program, ProgramVersion

from industrial.devices.config import load_devices
from tests.integration.gateway.test_discovery import in_a_thread
from tests.integration.industrial.test_devices import opcua_device
from tests.support.plant import Plant
from tests.support.tags import free_port, open_gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SYMBOLS = [
    {"path": "Main.level", "type": "INT", "area": "I", "offset": 0, "size": 2, "located": "%IW0"}
]
POINT = {"tag": "Main.level", "area": "node", "register": "ns=2;s=level", "direction": "in"}


@pytest.fixture
def pair(plant: Plant) -> tuple[Machine, Device]:
    """A running machine and an OPC UA device at an address of this machine."""
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    program = Program.objects.create(project=plant.project, name="filling")
    version = ProgramVersion.objects.create(
        program=program,
        number=1,
        files={},
        symbols={"symbols": SYMBOLS},
        uploaded_by=plant.engineer,
    )
    Operation.objects.update(state="succeeded")
    Machine.objects.update(host=plant.hosts[0], observed="running")
    machine = Machine.objects.with_names().get()
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    device = Device.objects.create(
        name="press-opc",
        project=plant.project,
        cell=plant.cell,
        protocol="opcua",
        address="127.0.0.1",
        port=free_port(),
    )
    return machine, device


@contextmanager
def serving(device: Device, keys: Path | None) -> Iterator[None]:
    async def serve(ready: asyncio.Event) -> None:
        async with opcua_device(device.port, keys):
            ready.set()
            await asyncio.Event().wait()

    with in_a_thread(serve):
        yield


def test_a_certificate_is_shown_compared_trusted_and_pinned(
    plant: Plant, pair: tuple[Machine, Device], tmp_path: Path
) -> None:
    machine, device = pair
    with pytest.raises(ValidationError, match="trust the certificate"):
        actions.set_mappings(plant.engineer, machine, device, [POINT])
    page = Client()
    page.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    with open_gateway(tmp_path, 502), serving(device, tmp_path / "keys"):
        (row,) = trust.offered(plant.engineer, device)
        assert row["usable"]
        assert row["policies"] == ["Basic256Sha256 SignAndEncrypt"]
        shown = page.get(f"/devices/{device.pk}/certificates/").content.decode()
        assert row["fingerprint"] in shown
        assert "Trust this certificate" in shown
        page.post(f"/devices/{device.pk}/trust/", {"verb": "trust", "fingerprint": "ab" * 32})
        device.refresh_from_db()
        assert device.certificate == ""
        page.post(
            f"/devices/{device.pk}/trust/",
            {"verb": "trust", "fingerprint": row["fingerprint"], "reason": "compared"},
        )
        device.refresh_from_db()
        assert device.fingerprint == row["fingerprint"]
        entry = AuditEntry.objects.get(action="device.trust")
        assert (entry.details["fingerprint"], entry.reason) == (row["fingerprint"], "compared")
        shown = page.get(f"/devices/{device.pk}/certificates/").content.decode()
        assert "This one is trusted." in shown
        asked = page.post(f"/devices/{device.pk}/ask/").content.decode()
        assert "It answered within" in asked
        assert "it shows the trusted certificate" in asked
    with open_gateway(tmp_path, 502), serving(device, tmp_path / "other-keys"):
        asked = page.post(f"/devices/{device.pk}/ask/").content.decode()
        assert "it shows another certificate than the trusted one" in asked
        shown = page.get(f"/devices/{device.pk}/certificates/").content.decode()
        assert "This is not the trusted one" in shown
    assert "No good answer" in page.post(f"/devices/{device.pk}/ask/").content.decode()
    actions.set_mappings(plant.engineer, machine, device, [POINT])
    (read,) = load_devices({"io/press.toml": config_files(machine)["io/press-opc.toml"]}, SYMBOLS)
    assert read.server_certificate == device.certificate
    assert read.url == f"opc.tcp://127.0.0.1:{device.port}/"
    assert read.points[0].node == "ns=2;s=level"
    with pytest.raises(ValidationError, match="points are mapped"):
        trust.distrust(plant.engineer, device)
    # A change of trust is told to whoever talks to it.
    Operation.objects.all().update(state="succeeded")
    trust.without_encryption(plant.engineer, device, "the panel is from 1998")
    assert Operation.objects.filter(kind="deliver_config", state="queued").count() == 1
    (read,) = load_devices({"io/press.toml": config_files(machine)["io/press-opc.toml"]}, SYMBOLS)
    assert read.server_certificate == ""


def test_rules_of_trust(plant: Plant, pair: tuple[Machine, Device], tmp_path: Path) -> None:
    machine, device = pair
    with open_gateway(tmp_path, 502), serving(device, None):
        assert not any(row["usable"] for row in trust.offered(plant.engineer, device))
        with pytest.raises(ValidationError, match="not what the device shows"):
            trust.trust(plant.engineer, device, "AB:" * 31 + "AB")
    with pytest.raises(ValidationError, match="say why"):
        trust.without_encryption(plant.engineer, device, " no ")
    device = trust.without_encryption(plant.engineer, device, "the panel is from 1998")
    with pytest.raises(ValidationError, match="does not fit OPC UA"):
        actions.set_mappings(
            plant.engineer, machine, device, [{**POINT, "area": "input", "register": "0"}]
        )
    other = Device.objects.create(
        name="station", project=plant.project, cell=plant.cell, address="10.90.1.50"
    )
    with pytest.raises(ValidationError, match="no OPC UA device"):
        trust.offered(plant.engineer, other)
    with pytest.raises(ValidationError, match="does not fit Modbus"):
        actions.set_mappings(plant.engineer, machine, other, [POINT])


class Figures(BaseHTTPRequestHandler):
    """Answers a query as Prometheus does, and keeps what was asked."""

    asked: list[str] = []  # noqa: RUF012  # one server in a test
    rows: dict[str, float] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(parse_qs(urlsplit(self.path).query)["query"][0])
        labels = {"environment": "filling-line-1", "machine": "vplc", "device": "press-opc"}
        result = [
            {"metric": {**labels, "figure": name}, "value": [0, str(value)]}
            for name, value in self.rows.items()
        ]
        body = json.dumps({"status": "success", "data": {"result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_health_is_what_the_controllers_say(
    plant: Plant, pair: tuple[Machine, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, device = pair
    page = Client()
    page.force_login(plant.operator, backend="django.contrib.auth.backends.ModelBackend")
    path = f"/devices/{device.pk}/"
    assert "No controller talks to it yet" in page.get(path).content.decode()
    device = trust.without_encryption(plant.engineer, device, "the panel is from 1998")
    actions.set_mappings(plant.engineer, machine, device, [POINT])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Figures)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    class Here:
        prometheus_port = server.server_address[1]

    monkeypatch.setattr(health, "get_settings", lambda: Here)
    try:
        Figures.rows = {"good": 1, "age": 0.5, "latency": 0.0123, "errors": 5, "exchanges": 95}
        (seen,) = health.health(device).seen
        assert (seen.state, seen.age_s, seen.error_ratio) == ("good", 0.5, 0.05)
        shown = page.get(path).content.decode()
        assert "12.3 ms" in shown
        assert "5.0 %" in shown
        assert "0.5 s ago" in shown
        Figures.rows = {"good": 0, "age": -1}
        (seen,) = health.health(device).seen
        assert (seen.state, seen.age_s, seen.latency_ms) == ("silent", None, None)
        Figures.rows = {}
        assert health.health(device).seen[0].state == "unknown"
        assert all('device="press-opc"' in query for query in Figures.asked)
    finally:
        server.shutdown()
        server.server_close()
    found = health.health(device)
    assert "Prometheus does not answer" in found.error
    assert found.seen[0].state == "unknown"
