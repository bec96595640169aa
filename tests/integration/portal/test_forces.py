"""The force list: asked of the controller, ended with a word in the trail, and marked where people look."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone
from millwright.accounts.actions import issue_token
from millwright.audit.models import AuditEntry
from millwright.cli.nouns import machines as commands
from millwright.environments import actions
from millwright.environments.models import Machine
from millwright.hypervisor import HostUnreachable, NotFound
from millwright.hypervisor.types import ExecResult
from millwright.orchestrator import forcing
from rest_framework.test import APIClient

from tests.support.desk import open_desk
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db(transaction=True)
BACKEND = "django.contrib.auth.backends.ModelBackend"


class Controller:
    """A host whose guest answers `vplc force` as industrial/cli/tools.py does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"main.valve": True, "main.level": 40}
        self.names: dict[str, Any] | None = {
            "1:0:0:3": {"path": "main.valve", "at": "2026-11-26T05:00:00+00:00", "by": "erin"}
        }
        self.answers = True
        self.asked: list[tuple[str, ...]] = []

    def get(self, host: str) -> Controller:
        return self

    def agent_exec(self, uuid: Any, argv: Sequence[str], *, deadline_s: float) -> ExecResult:
        if not self.answers:
            raise HostUnreachable("no answer", host="mw0-h1")
        self.asked.append(tuple(argv))
        assert list(argv[:2]) == ["/opt/vplc/bin/vplc", "force"]
        if list(argv[2:]) == ["clear", "--all"]:
            self.values.clear()
        elif len(argv) > 2:
            assert list(argv[2:4]) == ["clear", "--"]
            for path in argv[4:]:
                if path not in self.values:
                    text = f"Error: {path} is not forced\n".encode()
                    return ExecResult(exit_code=1, signal=None, stdout=b"", stderr=text)
                del self.values[path]
        # Without names it is an older one, which answers with the variables alone.
        new = {"format": 1, "forced": self.values}
        told = json.dumps(self.values if self.names is None else new).encode()
        return ExecResult(exit_code=0, signal=None, stdout=told, stderr=b"")

    def agent_read_file(self, uuid: Any, path: str) -> bytes:
        if self.names is None:
            raise NotFound(path)
        return json.dumps(self.names).encode()


@pytest.fixture
def at(plant: Plant) -> Iterator[tuple[Plant, Machine, Controller]]:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    machine = Machine.objects.get()
    version = machine.template_version
    type(version).objects.filter(pk=version.pk).update(
        spec={**version.spec, "outputs": {"modbus": 502}}
    )
    Machine.objects.update(host=plant.hosts[0], observed="running")
    controller = Controller()
    with open_desk(**forcing.works(controller)):  # type: ignore[arg-type]
        yield plant, Machine.objects.with_names().get(), controller


def _page(user: Any) -> Client:
    page = Client()
    page.force_login(user, backend=BACKEND)
    return page


