"""Every route of the portal and the API × every kind of person. A route without an expectation fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone
from millwright.accounts import people
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Membership, User
from millwright.audit.models import AuditEntry
from millwright.balancing.models import (
    Balancer,
    HostRecovery,
    PlacementRule,
    Recommendation,
    ResourcePool,
    RollingDrain,
)
from millwright.environments import actions, labels
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import Drift, Host
from millwright.portal.views import service_levels
from millwright.service_levels.actions import request_window, seal_month
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.jitter import JitterUnavailableError
from millwright.service_levels.models import Contract, Interval, MaintenanceWindow
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor import setpoints
from millwright.shopfloor.models import (
    Deployment,
    EngineeringStation,
    ModbusSecurity,
    ProgramVersion,
)

from tests.support.notices import told_world
from tests.support.plant import Plant, disk_set_aside

FOLDER = Path(__file__).parent / "expectations"
PEOPLE = ("engineer", "approver", "operator", "administrator", "auditor", "stranger")
#: Done, with its line in the audit trail; and answered, a question that changes nothing.
DONE, TOLD = "done", "told"


def _row(*codes: Any) -> dict[str, Any]:
    return dict(zip(PEOPLE, codes, strict=True))


ROWS = {
    "public": _row(200, 200, 200, 200, 200, 200),
    "everyone": _row(200, 200, 200, 200, 200, 200),
    "stream": _row(200, 200, 200, 200, 200, 404),
    "own": _row(200, 200, 200, 200, 200, 404),
    "pool": _row(403, 403, 200, 200, 403, 403),
    "pool_readers": _row(403, 403, 200, 200, 200, 403),
    # One's own entries are read by everyone: this one is the engineer's.
    "audited": _row(200, 404, 404, 200, 200, 404),
    "not_by_get": _row(405, 405, 405, 405, 405, 405),
    "pool_not_by_get": _row(403, 403, 405, 405, 403, 403),
    # Forms that offer only what one may choose answer 422; what is another's is not there at all.
    "requesters": _row(DONE, DONE, 422, DONE, 422, 422),
    "uploaders": _row(DONE, 422, 422, DONE, 422, 422),
    # Ticked rows that one may not see are not there; those one may only see are refused.
    "deciders": _row(403, DONE, 403, DONE, 403, 302),
    "many_operators": _row(DONE, 403, DONE, DONE, 403, 302),
    "anyone": dict.fromkeys(PEOPLE, DONE),
    "owner": _row(DONE, 404, 404, 404, 404, 404),
    "approvers": _row(403, DONE, 403, DONE, 403, 404),
    "operators": _row(DONE, 403, DONE, DONE, 403, 404),
    "engineers": _row(DONE, 403, 403, DONE, 403, 404),
    "administrators": _row(403, 403, 403, 200, 403, 403),
    "administrators_not_by_get": _row(403, 403, 403, 405, 403, 403),
    "delegated": _row(404, 200, 404, 200, 404, 404),
    "administer": _row(403, 403, 403, DONE, 403, 403),
    "project_keepers": _row(403, 403, 403, 200, 403, 404),
    "keep_projects": _row(403, 403, 403, DONE, 403, 404),
    "delegators": _row(403, DONE, 403, DONE, 403, 403),
    "approver_alone": _row(404, DONE, 404, 404, 404, 404),
    "everyone_told": dict.fromkeys(PEOPLE, TOLD),
    "owner_told": _row(TOLD, 404, 404, 404, 404, 404),
    "administrator_or_hidden": _row(404, 404, 404, 200, 404, 404),
    "askers": _row(TOLD, 403, 403, TOLD, 403, 404),
    # Every project has engineers of its own, and they write programs there.
    "writers": _row(200, 403, 403, 200, 403, 200),
    "engineers_read": _row(200, 403, 403, 200, 403, 404),
    # A draft is its writer's.
    "writers_of_drafts": _row(200, 403, 403, 200, 403, 404),
    "draft_writers": _row(DONE, 403, 403, DONE, 403, 404),
    "operators_read": _row(200, 403, 200, 200, 403, 404),
    "operators_refused": _row(400, 403, 400, 400, 403, 404),
    "operators_told": _row(409, 403, 409, 409, 403, 404),
    "owner_reads": _row(200, 404, 404, 404, 404, 404),
    # What is named in the query and another's does not exist for him.
    "own_or_unknown": _row(200, 200, 200, 200, 200, 400),
    "engineers_ask": _row(409, 403, 403, 409, 403, 404),
    "operators_ask": _row(TOLD, 403, TOLD, TOLD, 403, 404),
    # What has to be asked of a process that does not run here.
    "not_now": _row(409, 409, 409, 409, 409, 400),
    "pool_asked": _row(403, 403, TOLD, TOLD, 403, 403),
    "pool_keepers": _row(403, 403, DONE, DONE, 403, 403),
    "own_not_there": _row(503, 503, 503, 503, 503, 404),
    "window_askers": _row(200, 403, 200, 200, 403, 403),
    "window_askers_do": _row(DONE, 403, DONE, DONE, 403, 403),
    # What is another's is not there: nothing is left to merge, and he is told so.
    "mergers": _row(DONE, 403, DONE, DONE, 403, TOLD),
    "pool_keepers_here": _row(403, 403, DONE, DONE, 403, 404),
}
#: Two registers that people may write.
SYMBOLS = {
    "symbols": [
        {"path": f"Main.{name}", "type": "UINT", "area": "Q", "offset": offset, "size": 2}
        for name, offset in (("target", 0), ("limit", 2))
    ]
}
#: Where one may be without having signed in, or where the library behind the route decides.
LIBRARIES = (
    "account_",
    "mfa_",
    "set_language",
    "socialaccount_",
    "openid_connect_",
    "usersessions_",
)

EXPECTED: dict[str, dict[str, Any]] = {}
for _file in sorted(FOLDER.glob("*.yaml")):
    EXPECTED |= yaml.safe_load(_file.read_text())


def _routes(resolver: Any = None, namespace: str = "") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if hasattr(pattern, "url_patterns"):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _routes(pattern, inner)
        elif pattern.name:
            yield f"{namespace}{pattern.name}"
        else:
            # Only redirects may go without a name.
            assert pattern.callback.view_class.__name__ == "RedirectView", pattern


def test_every_route_has_an_expectation_and_every_expectation_a_route() -> None:
    routes = {name for name in _routes() if not name.startswith(LIBRARIES)}
    assert routes == set(EXPECTED)
    assert {entry["get"] for entry in EXPECTED.values()} <= set(ROWS)


@pytest.fixture
def world(plant: Plant) -> dict[str, Any]:
    """One of everything, each in the state in which its verb is possible."""
    plant.project.quota_environments = 9
    plant.project.save()
    plant.auditor = User.objects.create_user("audrey", plant_role="auditor")  # type: ignore[attr-defined]
    erin = plant.engineer
    for name in ("one", "two"):
        made = actions.create_request(erin, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(erin, made))
    Environment.objects.update(state="running")
    failed = Operation.objects.get(environment__name="one")
    Operation.objects.filter(pk=failed.pk).update(state="failed")
    machine = Machine.objects.get(environment__name="one")
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0])
    Host.objects.create(name="mw0-h5", uri="fake://h5", health="up", power="asleep")
    sources = {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
    version = shopfloor.upload_program(erin, plant.project, "filling", sources)
    ProgramVersion.objects.update(state="ready")
    devices = [
        shopfloor.add_device(
            erin,
            name=f"station-{number}",
            project=plant.project,
            cell=plant.cell,
            address=f"10.90.1.{50 + number}",
            port=502,
        )
        for number in (3, 4)
    ]
    two = Machine.objects.get(environment__name="two")
    point = {"tag": "Main.level", "area": "input", "register": "0", "direction": "in"}
    (mapping,) = shopfloor.set_mappings(erin, two, devices[1], [point])
    deployment = Deployment.objects.create(
        machine=two, program_version=version, deployed_by=erin, state="active"
    )
    ProgramVersion.objects.update(symbols=SYMBOLS)
    set_point = setpoints.allow(erin, two, tag="Main.target", low=0, high=100)
    station = EngineeringStation.objects.create(
        project=plant.project, cell=plant.cell, name="desk", cidr="10.90.1.1/32"
    )
    now = timezone.now()
    drift = Drift.objects.create(
        host=plant.hosts[0], kind="foreign", name="vm", first_seen=now, last_seen=now
    )
    asked = actions.create_request(erin, **plant.request_fields("asked"))
    tom = User.objects.create_user("tom")
    delegation = people.delegate(plant.approver, tom, now + dt.timedelta(days=2))
    sync_objectives()
    past = now - dt.timedelta(days=40)
    intervals = [
        Interval.objects.create(
            environment=machine.environment,
            machine=machine,
            begin=past + dt.timedelta(minutes=10 * number),
            end=past + dt.timedelta(minutes=10 * number + 5),
            kind="down",
            cause="unknown",
        )
        for number in (0, 1)
    ]
    window = request_window(
        plant.engineer, machine.environment, past, past + dt.timedelta(hours=1), "filters"
    )
    active = request_window(
        plant.engineer, machine.environment, now, now + dt.timedelta(hours=1), "motor"
    )
    MaintenanceWindow.objects.filter(pk=active.pk).update(state="active")
    ResourcePool.objects.create(name="day")
    shift = {"name": "day", "pools": ["day"], "shares": 2000}
    Balancer.objects.create(pk=1, calendar=[shift], calendar_before=[])
    rule = PlacementRule.objects.create(name="kept-apart", kind="apart")
    rule.machines.set(Machine.objects.all())
    return {
        "tom": tom.pk,
        "old_disk": disk_set_aside(plant).pk,
        "rolling": RollingDrain.objects.create(hosts=["mw0-h2"], state="stopped").pk,
        "recovery": HostRecovery.objects.create(host=plant.hosts[1], confirmed_by="person").pk,
        "interval": intervals[0].pk,
        "interval_too": intervals[1].pk,
        "window": window.pk,
        "seal": seal_month(plant.approver, machine.environment, dt.date(2026, 5, 1)).pk,
        "active_window": active.pk,
        "contract": Contract.objects.filter(environment=None)[0].pk,
        "recommendation": Recommendation.objects.create(
            machine=machine,
            source=plant.hosts[0],
            destination=plant.hosts[1],
            why="contention",
            text="h1 is crowded",
            seconds=3,
            mode="recommend",
        ).pk,
        **told_world(erin),
        "soon": (now + dt.timedelta(days=5)).date().isoformat(),
        "delegation": delegation.pk,
        "membership": Membership.objects.get(user=plant.approver).pk,
        "project": plant.project.pk,
        "cell": plant.cell.pk,
        "template": plant.template.pk,
        "draft": actions.create_request(erin, **plant.request_fields("draft")).pk,
        "asked": actions.submit_request(erin, asked).pk,
        "failed": failed.pk,
        "live": Operation.objects.filter(environment__name="two", kind="provision").get().pk,
        "machine": machine.pk,
        "two": two.pk,
        "set_point": set_point.pk,
        "view": labels.save_view(erin, "running", "state=running").pk,
        "version": version.pk,
        "program": version.program_id,
        "device": devices[0].pk,
        "device_opc": shopfloor.add_device(
            erin,
            name="press-opc",
            project=plant.project,
            cell=plant.cell,
            protocol="opcua",
            address="10.90.1.59",
            port=4840,
        ).pk,
        "mapping": mapping.pk,
        "deployment": deployment.pk,
        "asked_deployment": Deployment.objects.create(
            machine=machine, program_version=version, deployed_by=erin, state="asked"
        ).pk,
        "station": station.pk,
        "modbus_security": ModbusSecurity.objects.create(
            project=plant.project, authorities="", roles=[]
        ).pk,
        "drift": drift.pk,
        "token": issue_token(erin, erin, "mine")[0].pk,
        "audit": AuditEntry.objects.filter(actor=erin).first().pk,  # type: ignore[union-attr]
    }


def _client(user: Any) -> Client:
    made = Client()
    if user is not None:
        made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def _filled(value: Any, world: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return value.format(**world) if "{" in value else value
    if isinstance(value, list):
        return [_filled(each, world) for each in value]
    return {key: _filled(entry, world) for key, entry in (value or {}).items()}


def _url(name: str, world: dict[str, Any]) -> str:
    entry = EXPECTED[name]
    return reverse(name, kwargs=_filled(entry.get("kwargs"), world)) + _filled(
        entry.get("query", ""), world
    )


def _silent(*_: object) -> None:
    raise JitterUnavailableError("nobody listens")


def test_who_reads_what(
    plant: Plant, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether a plant runs on this machine, whose Prometheus would answer, is nothing to the matrix.
    monkeypatch.setattr(service_levels, "jitter_map", _silent)
    clients = {who: _client(getattr(plant, who)) for who in PEOPLE}
    wrong = []
    for name, entry in EXPECTED.items():
        if name == "portal:environment_events":
            continue  # an endless stream under a test client; its rights are tested below
        url = _url(name, world)
        expected = ROWS[entry["get"]]
        met = {who: clients[who].get(url).status_code for who in PEOPLE}
        if met != expected:
            wrong.append((name, met, expected))
    assert not wrong, "\n".join(map(str, wrong))


def test_nobody_without_a_name_gets_in(plant: Plant, world: dict[str, Any]) -> None:
    nobody = _client(None)
    for name, entry in EXPECTED.items():
        if entry["get"] == "public":
            continue
        url = _url(name, world)
        for answer in (nobody.get(url), nobody.post(url, _filled(entry.get("body"), world))):
            if name.startswith("portal:") and answer.status_code == 302:
                assert answer["Location"].startswith("/accounts/login/"), name
            else:
                assert answer.status_code in (401, 405), (name, answer.status_code)
    assert Operation.objects.exclude(kind__in=("provision", "build_program")).count() == (
        Operation.objects.filter(kind="deliver_config").count()
    )


@pytest.mark.parametrize("name", [name for name, entry in EXPECTED.items() if "post" in entry])
def test_who_changes_what(plant: Plant, world: dict[str, Any], name: str) -> None:
    body = _filled(EXPECTED[name].get("body"), world)
    for who, expected in ROWS[EXPECTED[name]["post"]].items():
        caller = _client(getattr(plant, who))
        before = AuditEntry.objects.count()
        with transaction.atomic():
            answer = caller.post(_url(name, world), body)
            written = AuditEntry.objects.count() - before
            transaction.set_rollback(True)
        told = (name, who, answer.status_code)
        assert (
            answer.status_code in (200, 302)
            if expected in (DONE, TOLD)
            else answer.status_code == expected
        ), told
        assert (written > 0) == (expected == DONE), told


def test_every_form_of_the_portal_is_in_the_matrix_of_changes() -> None:
    """Whoever takes only POST changes something."""
    for name, entry in EXPECTED.items():
        if name.startswith("portal:") and entry["get"] == "not_by_get":
            assert "post" in entry, name
