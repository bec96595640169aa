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
  - Waits, if asked to, until the orchestrator has seen it.
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
    description: Whether it takes new machines. Without it this is left as it is.
    type: str
    choices: [schedulable, cordoned]
  reason:
    description: Why, for the audit.
    type: str
    default: ""
  wait_s:
    description: Wait this long until the host is up; 0 does not wait.
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
"""

RETURN = r"""
host:
  description: The host as the portal has it; in check mode as it was.
  returned: always
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
_VERBS = {"cordoned": "cordon", "schedulable": "uncordon"}


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
    diff_before = dict(known) if before else {}
    diff_after = dict(wanted)
    row = before
    if (before is None or known != wanted) and not module.check_mode:
        row = api.post("hosts/", {"name": name, **wanted})
    administration = params["administration"]
    if administration and (row or {}).get("administration", "schedulable") != administration:
        diff_before["administration"] = (row or {}).get("administration", "schedulable")
        diff_after["administration"] = administration
        if not module.check_mode:
            row = api.post(
                f"hosts/{segment(name)}/{_VERBS[administration]}/", {"reason": params["reason"]}
            )
    changed = diff_before != diff_after
    if params["wait_s"] and not module.check_mode:
        row = _wait(api, name, params["wait_s"])
    return {
        "changed": changed,
        "host": row or {},
        "diff": {"before": diff_before, "after": diff_after},
    }


def _wait(api: Api, name: str, limit_s: int) -> dict[str, Any]:
    end = time.monotonic() + limit_s
    while True:
        row = api.get(f"hosts/{segment(name)}/") or {}
        if row.get("state") == "up":
            return row
        if time.monotonic() > end:
            raise ApiError(
                0,
                f"host {name} is not up within {limit_s} s: "
                f"{row.get('state')} {row.get('health_reason', '')}",
            )
        time.sleep(1)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "name": {"type": "str", "required": True},
            "uri": {"type": "str"},
            "address": {"type": "str"},
            "agent_url": {"type": "str"},
            "policy": {"type": "dict"},
            "administration": {"type": "str", "choices": ["schedulable", "cordoned"]},
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