def test_the_list_says_what_is_forced_since_when_and_by_whom(at: Any) -> None:
    plant, machine, controller = at
    page = _page(plant.operator)
    path = f"/machines/{machine.pk}/forces/"
    assert "The controller is asked" in page.get(path).content.decode()
    assert controller.asked == []
    text = page.get(f"{path}?now=1").content.decode()
    for word in ("main.valve", "main.level", "erin", "End all"):
        assert word in text
    # The marks follow what was just read, without waiting for Prometheus.
    machine.refresh_from_db()
    assert machine.forced == 2
    assert machine.forced_since is not None
    environment = page.get("/environments/filling-line-1/").content.decode()
    assert "2 variables are forced" in environment
    home = page.get("/").content.decode()
    assert "Controllers with forced variables" in home
    controller.names = None  # an older controller
    part = page.get(f"{path}?now=1", HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in part
    assert "main.valve" in part
    assert "erin" not in part


def test_forces_are_ended_one_or_all_only_by_who_says_that_he_knows(at: Any) -> None:
    plant, machine, controller = at
    page = _page(plant.operator)
    path = f"/machines/{machine.pk}/forces/"
    page.post(f"{path}end/", {"which": "all"})
    assert len(controller.values) == 2
    assert controller.asked == []
    chosen = {"which": "marked", "path": ["main.valve"], "sure": "yes", "reason": "test is over"}
    told = page.post(f"{path}end/", chosen, follow=True).content.decode()
    assert "Still forced: 1" in told
    assert controller.values == {"main.level": 40}
    entry = AuditEntry.objects.get(action="force.end")
    assert entry.actor == plant.operator
    assert entry.details["paths"] == ["main.valve"]
    assert entry.reason == "test is over"
    told = page.post(f"{path}end/", chosen, follow=True).content.decode()
    assert "main.valve is not forced" in told
    assert AuditEntry.objects.filter(action="force.failed").count() == 1
    page.post(f"{path}end/", {"which": "all", "sure": "yes"})
    assert controller.values == {}
    machine.refresh_from_db()
    assert (machine.forced, machine.forced_since) == (0, None)
    assert "Controllers with forced" not in page.get("/").content.decode()


def test_the_api_and_its_rules(at: Any) -> None:
    plant, machine, controller = at
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    path = f"/api/v1/machines/{machine.pk}"
    rows = api.get(f"{path}/forces/").data["forced"]
    assert [row["path"] for row in rows] == ["main.level", "main.valve"]
    assert rows[1]["by"] == "erin"
    for body in ({}, {"paths": ["a"], "all": True}, {"paths": []}, {"paths": ["x" * 201]}):
        refused = api.post(f"{path}/unforce/", body, format="json")
        assert refused.status_code == 400, body
        assert refused.data["errors"]
    left = api.post(f"{path}/unforce/", {"paths": ["main.valve"]}, format="json")
    assert [row["path"] for row in left.data["forced"]] == ["main.level"]
    controller.answers = False
    refused = api.post(f"{path}/unforce/", {"all": True}, format="json")
    assert refused.status_code == 409
    assert "no answer" in refused.data["detail"]
    Machine.objects.update(observed="stopped")
    refused = api.get(f"{path}/forces/")
    assert refused.status_code == 400
    assert "only a running controller" in refused.data["errors"][0]["message"]


def test_the_command_line(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, machine, controller = at
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")

    class Here:
        """The command's door to the API, in this process."""

        @classmethod
        def from_settings(cls) -> Here:
            return cls()

        def get(self, path: str) -> Any:
            return client.get(f"/api/v1/{path}").json()

        def post(self, path: str, body: Any, *, timeout_s: float) -> Any:
            return client.post(f"/api/v1/{path}", body, format="json").json()

    monkeypatch.setattr(commands, "Api", Here)
    listed = CliRunner().invoke(commands.machine, ["forces", "filling-line-1"])
    assert listed.exit_code == 0, listed.output
    assert "main.valve" in listed.output
    words = ["unforce", "filling-line-1", "--all"]
    assert CliRunner().invoke(commands.machine, words, input="n\n").exit_code == 1
    assert len(controller.values) == 2
    assert CliRunner().invoke(commands.machine, [*words, "main.valve", "--yes"]).exit_code != 0
    done = CliRunner().invoke(commands.machine, [*words, "--yes"])
    assert done.exit_code == 0, done.output
    assert controller.values == {}
    assert machine.pk is not None


def test_the_marks_follow_prometheus_and_stay_while_it_is_silent(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant, machine, _controller = at
    place = ("filling-line-1", machine.name)
    counts: dict[tuple[str, str], int] = {place: 3, ("gone", "plc"): 1}
    monkeypatch.setattr(forcing, "_counts", lambda: counts)
    now = timezone.now()
    assert forcing.forces_round(now) == 1
    counts[place] = 1
    assert forcing.forces_round(now + dt.timedelta(minutes=1)) == 1
    machine.refresh_from_db()
    assert (machine.forced, machine.forced_since) == (1, now)
    del counts[place]
    assert forcing.forces_round(now) == 0

    def silent() -> dict[tuple[str, str], int]:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(forcing, "_counts", silent)
    assert forcing.forces_round(now) == 0
    machine.refresh_from_db()
    assert machine.forced == 1
    monkeypatch.setattr(forcing, "_counts", lambda: {place: 0})
    assert forcing.forces_round(now) == 1
    machine.refresh_from_db()
    assert (machine.forced, machine.forced_since) == (0, None)
