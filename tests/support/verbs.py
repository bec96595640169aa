"""Every verb of the API that changes something: its path, a body, and who may."""

from __future__ import annotations

from typing import Any

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
    "request-alike": (
        "requests/alike/",
        {
            "name": "more",
            "project": "line-1",
            "template": "vplc",
            "size": "small",
            "cell": "line1",
            "copies": 2,
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
    # A draft is changed by the one who wrote it; or who administers; whoever else sees it is refused.
    "request-partial-update": (
        "requests/{draft}/",
        {"lease_days": 7, "justification": "a week is enough"},
        _row(DONE, NO, NO, DONE, NO, HIDDEN),
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
    "environment-disruption": (
        "environments/one/disruption/",
        {"disruption": 600},
        _row(NO, NO, DONE, DONE, NO, HIDDEN),
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
    "station-destroy": (
        "stations/{station}/",
        {},
        _row(NO, NO, NO, DONE, NO, HIDDEN),
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
    "recommendation-calendar": (
        "recommendations/calendar/",
        {"lines": []},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "recommendation-mode": (
        "recommendations/mode/",
        {"mode": "shadow"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "recommendation-consolidation": (
        "recommendations/consolidation/",
        {"mode": "shadow"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    # No round has named this host.
    "recommendation-consolidation/empty": (
        "recommendations/consolidation/empty/",
        {"host": "mw0-h1"},
        _row(NO, NO, UNKNOWN, UNKNOWN, NO, NO),
    ),
    "machine-entitlement": (
        "machines/{machine}/entitlement/",
        {"shares": 400},
        _row(NO, NO, DONE, DONE, NO, HIDDEN),
    ),
    "host-sleep": (
        "hosts/mw0-h4/sleep/",
        {"reason": "night"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
    "host-wake": ("hosts/mw0-h5/wake/", {"reason": "work"}, _row(NO, NO, DONE, DONE, NO, NO)),
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
    "old-disk-remove": (
        "old-disks/{old_disk}/remove/",
        {"word": "old.qcow2", "reason": "the values were given back"},
        _row(NO, NO, DONE, DONE, NO, NO),
    ),
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
    "notification-language": (
        "notifications/language/",
        {"language": "de"},
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
