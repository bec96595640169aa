#!/usr/bin/python
# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Module millwright.plant.template."""

from __future__ import annotations

DOCUMENTATION = r"""
module: template
short_description: Have a template offered in the catalogue, or not
version_added: 0.1.0
description:
  - Templates come with a release and are entered by the portal's role; this module says which of them people find.
  - Machines made from a template that is no longer offered stay as they are.
author:
  - The Millwright developers (@millwright)
extends_documentation_fragment:
  - millwright.plant.portal
options:
  name:
    description: Name of the template.
    type: str
    required: true
  state:
    description: Whether people find it in the catalogue.
    type: str
    choices: [offered, hidden]
    default: offered
  image:
    description: With C(ready), it is an error when the image of its newest version is not built.
    type: str
    choices: [any, ready]
    default: any
"""

EXAMPLES = r"""
- name: Offer CAE nodes
  millwright.plant.template:
    name: cae-node
    image: ready
    url: https://portal.plant
    token_file: ~/.config/millwright/token

- name: Offer no CAD workstations here
  millwright.plant.template:
    name: cad-workstation
    state: hidden
    url: https://portal.plant
    token_file: ~/.config/millwright/token
"""

RETURN = r"""
template:
  description: The newest version of the template as the portal has it.
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


def ensure(module: AnsibleModule, api: Api) -> dict[str, Any]:
    """Have it offered, or not."""
    params = module.params
    rows = api.rows("templates/", template__name=params["name"], hidden="true")
    if not rows:
        raise ApiError(
            404, "there is none of that name; millwright template sync enters those of a release"
        )
    before = rows[0]
    offered = params["state"] == "offered"
    if params["image"] == "ready" and before["image_state"] != "ready":
        raise ApiError(
            0,
            f"image = 'ready': that of version {before['version']} is {before['image_state']}; "
            f"millwright template build {params['name']} builds it",
        )
    changed = before["offered"] != offered
    after = {**before, "offered": offered}
    if changed and not module.check_mode:
        after = api.post(f"templates/{before['id']}/{'offer' if offered else 'hide'}/")
    return {
        "changed": changed,
        "template": after,
        "diff": {
            "before": {"offered": before["offered"]},
            "after": {"offered": offered},
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["offered", "hidden"], "default": "offered"},
            "image": {"type": "str", "choices": ["any", "ready"], "default": "any"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure(module, Api.of(module.params)))
    except ApiError as error:
        module.fail_json(msg=f"template {module.params['name']}: {error}", status=error.status)


if __name__ == "__main__":
    main()
