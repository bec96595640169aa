"""Consoles through the real portal's WebSocket and a desk, with the simulated host's console."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Membership
from millwright.audit.models import AuditEntry
from millwright.environments import actions, consoles
from millwright.environments.models import ConsoleVisit, Machine
from millwright.hypervisor import HostUnreachable
from millwright.hypervisor.fake.console import FakeConsole
from millwright.hypervisor.fake.screen import FakeScreen
from millwright.orchestrator.consoles import opener
from millwright.portal import consoles as live
from rest_framework.test import APIClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.browser.test_in_chromium import portal
from tests.support.desk import open_desk
from tests.support.plant import Plant
from tests.support.viewer import Viewer

__all__ = ["portal"]

pytestmark = pytest.mark.django_db(transaction=True)
WAIT = 60.0


class OneHost:
    """Hosts whose only console is kept for the test."""

    def __init__(self) -> None:
        self.console: FakeConsole | None = None
        self.screen: FakeScreen | None = None
        self.answers = True
        self.running = True

    def get(self, host: str) -> OneHost:
        return self

    def console_stream(self, uuid: Any, *, deadline_s: float | None = None) -> FakeConsole:
        if not self.answers:
            raise HostUnreachable("no answer", host="mw0-h1")
        self.console = FakeConsole("mw-line", "mw0-h1", lambda: self.running)
        return self.console

    def screen_stream(self, uuid: Any, *, deadline_s: float | None = None) -> FakeScreen:
        self.screen = FakeScreen("mw-line", "mw0-h1", lambda: self.running)
        return self.screen


@pytest.fixture
def at(portal: tuple[str, Plant]) -> Iterator[tuple[str, Plant, Machine, OneHost]]:
    """The portal, a running machine, and a desk that opens its console."""
    url, plant = portal
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Machine.objects.update(host=plant.hosts[0], observed="running")
    host = OneHost()
    with open_desk(opener(host)):
        yield url, plant, Machine.objects.with_names().get(), host


def _ticket(plant: Plant, machine: Machine, user: Any = None, kind: str = "serial") -> str:
    token, _ = issue_token(None, user or plant.operator, "console", lifetime=dt.timedelta(hours=1))
    return consoles.ask(user or plant.operator, machine, kind=kind, token=token)[1]


def _open(url: str, secret: str, **more: Any) -> ClientConnection:
    made = connect(url.replace("http", "ws") + consoles.PATH, proxy=None, **more)
    made.send(json.dumps({"ticket": secret}))
    return made


def _end(connection: ClientConnection) -> str:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            connection.recv(timeout=WAIT)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.reason


def _until(connection: ClientConnection, text: bytes) -> None:
    seen = b""
    while text not in seen:
        data = connection.recv(timeout=WAIT)
        assert isinstance(data, bytes)
        seen += data


def _wait(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_ticket_opens_one_console_once_and_both_ends_are_in_the_trail(at: Any) -> None:
    url, plant, machine, _host = at
    secret = _ticket(plant, machine)
    with _open(url, secret) as console:
        told = json.loads(console.recv(timeout=WAIT))
        assert told == {"opened": {"machine": "filling-line-1/" + machine.name, "host": "mw0-h1"}}
        _until(console, b"simulated console")
        console.send(b"echo moved\r")
        _until(console, b"\r\nmoved\r\n")
        with _open(url, secret) as again:
            assert _end(again) == "ticket"
    _wait(lambda: AuditEntry.objects.filter(action="console.close").exists())
    opened, closed = (
        AuditEntry.objects.get(action=f"console.{word}") for word in ("open", "close")
    )
    assert opened.actor == closed.actor == plant.operator
    assert opened.address == "127.0.0.1"
    assert closed.details["end"] == "left"
    # What is kept opens nothing.
    assert secret not in json.dumps(list(ConsoleVisit.objects.values()), default=str)


def test_bad_tickets_and_pages_of_others_are_refused(at: Any) -> None:
    url, plant, machine, _host = at
    for first in ("{}", "x", json.dumps({"ticket": "guess"}), json.dumps({"ticket": ""})):
        with connect(url.replace("http", "ws") + consoles.PATH, proxy=None) as console:
            console.send(first)
            assert _end(console) == "ticket"
    old = _ticket(plant, machine)
    ConsoleVisit.objects.update(expires_at=ConsoleVisit.objects.get().asked_at)
    with _open(url, old) as console:
        assert _end(console) == "ticket"
    for address, origin in ((consoles.PATH, "http://elsewhere.example"), ("/other/", None)):
        with pytest.raises(InvalidStatus):
            connect(url.replace("http", "ws") + address, origin=origin, proxy=None)
    assert not AuditEntry.objects.filter(action="console.open").exists()


def test_who_lost_the_right_after_asking_does_not_get_in(at: Any) -> None:
    url, plant, machine, _host = at
    secret = _ticket(plant, machine, plant.engineer)
    Membership.objects.filter(user=plant.engineer).delete()
    with _open(url, secret) as console:
        assert _end(console) == "ticket"
    assert ConsoleVisit.objects.get().end == "forbidden"


def test_it_ends_with_the_token_with_idleness_and_with_the_machine(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, plant, machine, host = at
    monkeypatch.setattr(live, "LOOK_S", 0.2)
    with _open(url, _ticket(plant, machine)) as console:
        _until_open(console)
        plant.operator.api_tokens.update(revoked_at=dt.datetime.now(dt.UTC))
        assert _end(console) == "forbidden"
    with _open(url, _ticket(plant, machine)) as console:
        _until_open(console)
        host.running = False
        assert _end(console) == "lost"
    host.running = True

    class Short:
        console_idle_minutes = 0.01

    real = live.get_settings
    socket = real().desk_socket
    Short.desk_socket = socket  # type: ignore[attr-defined]
    monkeypatch.setattr(live, "get_settings", lambda: Short)
    with _open(url, _ticket(plant, machine)) as console:
        _until_open(console)
        assert _end(console) == "idle"
    ends = list(
        AuditEntry.objects.filter(action="console.close")
        .order_by("pk")
        .values_list("details", flat=True)
    )
    assert [row["end"] for row in ends] == ["forbidden", "lost", "idle"]


def _until_open(console: ClientConnection) -> None:
    assert "opened" in json.loads(console.recv(timeout=WAIT))


def test_a_host_that_does_not_answer_is_said_and_noted(at: Any) -> None:
    url, plant, machine, host = at
    host.answers = False
    with _open(url, _ticket(plant, machine)) as console:
        assert "no answer" in json.loads(console.recv(timeout=WAIT))["error"]
        assert _end(console) == "refused"
    _wait(lambda: AuditEntry.objects.filter(action="console.failed").exists())


def test_asking_by_the_api_and_its_rules(at: Any) -> None:
    _url, plant, machine, _host = at
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    path = f"/api/v1/machines/{machine.pk}/console/"
    made = api.post(path)
    assert made.status_code == 201
    assert set(made.data) == {"id", "ticket", "expires_at", "path"}
    for _ in range(consoles.MOST_EACH - 1):
        assert api.post(path).status_code == 201
    refused = api.post(path)
    assert refused.status_code == 400
    assert "close one first" in refused.data["errors"][0]["message"]
    Machine.objects.update(observed="stopped")
    refused = api.post(path)
    assert "only a running machine has a console" in refused.data["errors"][0]["message"]
    page = Client()
    page.force_login(plant.operator, backend="django.contrib.auth.backends.ModelBackend")
    assert "has no console" in page.get(f"/machines/{machine.pk}/console/").content.decode()


def test_the_command_line_carries_a_console(at: Any, tmp_path: Path) -> None:
    url, plant, machine, _host = at
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    login = tmp_path / "millwright" / "login.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"url": url, "token": secret}))
    login.chmod(0o600)
    command = [sys.executable, "-m", "millwright.cli", "machine", "console", "filling-line-1"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(b"echo from a shell\r")
        shell.stdin.flush()
        seen = b""
        while b"\r\nfrom a shell\r\n" not in seen:
            data = os.read(shell.stdout.fileno(), 4096)
            assert data, "the command ended"
            seen += data
        _, told = shell.communicate(b"\x1d", timeout=WAIT)
    assert shell.returncode == 0
    assert b"console: left" in told
    _wait(lambda: AuditEntry.objects.filter(action="console.close").exists())
    assert AuditEntry.objects.get(action="console.close").details["end"] == "left"
    assert machine.pk == ConsoleVisit.objects.get().machine_id


def test_visits_of_a_dead_process_are_closed_and_unused_tickets_forgotten(at: Any) -> None:
    _url, plant, machine, _host = at
    visit = consoles.open_visit(_ticket(plant, machine))
    assert visit is not None
    _ticket(plant, machine)
    assert consoles.sweep() == 0
    long_ago = visit.asked_at - dt.timedelta(seconds=2 * consoles.LOST_AFTER_S)
    ConsoleVisit.objects.filter(pk=visit.pk).update(seen_at=long_ago)
    ConsoleVisit.objects.exclude(pk=visit.pk).update(expires_at=long_ago)
    assert consoles.sweep() == 1
    assert [row.end for row in ConsoleVisit.objects.all()] == ["lost"]
    assert AuditEntry.objects.get(action="console.close").details["end"] == "lost"


def _with_screen(machine: Machine) -> None:
    version = machine.template_version
    # Past the rule that a version's promise stays: the test stands for a plant with such a template.
    type(version).objects.filter(pk=version.pk).update(
        spec={**version.spec, "class": "shared", "devices": {"graphics": True}}
    )
    machine.refresh_from_db()


def test_a_screen_speaks_rfb_and_pictures_alone_are_nobody_at_it(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, plant, machine, host = at
    with pytest.raises(ValidationError, match="no screen"):
        consoles.ask(plant.operator, machine, kind="screen")
    _with_screen(machine)
    with _open(url, _ticket(plant, machine, kind="screen")) as screen:
        _until_open(screen)
        viewer = Viewer(lambda: screen.recv(timeout=WAIT), screen.send)  # type: ignore[arg-type,return-value]
        before = viewer.picture()
        assert viewer.name == "simulated screen of mw-line"
        assert before.colours == 1
        viewer.key(0xFF0D)
        assert viewer.picture().pixels != before.pixels
        assert [said.data[1] for said in host.screen.by_hand] == [1, 0]
        screen.send(b"\x63no viewer")
        assert _end(screen) == "refused"

    class Short:
        console_idle_minutes = 0.02
        desk_socket = live.get_settings().desk_socket

    monkeypatch.setattr(live, "get_settings", lambda: Short)
    with _open(url, _ticket(plant, machine, kind="screen")) as screen:
        _until_open(screen)
        viewer = Viewer(lambda: screen.recv(timeout=WAIT), screen.send)  # type: ignore[arg-type,return-value]
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                viewer.picture()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.reason == "idle"
    _wait(lambda: AuditEntry.objects.filter(action="console.close").exists())
    kinds = AuditEntry.objects.filter(action__startswith="console.").values_list("details__kind")
    assert set(kinds) == {("screen",)}


def test_the_command_line_shows_a_screen_to_a_viewer(at: Any, tmp_path: Path) -> None:
    url, plant, machine, _host = at
    _with_screen(machine)
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    login = tmp_path / "millwright" / "login.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"url": url, "token": secret}))
    login.chmod(0o600)
    command = [sys.executable, "-m", "millwright.cli", "machine", "screen", "filling-line-1"]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as shell:
        assert shell.stdout is not None
        place = Path(shell.stdout.readline().rsplit(" ", 1)[1].strip())
        assert place.parent.stat().st_mode & 0o77 == 0
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(WAIT)
            line.connect(str(place))
            assert Viewer(lambda: line.recv(65536), line.sendall).picture().colours == 1
        told, _ = shell.communicate(timeout=WAIT)
    assert shell.returncode == 0
    assert "screen: left" in told
    assert not place.exists()
