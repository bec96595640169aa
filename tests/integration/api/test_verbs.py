"""The permission matrix of everything that changes something: each verb × each kind of person."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from millwright.accounts import people
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Membership, User
from millwright.audit.models import AuditEntry
from millwright.balancing.models import (
    HostRecovery,
    PlacementRule,
    Recommendation,
    ResourcePool,
    RollingDrain,
)
from millwright.catalog.models import Template, TemplateVersion
from millwright.core.lifecycle import HostAdministration
from millwright.environments import actions, labels
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory import actions as inventory
from millwright.inventory.models import Host
from millwright.service_levels.actions import request_window
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.models import Contract, Interval, MaintenanceWindow
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import (
    Deployment,
    EngineeringStation,
    ModbusSecurity,
    ProgramVersion,
    SetPoint,
)
from rest_framework.test import APIClient

from tests.support.certificates import self_signed
from tests.support.notices import told_world
from tests.support.plant import Plant, disk_set_aside
from tests.support.tags import SYMBOLS
from tests.support.verbs import DONE, NOT_NOW, SOURCE, TOLD, TRIED, UNAUDITED, VERBS


@pytest.fixture
def world(plant: Plant) -> dict[str, Any]:
    """One of everything, each in the state in which its verb is possible."""
    plant.project.quota_environments = 9
    plant.project.save()
    User.objects.create_user("audrey", plant_role="auditor")
    erin = plant.engineer
    for name in ("one", "two"):
        made = actions.create_request(erin, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(erin, made))
    Environment.objects.update(state="running")
    one = Operation.objects.get(environment__name="one")
    Operation.objects.filter(pk=one.pk).update(state="failed")
    machine = Machine.objects.get(environment__name="one")
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0], observed="running")
    Operation.objects.filter(environment__name="two").update(
        state="waiting",
        question={"text": "Which one?", "answers": {"keep_source": "The one on mw0-h1"}},
    )
    inventory.administer_host(plant.operator, plant.hosts[1], HostAdministration.CORDONED)
    version = shopfloor.upload_program(erin, plant.project, "filling", SOURCE)
    ProgramVersion.objects.update(state="ready")
    device = shopfloor.add_device(
        erin,
        name="station",
        project=plant.project,
        cell=plant.cell,
        address="10.90.1.50",
        port=502,
    )
    ProgramVersion.objects.update(symbols=SYMBOLS)
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    set_point = SetPoint.objects.create(machine=machine, tag="Main.setpoint", low=0, high=90)
    asked = actions.create_request(erin, **plant.request_fields("asked"))
    tom, soon = User.objects.create_user("tom"), timezone.now() + dt.timedelta(days=2)
    Host.objects.create(name="mw0-h3", uri="fake://h3", health="down")
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}
    for name, power in (("mw0-h4", "awake"), ("mw0-h5", "asleep")):
        Host.objects.create(
            name=name, uri=f"fake://{name}", health="up", power=power, policy={"sleep": sleep}
        )
    sync_objectives()
    now = timezone.now()
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
    ResourcePool.objects.create(name="spare")
    other = Machine.objects.get(environment__name="two")
    for name, enabled in (("apart", True), ("off", False)):
        rule = PlacementRule.objects.create(name=name, kind="apart", enabled=enabled)
        rule.machines.set([machine, other])
    # A machine of a template with a screen: what its template says is all that counts here.
    spec = plant.template.spec
    screened = TemplateVersion.objects.create(
        template=plant.template.template,
        version="screen",
        spec={
            **spec,
            "class": "shared",
            "devices": {**spec.get("devices", {}), "graphics": True},
        },
    )
    Machine.objects.filter(pk=other.pk).update(
        template_version=screened, host=plant.hosts[0], observed="running"
    )
    return {
        "old_disk": disk_set_aside(plant).pk,
        "rolling": _rolling(plant, "active", "work"),
        "rolling_paused": _rolling(plant, "paused", "waiting"),
        "seen": other.pk,
        "recovery": HostRecovery.objects.create(host=plant.hosts[1], confirmed_by="person").pk,
        "interval": intervals[0].pk,
        "interval_too": intervals[1].pk,
        "window": window.pk,
        "active_window": active.pk,
        "contract": Contract.objects.filter(environment=None)[0].pk,
        **told_world(erin),
        "recommendation": Recommendation.objects.create(
            machine=machine,
            source=plant.hosts[0],
            destination=plant.hosts[1],
            why="contention",
            text="h1 is crowded",
            seconds=3,
            mode="recommend",
        ).pk,
        "between": (past + dt.timedelta(minutes=2)).isoformat(),
        "template": plant.template.pk,
        "hidden_template": TemplateVersion.objects.create(
            template=Template.objects.create(name="spare", title="Spare", offered=False),
            version="1",
            spec={},
        ).pk,
        "tom": tom.pk,
        "soon": soon.isoformat(),
        "membership": Membership.objects.get(user=plant.approver).pk,
        "delegation": people.delegate(plant.approver, tom, soon).pk,
        "draft": actions.create_request(erin, **plant.request_fields("draft")).pk,
        "asked": actions.submit_request(erin, asked).pk,
        "failed": one.pk,
        "live": Operation.objects.get(environment__name="two").pk,
        "machine": machine.pk,
        "version": version.pk,
        "wanted": Deployment.objects.create(
            machine=machine, program_version=version, deployed_by=erin, state="asked"
        ).pk,
        "device": device.pk,
        "device_opc": shopfloor.add_device(
            erin,
            name="press-opc",
            project=plant.project,
            cell=plant.cell,
            protocol="opcua",
            address="10.90.1.51",
            port=4840,
        ).pk,
        "set_point": set_point.pk,
        "modbus_security": ModbusSecurity.objects.create(
            project=plant.project, environment=machine.environment, authorities="", roles=[]
        ).pk,
        "station": EngineeringStation.objects.create(
            project=plant.project, cell=plant.cell, name="old-desk", cidr="10.90.1.9/32"
        ).pk,
        "certificate": self_signed(),
        "view": labels.save_view(erin, "running", "state=running").pk,
    }


def _rolling(plant: Plant, state: str, at: str) -> int:
    return RollingDrain.objects.create(
        hosts=["mw0-h2"],
        state=state,
        progress=[{"host": "mw0-h2", "state": at}],
        requested_by=plant.operator,
    ).pk


def _filled(value: Any, world: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return value.format(**world) if value.startswith("{") or "/{" in value else value
    if isinstance(value, list):
        return [_filled(entry, world) for entry in value]
    if isinstance(value, dict):
        return {key: _filled(entry, world) for key, entry in value.items()}
    return value


def _call(caller: APIClient, verb: str, world: dict[str, Any]) -> Any:
    path, body, _ = VERBS[verb]
    url = "/api/v1/" + _filled(path, world)
    if verb.endswith("-destroy"):
        return caller.delete(url)
    if verb == "request-partial-update":
        return caller.patch(url, _filled(body, world), format="json")
    if verb in ("pool-update", "rule-update"):
        return caller.put(url, _filled(body, world), format="json")
    return caller.post(url, _filled(body, world), format="json")


def _client(user: Any, **token: Any) -> APIClient:
    _, secret = issue_token(None, user, "test", lifetime=dt.timedelta(hours=1), **token)
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_who_may(plant: Plant, world: dict[str, Any], verb: str) -> None:
    assert _call(APIClient(), verb, world).status_code == 401
    assert _call(_client(plant.engineer, scope="read"), verb, world).status_code == 403
    assert _call(_client(plant.operator, scope="discovery"), verb, world).status_code == 403
    if verb == "rolling-drain-create":
        # Only one at a time.
        RollingDrain.objects.all().delete()
    for who, expected in VERBS[verb][2].items():
        user = User.objects.get(username="audrey") if who == "auditor" else getattr(plant, who)
        caller = _client(user)
        before = AuditEntry.objects.count()
        with transaction.atomic():
            answer = _call(caller, verb, world)
            written = AuditEntry.objects.count() - before
            # Each person meets the same world.
            transaction.set_rollback(True)
        told = (who, answer.status_code, getattr(answer, "data", None))
        if expected == DONE:
            assert 200 <= answer.status_code < 300, told
            if not verb.endswith("-preview") and verb not in UNAUDITED:
                assert written >= 1, told
        elif expected == TOLD:
            assert answer.status_code == 200, told
            assert written == 0, told
        else:
            assert answer.status_code == expected, told
            assert (written > 0) == (expected == NOT_NOW and verb in TRIED), told
            assert answer["Content-Type"] == "application/problem+json"


def test_every_verb_of_every_endpoint_is_in_the_matrix() -> None:
    from millwright.api.urls import router

    found = set()
    for _, viewset, basename in router.registry:
        found |= {
            f"{basename}-{name.replace('_', '-')}"
            for name in ("create", "update", "partial_update", "destroy")
            if hasattr(viewset, name)
        }
        found |= {
            f"{basename}-{'set' if extra.url_name == 'set' else extra.url_path}"
            for extra in viewset.get_extra_actions()
            if set(extra.mapping) - {"get"}
        }
    assert found == set(VERBS)


def test_a_session_changes_nothing_without_its_form_token(plant: Plant) -> None:
    """A page of another site cannot use a signed-in browser."""
    caller = APIClient(enforce_csrf_checks=True)
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    answer = caller.post(
        "/api/v1/devices/",
        {"name": "rio", "project": "line-1", "cell": "line1", "address": "10.90.1.51", "port": 502},
        format="json",
    )
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]
