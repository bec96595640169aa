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
from millwright.shopfloor.models import Deployment, ModbusSecurity, ProgramVersion, SetPoint
from rest_framework.test import APIClient

from tests.support.certificates import self_signed
from tests.support.notices import told_world
from tests.support.plant import Plant
from tests.support.tags import SYMBOLS

SOURCE = {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
DONE, TOLD, NO, HIDDEN = "done", "told", 403, 404
#: What a stranger is told who names another project's things in a body: that they do not exist for him.
UNKNOWN = 400
#: Allowed, and the process that would do it is not there.
NOT_NOW = 409

#: Read marks in one's own inbox are no change of the plant.
UNAUDITED = ("notification-read", "notification-read-all")

#: Written before it is tried: these reach into the plant, and that somebody wanted it stays.
TRIED = ("device-search", "machine-unforce")

PEOPLE = ("engineer", "approver", "operator", "administrator", "auditor", "stranger")


def _row(*codes: Any) -> dict[str, Any]:
    return dict(zip(PEOPLE, codes, strict=True))


PLACE = {"project": "line-1", "cell": "line1", "address": "10.90.1.50", "port": 502}
#: verb → (path, body, who may)
VERBS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "request-create": (
        "requests/",
        {
            "name": "third-line",
            "project": "line-1",
            "template": "vplc",
            "size": "small",
            "cell": "line1",
        },
        _row(DONE, DONE, NO, DONE, NO, UNKNOWN),
    ),
    # It tells what the pool has, and changes nothing: whoever sees the project may ask.
    "request-preview": (
        "requests/preview/",
        {
            "name": "third-line",
            "project": "line-1",
            "template": "vplc",
            "size": "small",
            "cell": "line1",
        },
        _row(DONE, DONE, DONE, DONE, DONE, UNKNOWN),
    ),
    "request-submit": ("requests/{draft}/submit/", {}, _row(DONE, NO, NO, DONE, NO, HIDDEN)),
    "request-approve": ("requests/{asked}/approve/", {}, _row(NO, DONE, NO, DONE, NO, HIDDEN)),
    "request-reject": (
        "requests/{asked}/reject/",
        {"reason": "no budget"},
        _row(NO, DONE, NO, DONE, NO, HIDDEN),
    ),
    "request-withdraw": ("requests/{asked}/withdraw/", {}, _row(DONE, NO, NO, DONE, NO, HIDDEN)),
    "environment-start": ("environments/one/start/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "environment-stop": ("environments/one/stop/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "environment-restart": (
        "environments/one/restart/",
        {},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "environment-remove": ("environments/one/remove/", {}, _row(DONE, NO, NO, DONE, NO, HIDDEN)),
    "environment-extend": (
        "environments/one/extend/",
        {"days": 3},
        _row(DONE, NO, NO, DONE, NO, HIDDEN),
    ),
    "machine-console": ("machines/{machine}/console/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "machine-screen": ("machines/{seen}/screen/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "machine-record": (
        "machines/{machine}/record/",
        {"tag": "Main.setpoint", "on": True},
        _row(DONE, NO, NO, DONE, NO, HIDDEN),
    ),
    # Nobody answers for the controller here; that this is told is what the permission opens.
    "machine-unforce": (
        "machines/{machine}/unforce/",
        {"paths": ["Main.setpoint"]},
        _row(NOT_NOW, NO, NOT_NOW, NOT_NOW, NO, HIDDEN),
    ),
    "device-search": (
        "devices/search/",
        {"project": "line-1", "cell": "line1", "first": "10.90.1.50", "last": "10.90.1.51"},
        _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN),
    ),
    "operation-cancel": ("operations/{live}/cancel/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "operation-retry": ("operations/{failed}/retry/", {}, _row(DONE, NO, DONE, DONE, NO, HIDDEN)),
    "operation-answer": (
        "operations/{live}/answer/",
        {"answer": "keep_source"},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "machine-move": ("machines/{machine}/move/", {}, _row(NO, NO, DONE, DONE, NO, HIDDEN)),
    "machine-movability": (
        "machines/{machine}/movability/",
        {"movability": "never"},
        _row(NO, NO, DONE, DONE, NO, HIDDEN),
    ),
    "program-create": (
        "programs/",
        {"project": "line-1", "name": "other", "files": SOURCE},
        _row(DONE, NO, NO, DONE, NO, UNKNOWN),
    ),
    "deployment-create": (
        "deployments/",
        {"machine": "{machine}", "program_version": "{version}"},
        _row(DONE, NO, NO, DONE, NO, UNKNOWN),
    ),
    # Questions that change nothing: the process that answers them does not run here.
    "program-check": (
        "programs/check/",
        {"project": "line-1", "files": SOURCE},
        _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN),
    ),
    "program-rehearse": (
        "programs/rehearse/",
        {"project": "line-1", "files": SOURCE},
        _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN),
    ),
    "deployment-approve": (
        "deployments/{wanted}/approve/",
        {},
        _row(NO, DONE, NO, DONE, NO, HIDDEN),
    ),
    "deployment-refuse": (
        "deployments/{wanted}/refuse/",
        {"reason": "not today"},
        _row(NO, DONE, NO, DONE, NO, HIDDEN),
    ),
    "deployment-policy": (
        "deployments/policy/",
        {"project": "line-1", "approval": True},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    "template-offer": (
        "templates/{hidden_template}/offer/",
        {},
        _row(HIDDEN, HIDDEN, HIDDEN, DONE, HIDDEN, HIDDEN),
    ),
    "template-hide": ("templates/{template}/hide/", {}, _row(NO, NO, NO, DONE, NO, NO)),
    "device-create": (
        "devices/",
        {"name": "rio", "project": "line-1", "cell": "line1", "address": "10.90.1.51", "port": 502},
        _row(DONE, NO, NO, DONE, NO, UNKNOWN),
    ),
    "device-destroy": ("devices/{device}/", {}, _row(DONE, NO, NO, DONE, NO, HIDDEN)),
    "mapping-set": (
        "mappings/set/",
        {
            "machine": "{machine}",
            "device": "{device}",
            "points": [{"tag": "Main.level", "area": "input", "register": "0", "direction": "in"}],
        },
        _row(DONE, NO, NO, DONE, NO, UNKNOWN),
    ),
    "device-discover": ("devices/discover/", PLACE, _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN)),
    "device-endpoints": ("devices/endpoints/", PLACE, _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN)),
    "device-nodes": ("devices/nodes/", PLACE, _row(NOT_NOW, NO, NO, NOT_NOW, NO, UNKNOWN)),
    # Whether it answers is told, whatever came of it.
    "device-ask": ("devices/{device}/ask/", {}, _row(TOLD, NO, TOLD, TOLD, NO, HIDDEN)),
    "device-trust": (
        "devices/{device_opc}/trust/",
        {"fingerprint": "ab" * 32},
        _row(NOT_NOW, NO, NO, NOT_NOW, NO, HIDDEN),
    ),
    "device-unencrypted": (
        "devices/{device_opc}/unencrypted/",
        {"why": "the panel is from 1998"},
        _row(DONE, NO, NO, DONE, NO, HIDDEN),
    ),
    "environment-set-tags": (
        "environments/one/set-tags/",
        {"tags": ["north"]},
        _row(DONE, NO, NO, DONE, NO, HIDDEN),
    ),
    "environment-access": (
        "environments/one/access/",
        {},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "view-create": ("views/", {"name": "mine", "query": "mine=1"}, dict.fromkeys(PEOPLE, DONE)),
    "view-destroy": (
        "views/{view}/",
        {},
        _row(DONE, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN),
    ),
    "set-point-create": (
        "set-points/",
        {"machine": "{machine}", "tag": "Main.setpoint", "low": 0, "high": 500},
        _row(DONE, NO, NO, DONE, NO, UNKNOWN),
    ),
    "set-point-destroy": ("set-points/{set_point}/", {}, _row(DONE, NO, NO, DONE, NO, HIDDEN)),
    # No gateway answers here, and the machine does not run.
    "set-point-write": (
        "set-points/{set_point}/write/",
        {"value": 7, "reason": "warm day"},
        _row(NOT_NOW, NO, NOT_NOW, NOT_NOW, NO, HIDDEN),
    ),
    "station-create": (
        "stations/",
        {"project": "line-1", "cell": "line1", "name": "desk", "cidr": "10.90.1.1/32"},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    "modbus-security-create": (
        "modbus-security/",
        {"project": "line-1", "authorities": "{certificate}", "roles": [{"name": "viewer"}]},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    "modbus-security-destroy": (
        "modbus-security/{modbus_security}/",
        {},
        _row(NO, NO, NO, DONE, NO, HIDDEN),
    ),
    "host-create": (
        "hosts/",
        {"name": "h9", "uri": "qemu+tls://h9/system"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    # Nobody is at the desk here.
    "host-check": (
        "hosts/check/",
        {"name": "h9", "uri": "qemu+tls://h9/system"},
        _row(NO, NO, NOT_NOW, NOT_NOW, NO, NO),
    ),
    "host-cordon": ("hosts/mw0-h1/cordon/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "host-uncordon": ("hosts/mw0-h2/uncordon/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "recommendation-approve": (
        "recommendations/{recommendation}/approve/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "recommendation-reject": (
        "recommendations/{recommendation}/reject/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "recommendation-mode": (
        "recommendations/mode/",
        {"mode": "shadow"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "machine-entitlement": (
        "machines/{machine}/entitlement/",
        {"shares": 400},
        _row(NO, NO, DONE, DONE, NO, HIDDEN),
    ),
    "host-recover": (
        "hosts/mw0-h3/recover/",
        {"confirm_off": True},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "recovery-stop": ("recoveries/{recovery}/stop/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "host-drain": (
        "hosts/mw0-h2/drain/",
        {"approve": True},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-create": (
        "rolling-drains/",
        {"hosts": ["mw0-h2"], "work_minutes": 10, "approve": True},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-preview": (
        "rolling-drains/preview/",
        {"hosts": ["mw0-h2"]},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-pause": (
        "rolling-drains/{rolling}/pause/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-resume": (
        "rolling-drains/{rolling_paused}/resume/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-done": (
        "rolling-drains/{rolling}/done/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-skip": (
        "rolling-drains/{rolling}/skip/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rolling-drain-stop": (
        "rolling-drains/{rolling}/stop/",
        {},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "pool-create": (
        "pools/",
        {"name": "night", "shares": 500},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "pool-update": (
        "pools/spare/",
        {"name": "spare", "shares": 700},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "pool-destroy": ("pools/spare/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "rule-create": (
        "rules/",
        {"name": "pair", "kind": "apart", "machines": ["one/vplc", "two/vplc"]},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    # It tells what stands against a rule, and changes nothing.
    "rule-check": (
        "rules/check/",
        {"name": "pair", "kind": "apart", "machines": ["one/vplc", "two/vplc"]},
        _row(NO, NO, TOLD, TOLD, NO, NO),
    ),
    "rule-update": (
        "rules/apart/",
        {
            "name": "apart",
            "kind": "apart",
            "machines": ["one/vplc", "two/vplc"],
            "hard": False,
            "purpose": "a fire takes one at most",
        },
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "rule-destroy": ("rules/apart/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "rule-enable": ("rules/off/enable/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "rule-disable": ("rules/apart/disable/", {}, _row(NO, NO, DONE, DONE, NO, NO)),
    "interval-classify": (
        "intervals/{interval}/classify/",
        {"cause": "unplanned"},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "interval-split": (
        "intervals/{interval}/split/",
        {"at": "{between}"},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "interval-merge": (
        "intervals/merge/",
        {"intervals": ["{interval}", "{interval_too}"]},
        _row(DONE, NO, DONE, DONE, NO, UNKNOWN),
    ),
    "interval-comment": (
        "intervals/{interval}/comment/",
        {"text": "the fuse"},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "interval-acknowledge": (
        "intervals/{interval}/acknowledge/",
        {},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "maintenance-window-create": (
        "maintenance-windows/",
        {
            "environment": "one",
            "begins_at": "2026-06-10T12:00:00Z",
            "ends_at": "2026-06-10T13:00:00Z",
            "reason": "filters",
        },
        _row(DONE, NO, DONE, DONE, NO, UNKNOWN),
    ),
    "maintenance-window-approve": (
        "maintenance-windows/{window}/approve/",
        {"reason": "agreed"},
        _row(NO, DONE, NO, DONE, NO, HIDDEN),
    ),
    "maintenance-window-reject": (
        "maintenance-windows/{window}/reject/",
        {"reason": "not then"},
        _row(NO, DONE, NO, DONE, NO, HIDDEN),
    ),
    "maintenance-window-withdraw": (
        "maintenance-windows/{window}/withdraw/",
        {},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "maintenance-window-close": (
        "maintenance-windows/{active_window}/close/",
        {},
        _row(DONE, NO, DONE, DONE, NO, HIDDEN),
    ),
    "contract-create": (
        "contracts/",
        {"environment": "one", "availability_ratio": 0.95},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    # It tells what would have been, and changes nothing.
    "contract-preview": (
        "contracts/preview/",
        {"environment": "one", "availability_ratio": 0.95},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    "seal-create": (
        "seals/",
        {"environment": "one", "month": "2026-05"},
        _row(NO, DONE, NO, DONE, NO, UNKNOWN),
    ),
    "person-create": ("people/", {"username": "newcomer"}, _row(NO, NO, NO, DONE, NO, NO)),
    "person-change": (
        "people/{tom}/change/",
        {"is_active": False},
        _row(NO, NO, NO, DONE, NO, NO),
    ),
    "project-create": (
        "projects/",
        {"slug": "line-9", "name": "Line 9"},
        _row(NO, NO, NO, DONE, NO, NO),
    ),
    "project-change": (
        "projects/line-1/change/",
        {"quota_vcpus": 3},
        _row(NO, NO, NO, DONE, NO, HIDDEN),
    ),
    "member-create": (
        "members/",
        {"project": "line-1", "user": "tom", "role": "engineer"},
        _row(NO, NO, NO, DONE, NO, UNKNOWN),
    ),
    "member-destroy": ("members/{membership}/", {}, _row(NO, NO, NO, DONE, NO, HIDDEN)),
    "delegation-create": (
        "delegations/",
        {"taker": "tom", "ends_at": "{soon}"},
        _row(NO, DONE, NO, DONE, NO, NO),
    ),
    "notification-read": (
        "notifications/{notification}/read/",
        {},
        _row(DONE, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN),
    ),
    "notification-read-all": ("notifications/read-all/", {}, dict.fromkeys(PEOPLE, DONE)),
    "notification-choices": (
        "notifications/choices/",
        {"kind": "host.lost", "inbox": True, "mail": False},
        dict.fromkeys(PEOPLE, DONE),
    ),
    "webhook-create": (
        "webhooks/",
        {"name": "chat", "url": "https://1.1.1.1/hook"},
        _row(NO, NO, NO, DONE, NO, NO),
    ),
    "webhook-destroy": ("webhooks/{webhook}/", {}, _row(NO, NO, NO, DONE, NO, NO)),
    "webhook-rotate": ("webhooks/{webhook}/rotate/", {}, _row(NO, NO, NO, DONE, NO, NO)),
    "webhook-test": ("webhooks/{webhook}/test/", {}, _row(NO, NO, NO, DONE, NO, NO)),
    "webhook-switch": (
        "webhooks/{webhook}/switch/",
        {"enabled": False},
        _row(NO, NO, NO, DONE, NO, NO),
    ),
    "delivery-retry": (
        "deliveries/{delivery}/retry/",
        {},
        _row(HIDDEN, HIDDEN, HIDDEN, DONE, HIDDEN, HIDDEN),
    ),
    "delegation-end": (
        "delegations/{delegation}/end/",
        {},
        _row(HIDDEN, DONE, HIDDEN, DONE, HIDDEN, HIDDEN),
    ),
}


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
            f"{basename}-{name}"
            for name in ("create", "update", "destroy")
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
