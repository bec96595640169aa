#!/usr/bin/python
# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Module millwright.plant.device."""

from __future__ import annotations

DOCUMENTATION = r"""
module: device
short_description: Have a device of the shop floor in the portal
version_added: 0.1.0
description:
  - Registers a device, or forgets one that nothing is mapped to.
  - A registered device is not changed; a difference is an error that names field and values.
author:
  - The Millwright developers (@millwright)
extends_documentation_fragment:
  - millwright.plant.portal
options:
  name:
    description: Name of the device in its project.
    type: str
    required: true
  state:
    description: Whether it is registered.
    type: str
    choices: [present, absent]
    default: present
  project:
    description: Line or department it belongs to.
    type: str
    required: true
  cell:
    description: Shop-floor network it is in. Needed for a new one.
    type: str
  protocol:
    description: How it is spoken to, as the portal names it. The portal's own default without it.
    type: str
  address:
    description: Its address. Needed for a new one.
    type: str
  port:
    description: Its port. The portal's own default without it.
    type: int
  unit:
    description: Modbus unit id.
    type: int
  rate_ms:
    description: Milliseconds between two polls.
    type: int
"""

EXAMPLES = r"""
- name: Register the filling station's remote I/O
  millwright.plant.device:
    name: filler-io
    project: line-1
    cell: line1
    protocol: modbus
    address: 10.60.1.50
    url: https://portal.plant
    token_file: ~/.config/millwright/token
"""

RETURN = r"""
device:
  description: The device as the portal has it; empty when it is absent.
  returned: always
  type: dict
"""

from typing import Any  # noqa: E402  # Ansible wants the documentation first

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.millwright.plant.plugins.module_utils.api import (  # noqa: E402
    ARGUMENTS,
    Api,
    ApiError,
)

FIELDS = ("cell", "protocol", "address", "port", "unit", "rate_ms")


def ensure(module: AnsibleModule, api: Api) -> dict[str, Any]:
    """Have the device, or not."""
    params = module.params
    rows = api.rows("devices/", name=params["name"], project__slug=params["project"])
    before = rows[0] if rows else None
    said = {name: params[name] for name in FIELDS if params[name] is not None}
    if params["state"] == "absent":
        if before is not None and not module.check_mode:
            api.call("DELETE", f"devices/{before['id']}/")
        gone: dict[str, Any] = {}
        return {
            "changed": before is not None,
            "device": gone,
            "diff": {"before": before or {}, "after": gone},
        }
    if before is not None:
        other = [f"{k} = {v!r}: it has {before[k]!r}" for k, v in said.items() if before[k] != v]
        if other:
            raise ApiError(0, "; ".join(other) + "; remove it first")
        return {"changed": False, "device": before, "diff": {"before": before, "after": before}}
    body = {"name": params["name"], "project": params["project"], **said}
    made = body if module.check_mode else api.post("devices/", body)
    return {"changed": True, "device": made, "diff": {"before": {}, "after": body}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "project": {"type": "str", "required": True},
            "cell": {"type": "str"},
            "protocol": {"type": "str"},
            "address": {"type": "str"},
            "port": {"type": "int"},
            "unit": {"type": "int"},
            "rate_ms": {"type": "int"},
        },
        required_if=[("state", "present", ("cell", "address"))],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module, Api.of(module.params)))
    except ApiError as error:
        module.fail_json(msg=f"device {module.params['name']}: {error}", status=error.status)


if __name__ == "__main__":
    main()
