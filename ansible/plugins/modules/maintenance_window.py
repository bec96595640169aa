#!/usr/bin/python
# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Module millwright.plant.maintenance_window."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_window
short_description: Have a maintenance window of an environment in the portal
version_added: 0.1.0
description:
  - Asks for a window, approves one that somebody else asked for, or takes it back.
  - A window is known by its environment, begin, end and recurrence. One that was rejected or taken back is no window.
  - Only approved windows are excluded from the service level.
author:
  - The Millwright developers (@millwright)
extends_documentation_fragment:
  - millwright.plant.portal
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  begins_at:
    description: Begin, as ISO 8601 with an offset, such as C(2026-12-01T06:00:00+01:00).
    type: str
    required: true
  ends_at:
    description: End, as ISO 8601 with an offset. At most 14 days after the begin.
    type: str
    required: true
  every_days:
    description: Again every so many days; 0 is once.
    type: int
    default: 0
  until:
    description: Last day of a recurring window (YYYY-MM-DD).
    type: str
  reason:
    description: Why, for the report; needed for a new one. For C(approved), why a late one may be.
    type: str
    default: ""
  state:
    description:
      - With C(present), it is asked for unless it is there already, decided or not.
      - With C(approved), one that is asked for is approved, by somebody else than who asked.
      - With C(absent), it is withdrawn, or closed when it has begun.
    type: str
    choices: [present, approved, absent]
    default: present
"""

EXAMPLES = r"""
- name: Ask for the window in which the filling line is upgraded
  millwright.plant.maintenance_window:
    environment: filling-line-1
    begins_at: "2026-12-01T06:00:00+01:00"
    ends_at: "2026-12-01T08:00:00+01:00"
    reason: Upgrade of the control plane
    url: https://portal.plant
    token_file: ~/.config/millwright/token
"""

RETURN = r"""
window:
  description: The window as the portal has it; empty when it is absent.
  returned: always
  type: dict
"""

import datetime as dt  # noqa: E402  # Ansible wants the documentation first
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.millwright.plant.plugins.module_utils.api import (  # noqa: E402
    ARGUMENTS,
    Api,
    ApiError,
)

#: States in which a window counts as one.
LIVE = ("requested", "approved", "active", "closed")


def moment(field: str, text: str) -> dt.datetime:
    """A time with its offset.

    Raises:
        ApiError: names field, value and rule.
    """
    try:
        value = dt.datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise ApiError(0, f"{field} = {text!r}: ISO 8601 with an offset, 2026-12-01T06:00:00+01:00")
    return value


def find(api: Api, params: dict[str, Any]) -> dict[str, Any] | None:
    """The window, or None."""
    span = tuple(moment(field, params[field]) for field in ("begins_at", "ends_at"))
    for row in api.rows("maintenance-windows/", environment__name=params["environment"]):
        if row["state"] not in LIVE:
            continue
        has = tuple(dt.datetime.fromisoformat(row[field]) for field in ("begins_at", "ends_at"))
        if has == span and (row["every_days"], row["until"]) == (
            params["every_days"],
            params["until"],
        ):
            return row
    return None


def answer(before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """What the task says."""
    return {
        "changed": (before or {}).get("state") != after.get("state"),
        "window": after,
        "diff": {"before": before or {}, "after": after},
    }


def absent(module: AnsibleModule, api: Api, before: dict[str, Any] | None) -> dict[str, Any]:
    """Take it back, or close it when it has begun."""
    if before is None or before["state"] == "closed":
        # What has been excluded is history, and stays.
        return {"changed": False, "window": {}, "diff": {"before": {}, "after": {}}}
    begun = moment("begins_at", before["begins_at"]) <= dt.datetime.now(dt.UTC)
    verb = "close" if begun and before["state"] != "requested" else "withdraw"
    if not module.check_mode:
        api.post(f"maintenance-windows/{before['id']}/{verb}/")
    return answer(before, {})


def ensure(module: AnsibleModule, api: Api) -> dict[str, Any]:
    """Have the window, have it approved, or not."""
    params = module.params
    before = find(api, params)
    if params["state"] == "absent":
        return absent(module, api, before)
    if before is None and params["state"] == "approved":
        raise ApiError(404, "nobody has asked for it: state = 'present' does, and another approves")
    if before is None:
        if not params["reason"].strip():
            raise ApiError(0, "reason is missing: it stands in the report")
        names = ("environment", "begins_at", "ends_at", "every_days", "until", "reason")
        body = {name: params[name] for name in names}
        made = {**body, "state": "requested"}
        return answer(None, made if module.check_mode else api.post("maintenance-windows/", body))
    if params["state"] == "present" or before["state"] != "requested":
        return answer(before, before)
    if module.check_mode:
        return answer(before, {**before, "state": "approved"})
    said = {"reason": params["reason"]}
    return answer(before, api.post(f"maintenance-windows/{before['id']}/approve/", said))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "environment": {"type": "str", "required": True},
            "begins_at": {"type": "str", "required": True},
            "ends_at": {"type": "str", "required": True},
            "every_days": {"type": "int", "default": 0},
            "until": {"type": "str"},
            "reason": {"type": "str", "default": ""},
            "state": {
                "type": "str",
                "choices": ["present", "approved", "absent"],
                "default": "present",
            },
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module, Api.of(module.params)))
    except ApiError as error:
        name = module.params["environment"]
        module.fail_json(msg=f"maintenance window of {name}: {error}", status=error.status)


if __name__ == "__main__":
    main()
