#!/usr/bin/python
# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Module millwright.plant.host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host
short_description: Have a libvirt host in the portal's pool
version_added: 0.1.0
description:
  - Registers a host, changes how it is registered, and sets whether it takes machines.
  - Empties it, if asked to: its machines move to other hosts, then it is in maintenance.
  - Waits, if asked to, until the orchestrator has seen it, or until it is empty.
author:
  - The Millwright developers (@millwright)
extends_documentation_fragment:
  - millwright.plant.portal
options:
  name:
    description: Name of the host in the pool.
    type: str
    required: true
  uri:
    description: libvirt URI as the orchestrator opens it. Needed for a host that is not registered yet.
    type: str
  address:
    description: Management address.
    type: str
  agent_url:
    description: Address of its agent, such as C(http://10.0.0.11:9177).
    type: str
  policy:
    description: CPU lists and limits. What the plant decided, whole.
    type: dict
  administration:
    description:
      - Whether it takes new machines. Without it this is left as it is.
      - C(drained) moves every machine away as well; the portal refuses it, with the reason for each, when one cannot leave.
    type: str
    choices: [schedulable, cordoned, drained]
  approve:
    description: With C(drained), move also what is moved only when a person approves it.
    type: bool
    default: false
  reason:
    description: Why, for the audit.
    type: str
    default: ""
  wait_s:
    description: Wait this long until the host is up, with C(drained) until nothing is left on it; 0 does not wait.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Register a press line's host
  millwright.plant.host:
    name: press-1
    uri: qemu+tls://10.0.0.11/system?pkipath=/etc/millwright/pki/orchestrator
    address: 10.0.0.11
    policy: {housekeeping_cpus: "0-1", realtime_cpus: "2-7"}
    url: https://portal.plant
    token_file: /var/lib/millwright/secrets/ansible.token
    ca_path: /etc/millwright/pki/ca.pem

- name: Empty it before work on it, within an hour
  millwright.plant.host:
    name: press-1
    administration: drained
    reason: new memory
    wait_s: 3600
    url: https://portal.plant
    token_file: /var/lib/millwright/secrets/ansible.token
    ca_path: /etc/millwright/pki/ca.pem
"""

RETURN = r"""
host:
  description: The host as the portal has it; in check mode as it was.
  returned: always
  type: dict
readiness:
  description:
    - What the portal found when it asked a host that is new to it, such as CPUs, memory, KVM, with a sentence for each
      in C(findings). Empty where the portal could not ask it yet; why is in C(warnings), as is what the host lacks.
  returned: when the host is new to the portal
  type: dict
"""

import time  # noqa: E402  # Ansible wants the documentation first
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.millwright.plant.plugins.module_utils.api import (  # noqa: E402
    ARGUMENTS,
    Api,
    ApiError,
    segment,
)

FIELDS = ("uri", "address", "agent_url", "policy")
_VERBS = {"cordoned": "cordon", "schedulable": "uncordon", "drained": "drain"}
#: What a host says of itself that was told to be drained: still at it, or done.
_DRAINED = ("draining", "maintenance")


def wanted_row(params: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What is to be, as far as it was said; the rest stays as it was."""
    row = {name: params[name] if params[name] is not None else before.get(name) for name in FIELDS}
    return row | {"policy": row["policy"] or {}, "agent_url": row["agent_url"] or ""}


def ensure(module: AnsibleModule, api: Api) -> dict[str, Any]:
    """Have the host; what changed, before and after."""
    params, name = module.params, module.params["name"]
    before = api.get(f"hosts/{segment(name)}/")
    if before is None and not params["uri"]:
        raise ApiError(0, f"uri is missing: host {name!r} is not registered yet")
    wanted = wanted_row(params, before or {})
    known = {field: (before or {}).get(field) for field in FIELDS}
    if "agent_url" not in (before or {}):
        # An older portal does not show it: it is told again with the next change only.
        known["agent_url"] = wanted["agent_url"]
    readiness = None if before else _readiness(module, api, name, params["uri"])
    diff_before = dict(known) if before else {}
    diff_after = dict(wanted)
    row = before
    if (before is None or known != wanted) and not module.check_mode:
        row = api.post("hosts/", {"name": name, **wanted})
    wanted_state = params["administration"]
    now = (row or {}).get("administration", "schedulable")
    if wanted_state and not _is(now, wanted_state):
        diff_before["administration"], diff_after["administration"] = now, wanted_state
        if wanted_state == "drained":
            _refuse_what_stays(api, name, before, params["approve"])
        if not module.check_mode:
            said = {"reason": params["reason"]}
            if wanted_state == "drained":
                said["approve"] = params["approve"]
            row = api.post(f"hosts/{segment(name)}/{_VERBS[wanted_state]}/", said)
    changed = diff_before != diff_after
    if params["wait_s"] and not module.check_mode:
        row = _wait(api, name, params["wait_s"], empty=wanted_state == "drained")
    return {
        "changed": changed,
        "host": row or {},
        "diff": {"before": diff_before, "after": diff_after},
        **({} if readiness is None else {"readiness": readiness}),
    }


def _readiness(module: AnsibleModule, api: Api, name: str, uri: str) -> dict[str, Any]:
    """What the portal says of a host that it does not know; nothing is changed on it."""
    try:
        report: dict[str, Any] = api.post("hosts/check/", {"name": name, "uri": uri})
    except ApiError as error:
        # A host may be entered before it answers: the orchestrator goes on trying.
        module.warn(f"host {name} could not be asked: {error}")
        return {}
    for finding in report["findings"]:
        if not finding["ok"]:
            module.warn(f"host {name}: {finding['text']}")
    return report


def _is(now: str, wanted: str) -> bool:
    return now in _DRAINED if wanted == "drained" else now == wanted


def _refuse_what_stays(api: Api, name: str, known: dict[str, Any] | None, approve: bool) -> None:
    """Say all that stays before anything begins, in a check run too. A host that is new has nothing on it."""
    plan = api.get(f"hosts/{segment(name)}/drain/") if known else None
    if plan is None:
        return
    why = [blocker["why"] for blocker in plan["blockers"]]
    if not approve:
        asking = [move["machine"] for move in plan["moves"] if move["approval"]]
        why += [f"{machine}: moved only when a person approves it (approve)" for machine in asking]
    if why:
        raise ApiError(400, "cannot be drained: " + "; ".join(why))


def _wait(api: Api, name: str, limit_s: int, *, empty: bool) -> dict[str, Any]:
    end = time.monotonic() + limit_s
    while True:
        row = api.get(f"hosts/{segment(name)}/") or {}
        if row.get("administration") == "maintenance" if empty else row.get("state") == "up":
            return row
        if time.monotonic() > end:
            raise ApiError(0, f"{_missing(api, name, empty)} within {limit_s} s: {_state(row)}")
        time.sleep(1)


def _missing(api: Api, name: str, empty: bool) -> str:
    if not empty:
        return f"host {name} is not up"
    plan = api.get(f"hosts/{segment(name)}/drain/") or {}
    left = [entry["machine"] for key in ("blockers", "moves") for entry in plan.get(key, ())]
    return f"host {name} is not empty, {', '.join(left) or 'its last machine'} is on it,"


def _state(row: dict[str, Any]) -> str:
    return " ".join(filter(None, (row.get("state"), row.get("health_reason"))))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "name": {"type": "str", "required": True},
            "uri": {"type": "str"},
            "address": {"type": "str"},
            "agent_url": {"type": "str"},
            "policy": {"type": "dict"},
            "administration": {"type": "str", "choices": ["schedulable", "cordoned", "drained"]},
            "approve": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "wait_s": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module, Api.of(module.params)))
    except ApiError as error:
        module.fail_json(msg=f"host {module.params['name']}: {error}", status=error.status)


if __name__ == "__main__":
    main()
