"""Modbus security of a project: asked for on a page, delivered in security.toml, and held by a controller towards TLS clients."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments.models import Environment, Machine, Operation
from millwright.shopfloor import config
from millwright.shopfloor.modbus_security import (
    parse_functions,
    parse_ranges,
    ranges_text,
    remove_security,
    set_security,
)
from millwright.shopfloor.models import EngineeringStation, ModbusSecurity

from industrial.modbus.access import AccessList, Peer
from industrial.package import pack
from industrial.runtime.delivery import announce, answer_to
from industrial.runtime.local import LocalController
from industrial.runtime.protocols import Ports, Protocols
from industrial.security import ensure_identity
from tests.integration.industrial.test_modbus import Authority, utf8
from tests.support.certificates import self_signed
from tests.support.plant import Plant, serving

ROLES = [
    {"name": "operator", "write": [{"area": "holding", "first": 3, "last": 5}]},
    {"name": "viewer", "functions": [3]},
]


@pytest.fixture
def machine(plant: Plant) -> Machine:
    return serving(plant, modbus=502, modbus_tls=802, opcua=4840)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


def _rules(machine: Machine) -> AccessList:
    return AccessList.parse(config.config_files(machine)["security.toml"])


def test_what_a_project_asks_for_is_delivered_and_what_its_environment_asks_for_goes_before_it(
    plant: Plant, machine: Machine, authority: Authority
) -> None:
    desk = EngineeringStation.objects.create(
        project=plant.project, cell=plant.cell, name="desk", cidr="10.90.1.8/32"
    )

    def reached() -> set[int]:
        return {pair.port for pair in config.firewall_pairs(machine) if pair.peer == desk.cidr}

    assert not _rules(machine).authorities
    assert reached() == {502, 4840}, "802 is closed while nobody listens"
    row = set_security(
        plant.administrator, project=plant.project, authorities=authority.pem, roles=ROLES
    )
    rules = _rules(machine)
    assert rules.authorities == authority.pem
    operator, viewer = Peer("10.90.1.8", "operator"), Peer("10.90.1.8", "viewer")
    assert rules.may_write(operator, 16, "holding", 3, 3)
    assert not rules.may_write(operator, 16, "holding", 3, 4)
    assert not rules.may_write(viewer, 16, "holding", 3, 1)
    assert (rules.may_read(viewer, 3), rules.may_read(viewer, 4)) == (True, False)
    assert reached() == {502, 802, 4840}
    told = Operation.objects.get(kind="deliver_config", state="queued")
    assert told.machine_id == machine.pk
    entry = AuditEntry.objects.get(action="modbus_security.set")
    assert entry.project == plant.project
    # The same again is nothing new.
    assert set_security(plant.administrator, project=plant.project, authorities=authority.pem, roles=ROLES) == row  # fmt: skip
    assert AuditEntry.objects.filter(action="modbus_security.set").count() == 1
    other = set_security(
        plant.administrator, project=plant.project, environment=machine.environment,
        authorities=authority.pem, roles=[{"name": "fitter"}], plain=False,
    )  # fmt: skip
    assert list(_rules(machine).roles) == ["fitter"]
    assert reached() == {802, 4840}
    remove_security(plant.administrator, other)
    assert list(_rules(machine).roles) == ["operator", "viewer"]
    remove_security(plant.administrator, row)
    assert not _rules(machine).authorities
    with pytest.raises(PermissionRefused):
        set_security(plant.engineer, project=plant.project, authorities=authority.pem, roles=ROLES)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"authorities": "no"}, "authorities", "no certificates in PEM"),
        ({"authorities": self_signed("old", days=-2)}, "authorities", "CN=old has expired on"),
        ({"roles": []}, "roles", "0 roles; 1 to 32"),
        ({"roles": [{"name": " "}]}, "roles", "role 1: name = ' ': 1 to 64"),
        ({"roles": [{"name": "a"}, {"name": "a"}]}, "roles", "role a stands there twice"),
        ({"roles": [{"name": "a", "functions": [6]}]}, "roles", "functions = [6]: of 1, 2"),
        ({"roles": [{"name": "a", "write": [{"area": "coil", "first": 9, "last": 8}]}]}, "roles", "first <= last"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_field(
    plant: Plant, authority: Authority, changes: dict[str, object], field: str, words: str
) -> None:
    fields = {"authorities": authority.pem, "roles": ROLES, **changes}
    with pytest.raises(ValidationError) as refused:
        set_security(plant.administrator, project=plant.project, **fields)
    assert words in refused.value.message_dict[field][0]
    assert not ModbusSecurity.objects.exists()


def test_ranges_and_functions_as_people_write_them() -> None:
    rows = parse_ranges("holding 3-9,  coil 320")
    assert rows == [
        {"area": "holding", "first": 3, "last": 9}, {"area": "coil", "first": 320, "last": 320},
    ]  # fmt: skip
    assert parse_ranges(ranges_text(rows)) == rows
    assert parse_functions("1, 3 43") == [1, 3, 43]
    assert parse_functions(" ") == [1, 2, 3, 4, 43]
    for read, text in (
        (parse_ranges, "input 3"),
        (parse_functions, "1, x"),
        (parse_functions, "²"),
    ):
        with pytest.raises(ValidationError):
            read(text)


def test_the_page_saves_shows_and_takes_away(
    plant: Plant, machine: Machine, authority: Authority
) -> None:
    client = Client()
    client.force_login(plant.administrator)
    place = reverse("portal:modbus_security", args=[plant.project.slug])
    fields = {
        "authorities": authority.pem, "plain": "on", "name": ["operator", ""],
        "functions": ["3, 4", ""], "write": ["holding 3-5", ""],
    }  # fmt: skip
    assert client.post(place, {**fields, "write": ["holding", ""]}).status_code == 422
    assert not ModbusSecurity.objects.exists()
    assert client.post(place, fields).status_code == 302
    row = ModbusSecurity.objects.get()
    assert row.roles == [{"name": "operator", "functions": [3, 4], "write": [{"area": "holding", "first": 3, "last": 5}]}]  # fmt: skip
    page = client.get(place).content.decode()
    assert "holding 3-5" in page
    assert machine.environment.name in page
    own = f"{place}?environment={Environment.objects.get().name}"
    assert "holding 3-5" not in client.get(own).content.decode().replace("holding 3-9", "")
    assert client.post(place, {"verb": "remove"}).status_code == 302
    assert not ModbusSecurity.objects.exists()


def test_a_controller_with_the_delivered_file_serves_tls_clients_by_role(
    plant: Plant, machine: Machine, authority: Authority, tmp_path: Path
) -> None:
    set_security(plant.administrator, project=plant.project, authorities=authority.pem, roles=ROLES)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src/main.st").write_text(
        "PROGRAM Main\nVAR own AT %QW0 : INT; setpoint AT %QW3 : INT; END_VAR\nown := 7;\nEND_PROGRAM\n"
    )
    (project / "vplc.toml").write_text(
        'format = 1\nname = "p"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
    )
    (project / "security.toml").write_text(config.config_files(machine)["security.toml"])
    asyncio.run(asyncio.wait_for(_serve_and_ask(project, authority, tmp_path), 240))


async def _serve_and_ask(project: Path, authority: Authority, folder: Path) -> None:
    # The protocol's own port where this user may have it and nobody does.
    port = 802 if _free(802) else 0
    controller = LocalController(project, Ports("127.0.0.1", 0, 0, 0, port), "tcc")
    controller.deliver()
    ready: asyncio.Future[Protocols] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        controller.run(lambda protocols: ready.done() or ready.set_result(protocols))
    )
    try:
        protocols = await asyncio.wait_for(ready, 120)
        place = ("127.0.0.1", protocols.bound["modbus_tls"])
        own = ensure_identity(controller.paths.state / "keys").certificate.read_bytes()
        stranger = Authority(folder, "elsewhere")
        read, write = bytes.fromhex("0300000001"), bytes.fromhex("060003002a")
        for role, reads, writes in (
            ("operator", "03020007", write.hex()),
            ("viewer", "03020007", "8601"),
            ("nobody", "8301", "8601"),
        ):
            context = authority.client(utf8(role))
            found = await asyncio.to_thread(_ask, place, context, own, [read, write])
            assert found == [reads, writes], role
        with pytest.raises(OSError):
            await asyncio.to_thread(_ask, place, stranger.client(utf8("operator")), own, [read])
        # A role that is not there any more counts for a connection that is open; another authority ends it.
        context = authority.client(utf8("viewer"))
        context.load_verify_locations(cadata=own)
        text = (project / "security.toml").read_text()
        with await asyncio.to_thread(_connected, place, context) as link:
            assert await asyncio.to_thread(_asked, link, [read]) == ["03020007"]
            await _deliver(controller, text.replace('"viewer"', '"watcher"'))
            while await asyncio.to_thread(_asked, link, [read]) != ["8301"]:
                await asyncio.sleep(0.05)
            one, other = (json.dumps(row.pem.strip())[1:-1] for row in (authority, stranger))
            assert one in text
            await _deliver(controller, text.replace(one, other))
            assert await asyncio.to_thread(_ended, link)
        assert protocols.bound["modbus_tls"] == place[1]
        context = stranger.client(utf8("viewer"))
        assert await asyncio.to_thread(_ask, place, context, own, [read]) == ["03020007"]
        with pytest.raises(OSError):
            await asyncio.to_thread(_ask, place, authority.client(utf8("viewer")), own, [read])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def _deliver(controller: LocalController, security: str) -> None:
    bundle = pack("config", "p", "1", {"security.toml": security.encode()}, controller.key)
    number = announce(controller.paths, bundle)
    await asyncio.to_thread(answer_to, controller.paths, number)


def _connected(place: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(place, 60))


def _ask(
    place: tuple[str, int], context: ssl.SSLContext, server: bytes, requests: list[bytes]
) -> list[str]:
    """Answers over TLS, without their heads."""
    context.load_verify_locations(cadata=server)
    with _connected(place, context) as link:
        return _asked(link, requests)


def _asked(link: ssl.SSLSocket, requests: list[bytes]) -> list[str]:
    found = []
    for number, request in enumerate(requests, 1):
        link.sendall(struct.pack(">HHHB", number, 0, len(request) + 1, 1) + request)
        data = b""
        while len(data) < 7 or len(data) < 6 + struct.unpack_from(">H", data, 4)[0]:
            part = link.recv(512)
            if not part:
                raise ConnectionError("the controller ended the connection")
            data += part
        found.append(data[7:].hex())
    return found


def _ended(link: ssl.SSLSocket) -> bool:
    """Whether the other side ends a connection; one that stays open is a TimeoutError."""
    try:
        return link.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_the_api_sets_lists_and_removes(
    plant: Plant, machine: Machine, authority: Authority
) -> None:
    client = Client()
    client.force_login(plant.administrator)
    body = {"project": plant.project.slug, "environment": machine.environment.name, "authorities": authority.pem, "roles": ROLES}  # fmt: skip
    made = client.post(
        "/api/v1/modbus-security/", json.dumps(body), content_type="application/json"
    )
    assert made.status_code == 200, made.content
    row = made.json()
    assert row["roles"][1] == {"name": "viewer", "functions": [3], "write": []}
    (listed,) = client.get("/api/v1/modbus-security/").json()["results"]
    assert listed == row
    assert client.delete(f"/api/v1/modbus-security/{row['id']}/").status_code == 204
    assert not ModbusSecurity.objects.exists()
