"""The collection holds together: specs, defaults, READMEs, secrets, syntax, rendered files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import PrometheusConfig
from tests.support import collection

ROLES = sorted(path for path in (collection.ANSIBLE / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((collection.ANSIBLE / "playbooks").glob("*.yml"))
GOLDEN = Path(__file__).parent / "golden"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for task in tasks or []:
        found.append(task)
        for inner in ("block", "rescue", "always"):
            found += flat(task.get(inner, []))
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_has_all_its_parts_and_its_defaults_are_those_it_describes(role: Path) -> None:
    for part in ("preflight", "install", "configure", "verify", "main"):
        assert load(role / f"tasks/{part}.yml"), part
    assert (role / "handlers/main.yml").exists()
    spec = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(role / "defaults/main.yml")
    described = {name: row["default"] for name, row in spec.items() if "default" in row}
    wanted = {name: value for name, value in defaults.items() if not spec[name].get("required")}
    assert described == wanted
    assert all(name.startswith(f"{role.name}_") for name in spec)
    neither = [
        name for name, row in spec.items() if not row.get("required") and "default" not in row
    ]
    assert neither == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_uses_no_variable_that_nobody_gives(role: Path) -> None:
    known = set(load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"])
    text = ""
    for path in [
        *role.glob("tasks/*.yml"),
        *role.glob("handlers/*.yml"),
        *role.glob("templates/*"),
    ]:
        text += path.read_text(encoding="utf-8")
    made = set(
        re.findall(
            rf"(?:register: |index_var: |loop_var: |&|^\s*)({role.name}_\w+)(?::|$| )",
            text,
            re.MULTILINE,
        )
    )
    used = set(re.findall(rf"\b{role.name}_[a-z0-9_]+\b", text))
    assert used - made - known <= {f"{role.name}_own"}


def test_the_readmes_say_what_the_specs_say() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/role_readmes.py", "--check"],
        cwd=collection.ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_what_reads_a_secret_says_nothing_of_it() -> None:
    secret = re.compile(r"secrets|token|\.key|pki_authority_folder|pki_pair")
    checked = []
    for path in collection.ANSIBLE.glob("roles/*/tasks/*.yml"):
        for task in flat(load(path)):
            for module in ("ansible.builtin.slurp", "ansible.builtin.copy"):
                body = task.get(module)
                if not body or body.get("remote_src"):
                    continue
                content = str(body.get("content", "")) + (str(body) if "slurp" in module else "")
                if secret.search(content + str(task.get("loop", "") if "slurp" in module else "")):
                    checked.append(task["name"])
                    assert task.get("no_log") is True, f"{path.name}: {task['name']}"
    assert len(checked) >= 5


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_syntax_on_debians_ansible(playbook: Path, tmp_path: Path) -> None:
    environment = collection.link(tmp_path)
    done = collection.run(
        environment, "ansible-playbook", "-i", "inventories/plant", "--syntax-check", str(playbook)
    )
    assert done.returncode == 0, done.stdout + done.stderr


RENDER = """
- hosts: plant-1
  connection: local
  gather_facts: false
  vars_files: {defaults}
  tasks:
    - ansible.builtin.template: {{src: "{{{{ item.src }}}}", dest: "{{{{ item.dest }}}}"}}
      vars: {{unit: "{{{{ item.unit }}}}", ansible_managed: Managed by Ansible.}}
      loop: {files}
