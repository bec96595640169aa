#!/usr/bin/python
# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Module millwright.plant.environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment
short_description: Have an environment requested, running, stopped or removed
version_added: 0.1.0
description:
  - Requests an environment as a person would, with the same quota, approval and audit.
  - An environment that exists is never rebuilt; a difference in template, project or size is an error, since
    it would need a new environment.
author:
  - The Millwright developers (@millwright)
extends_documentation_fragment:
  - millwright.plant.portal
options:
  name:
    description: Name of the environment.
    type: str
    required: true
  state:
    description: What it should be.
    type: str
    choices: [running, stopped, absent]
    default: running
  project:
    description: Line or department. Needed for a new one.
    type: str
  template:
    description: Template of its machine. Needed for a new one.
    type: str
  size:
    description: Size of its machine. Needed for a new one.
    type: str
  cell:
    description: Shop-floor network it is attached to.
    type: str
  program_version:
    description: Id of the control program's version to begin with.
    type: str
  strict_realtime:
    description: Refuse a host that cannot keep the promise, rather than best effort.
    type: bool
    default: false
  lease_days:
    description: Days it is wanted.
    type: int
    default: 30
  justification:
    description: Why, for whoever approves.
    type: str
    default: ""
  approve:
    description: Approve the request with the same token, if its user may.
    type: bool
    default: false
  wait_s:
    description: Wait this long for the state; 0 does not wait.
    type: int
    default: 900
"""

EXAMPLES = r"""
- name: Have the filling line's vPLC
  millwright.plant.environment:
    name: filling-line-1
    project: line-1
    template: vplc
    size: small
    cell: line1
    approve: true
    url: https://portal.plant
    token_file: ~/.config/millwright/token
"""

RETURN = r"""
environment:
  description: The environment as the portal has it; empty while its request waits for approval.
  returned: always
  type: dict
request:
  description: The open request, if there is one.
  returned: when a request was made or waits
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

OPEN = ("draft", "submitted", "approved")
#: state wanted → states in which nothing is to be done
DONE = {"running": ("running", "degraded"), "stopped": ("stopped",)}
BUSY = ("reserved", "provisioning", "removing")


def ensure(module: AnsibleModule, api: Api) -> dict[str, Any]:
    """Have the environment in the wanted state."""
    params = module.params
    name, state = params["name"], params["state"]
    before = api.get(f"environments/{segment(name)}/")
    shown = before["state"] if before else "absent"
    result: dict[str, Any] = {"changed": False, "environment": before or {}}
    if state == "absent":
        if before is not None and shown != "removing":
            result["changed"] = True
            if not module.check_mode:
                api.post(f"environments/{segment(name)}/remove/", {"reason": _reason(params)})
        if not module.check_mode and params["wait_s"]:
            _wait(api, name, ("absent",), params["wait_s"])
            result["environment"] = {}
    elif before is None:
        result |= _request(module, api)
    else:
        _refuse_other(params, before)
        if shown not in DONE[state] and shown not in BUSY:
            result["changed"] = True
            verb = "start" if state == "running" else "stop"
            if not module.check_mode:
                api.post(f"environments/{segment(name)}/{verb}/", {"reason": _reason(params)})
        if not module.check_mode and params["wait_s"]:
            result["environment"] = _wait(api, name, DONE[state], params["wait_s"])
    after = state if result["changed"] or before is None else shown
    result["diff"] = {"before": {"state": shown}, "after": {"state": after}}
    return result


def _reason(params: dict[str, Any]) -> str:
    return params["justification"] or "environments as code"


def _refuse_other(params: dict[str, Any], row: dict[str, Any]) -> None:
    there = {"project": row["project"], "size": (row["machines"] or [{}])[0].get("size")}
    for field, value in there.items():
        if params[field] and value and params[field] != value:
            raise ApiError(
                0, f"{field} = {params[field]!r}: the environment has {value!r}; make a new one"
            )


def _request(module: AnsibleModule, api: Api) -> dict[str, Any]:
    params = module.params
    missing = [name for name in ("project", "template", "size") if not params[name]]
    if missing:
        raise ApiError(0, f"{', '.join(missing)}: needed for an environment that does not exist")
    rows = [row for row in api.rows("requests/", name=params["name"]) if row["state"] in OPEN]
    made = rows[0] if rows else None
    body = {
        field: params[field]
        for field in (
            "name", "project", "template", "size", "cell", "program_version", "strict_realtime",
            "lease_days", "justification",
        )
    }  # fmt: skip
    if module.check_mode:
        if made is None:
            # The portal's own checks, without a change: quota, template, size, a host that fits.
            api.post("requests/preview/", body)
        return {"changed": made is None or params["approve"], "request": made or {}}
    changed = False
    if made is None:
        made, changed = api.post("requests/", body), True
    if made["state"] == "draft":
        made, changed = api.post(f"requests/{made['id']}/submit/"), True
    if made["state"] == "submitted" and params["approve"]:
        made = api.post(f"requests/{made['id']}/approve/", {"reason": _reason(params)})
        changed = True
    result: dict[str, Any] = {"changed": changed, "request": made, "environment": {}}
    if made["state"] == "approved" and params["wait_s"]:
        wanted = DONE["running"]
        result["environment"] = _wait(api, params["name"], wanted, params["wait_s"])
    return result


def _wait(api: Api, name: str, states: tuple[str, ...], limit_s: int) -> dict[str, Any]:
    end = time.monotonic() + limit_s
    while True:
        row = api.get(f"environments/{segment(name)}/") or {"state": "absent", "state_reason": ""}
        if row["state"] in states:
            return row
        if row["state"] == "failed":
            raise ApiError(0, f"failed: {row['state_reason']}")
        if time.monotonic() > end:
            raise ApiError(
                0,
                f"not {' or '.join(states)} within {limit_s} s: {row['state']} {row['state_reason']}",
            )
        time.sleep(1)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["running", "stopped", "absent"],
                "default": "running",
            },
            "project": {"type": "str"},
            "template": {"type": "str"},
            "size": {"type": "str"},
            "cell": {"type": "str"},
            "program_version": {"type": "str"},
            "strict_realtime": {"type": "bool", "default": False},
            "lease_days": {"type": "int", "default": 30},
            "justification": {"type": "str", "default": ""},
            "approve": {"type": "bool", "default": False},
            "wait_s": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module, Api.of(module.params)))
    except ApiError as error:
        module.fail_json(msg=f"environment {module.params['name']}: {error}", status=error.status)


if __name__ == "__main__":
    main()
