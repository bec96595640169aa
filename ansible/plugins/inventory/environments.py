# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""Inventory plugin millwright.plant.environments."""

from __future__ import annotations

DOCUMENTATION = r"""
name: environments
short_description: The plant's machines from the portal's API
version_added: 0.1.0
description:
  - Every machine becomes a host named C(environment-machine), with its address, state and endpoints.
  - Groups by project, line, template, state and host, such as C(project_line_1) and C(template_vplc).
author:
  - The Millwright developers (@millwright)
options:
  plugin:
    description: This plugin.
    type: str
    required: true
    choices: [millwright.plant.environments]
  url:
    description: Base address of the portal.
    type: str
    required: true
    env: [{name: MILLWRIGHT_PUBLIC_URL}]
  token:
    description: API token of scope C(read).
    type: str
    env: [{name: MILLWRIGHT_TOKEN}]
  token_file:
    description: File with the token.
    type: path
  ca_path:
    description: Certificate of the plant's authority.
    type: path
  timeout_s:
    description: Longest wait for one answer.
    type: int
    default: 30
  only_with_address:
    description: Leave out machines that have no address yet.
    type: bool
    default: true
"""

EXAMPLES = r"""
plugin: millwright.plant.environments
url: https://portal.plant
token_file: ~/.config/millwright/token
"""

import re  # noqa: E402  # Ansible wants the documentation first
from typing import Any  # noqa: E402

from ansible.errors import AnsibleParserError  # noqa: E402
from ansible_collections.millwright.plant.plugins.module_utils.api import (  # noqa: E402
    Api,
    ApiError,
    read_token,
)

from ansible.plugins.inventory import BaseInventoryPlugin  # noqa: E402


def group(kind: str, name: str) -> str:
    """A group's name as Ansible takes it."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{kind}_{name}")


class InventoryModule(BaseInventoryPlugin):
    """Reads environments with their machines, once."""

    NAME = "millwright.plant.environments"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(
            ("millwright.yml", "millwright.yaml", "environments.yml", "environments.yaml")
        )

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            token = read_token(self.get_option("token"), self.get_option("token_file"))
            api = Api(
                self.get_option("url"),
                token,
                self.get_option("ca_path"),
                self.get_option("timeout_s"),
            )
            environments = api.rows("environments/")
            templates = {
                row["environment"]: row["template"]
                for row in api.rows("requests/")
                if row["environment"]
            }
        except ApiError as error:
            raise AnsibleParserError(f"{path}: {error}") from None
        for environment in environments:
            for machine in environment["machines"]:
                if machine["address"] or not self.get_option("only_with_address"):
                    self._add(environment, machine, templates.get(environment["name"]))

    def _add(
        self, environment: dict[str, Any], machine: dict[str, Any], template: str | None
    ) -> None:
        name = f"{environment['name']}-{machine['name']}"
        self.inventory.add_host(name)
        groups = {
            "project": environment["project"],
            "line": machine["cell"],
            "template": template,
            "host": machine["host"],
            "state": environment["state"],
        }
        for kind, value in groups.items():
            if value:
                self.inventory.add_child(self.inventory.add_group(group(kind, value)), name)
        if machine["address"]:
            self.inventory.set_variable(name, "ansible_host", machine["address"])
        for field in ("modbus", "opcua", "metrics", "size", "service_class", "best_effort", "id"):
            self.inventory.set_variable(name, f"millwright_{field}", machine[field])
        self.inventory.set_variable(name, "millwright_environment", environment["name"])
        self.inventory.set_variable(name, "millwright_state", machine["state"])