"""
INVENTORY = {
    "portal": {"hosts": {"plant-1": None}},
    "database": {"hosts": {"plant-1": None}},
    "hypervisors": {"hosts": {"plant-1": {"ansible_host": "10.20.0.11"}, "plant-2": None}},
}
VARIABLES = {
    "portal_plant": {"site": "plant", "cells": []},
    "realtime_cpus": "2-7",
    "realtime_house_cpus": "0,1",
    "realtime_hugepages_gb": 4,
    "hypervisor_interface": "eno2",
    "postgresql_clients": [{"name": "plant-2", "address": "10.20.0.12/32"}],
    "alertmanager_webhooks": ["http://10.20.0.5:9000/"],
    "time_servers": ["10.20.0.1"],
    "cell": {
        "slug": "line1",
        "bridge": "mwc-line1",
        "vxlan": 101,
        "remotes": ["10.20.0.11", "10.20.0.12"],
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every template, as Ansible renders it for the example plant."""
    folder = tmp_path_factory.mktemp("rendered")
    environment = collection.link(folder)
    out = folder / "out"
    out.mkdir()
    files = []
    for role in ROLES:
        for template in sorted(role.glob("templates/*.j2")):
            name = template.name.removesuffix(".j2")
            if name != "hardening":
                unit = "millwright-backup" if role.name == "backup" else ""
                files.append(
                    {"src": str(template), "dest": str(out / f"{role.name}.{name}"), "unit": unit}
                )
    playbook = folder / "render.yml"
    defaults = [str(role / "defaults/main.yml") for role in ROLES]
    playbook.write_text(RENDER.format(defaults=defaults, files=files))
    (folder / "hosts.yml").write_text(yaml.safe_dump(INVENTORY))
    more = json.dumps(VARIABLES)
    done = collection.run(
        environment, "ansible-playbook", "-i", str(folder / "hosts.yml"), "-e", more, str(playbook)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_rendered_files_are_the_golden_ones(rendered: Path) -> None:
    """After a wanted change: WRITE_GOLDEN=write, and read the difference before committing it."""
    if os.environ.get("WRITE_GOLDEN") == "write":
        for path in rendered.iterdir():
            (GOLDEN / path.name).write_bytes(path.read_bytes())
    assert {path.name for path in rendered.iterdir()} == {path.name for path in GOLDEN.iterdir()}
    for path in sorted(rendered.iterdir()):
        assert path.read_text() == (GOLDEN / path.name).read_text(), path.name


def test_units_are_closed_enough(rendered: Path, tmp_path: Path) -> None:
    units = [path for path in rendered.glob("*.service") if "@" not in path.name]
    # Those two are root's own tools, run for a moment.
    units = [path for path in units if not path.name.startswith(("backup", "realtime"))]
    assert len(units) == 5
    for path in units:
        unit = tmp_path / path.name.partition(".")[2]
        unit.write_bytes(path.read_bytes())
        done = subprocess.run(
            [
                "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25",
                str(unit),
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-300:] + done.stderr
        assert "Failed to parse" not in done.stderr


def test_scripts_are_shell(rendered: Path) -> None:
    for name in (
        "backup.millwright-backup",
        "backup.millwright-backup-log",
        "hypervisor.cell-network",
    ):
        subprocess.run(["sh", "-n", str(rendered / name)], check=True)


def test_prometheus_asks_what_the_product_would_have_it_ask(rendered: Path) -> None:
    """The role's file and the one `make up` generates differ in addresses and TLS only."""
    ours = load(rendered / "prometheus.prometheus.yml")
    theirs = PrometheusConfig(
        portal_url="https://plant-1",
        token_file=Path("/etc/prometheus/millwright/discovery.token"),
        static={
            "millwright-orchestrator": "127.0.0.1:8481",
            "millwright-gateway": "127.0.0.1:8482",
            "prometheus": "127.0.0.1:8490",
        },
        portal_metrics="/api/v1/prometheus/metrics",
        alertmanager="127.0.0.1:8491",
    ).document(Path("/etc/prometheus/millwright/rules"))

    def plain(document: Any) -> Any:
        if isinstance(document, dict):
            return {key: plain(value) for key, value in document.items() if key != "tls_config"}
        if isinstance(document, list):
            rows = [plain(value) for value in document]
            return (
                sorted(rows, key=lambda row: row.get("job_name", ""))
                if rows and isinstance(rows[0], dict)
                else rows
            )
        return document

    assert plain(ours) == plain(theirs)
