"""Playbooks against booted servers: the inventory of a small plant, and what a run of one did."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from millwright.cli.client import Api, wait_for

from tests.support import collection, nspawn

#: Where the plant's machines live, and where its portal has an address among them.
CELL = {"slug": "line1", "bridge": "mwc-line1"}


def connection(yard: nspawn.Yard) -> dict[str, Any]:
    """How Ansible reaches the servers of a yard."""
    return {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(yard.key),
        "ansible_ssh_common_args": " ".join(nspawn.ssh_options()),
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
    }


@dataclass
class Done:
    """What a playbook said."""

    text: str
    took_s: float
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Tasks that changed something, of all servers together."""
        return self.counts["changed"]

    def changes(self) -> list[str]:
        """The names of the tasks that changed something, for a message that helps."""
        found, task = [], ""
        for line in self.text.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.strip(" *")
            elif line.startswith("changed: "):
                found.append(f"{task} {line}")
        return found


def play(folder: Path, *words: str, limit_s: float = 600, may_fail: bool = False) -> Done:
    """Run a playbook to its end.

    Raises:
        AssertionError: it failed; with the end of what it said.
    """
    started = time.monotonic()
    done = collection.run(
        collection.link(folder), "nice", "ansible-playbook", *words, limit_s=limit_s
    )
    assert may_fail or done.returncode == 0, done.stdout[-4000:] + done.stderr
    counts = {
        name: sum(int(n) for n in re.findall(rf"\b{name}=(\d+)", done.stdout))
        for name in ("ok", "changed", "failed", "unreachable")
    }
    return Done(done.stdout, time.monotonic() - started, counts)


def bundle(folder: Path) -> Path:
    """The release's one file, built from this tree."""
    subprocess.run(
        [sys.executable, "scripts/release", "--dist", str(folder), "--bundle-only"],
        cwd=collection.ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*-bundle.tar"))


def next_release(folder: Path, version: str, migration: str = "", *, breaks: bool = False) -> Path:
    """The bundle of a later release: this tree with another version, perhaps a migration, perhaps a portal that
    does not start."""
    tree = folder / "tree"
    unwanted = (
        ".venv",
        ".git",
        "node_modules",
        "dist",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
    )
    shutil.copytree(collection.ROOT, tree, ignore=shutil.ignore_patterns(*unwanted), symlinks=True)
    for path, old in (
        ("pyproject.toml", r'^version = ".*"'),
        ("platform/millwright/__init__.py", r'^__version__ = ".*"'),
    ):
        text = (tree / path).read_text()
        new = re.sub(
            old, lambda found: f'{found[0].split("=")[0]}= "{version}"', text, flags=re.MULTILINE
        )
        assert new != text, path
        (tree / path).write_text(new)
    if migration:
        place = tree / "platform/millwright/inventory/migrations"
        last = max(path.stem for path in place.glob("0*.py"))
        (place / f"{int(last[:4]) + 1:04d}_upgrade_note.py").write_text(migration.format(last=last))
    if breaks:
        (tree / "platform/millwright/settings/asgi.py").write_text(
            "raise SystemExit('does not start')\n"
        )
    git = subprocess.run(
        ["git", "rev-parse", "--absolute-git-dir"],
        cwd=collection.ROOT, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    done = subprocess.run(
        [sys.executable, "scripts/release", "--dist", str(folder / "dist"), "--bundle-only"],
        cwd=tree, capture_output=True, text=True, env={**os.environ, "GIT_DIR": git},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(tree)
    return next((folder / "dist").glob("*-bundle.tar"))


class Portal:
    """The deployed portal as a person on another machine has it: https, the plant's authority, a token each."""

    def __init__(self, server: nspawn.Server, folder: Path) -> None:
        self.server = server
        self.ca = folder / f"ca-{server.name}.pem"
        self.ca.write_text(server.ssh("cat /etc/millwright/pki/ca.pem").stdout)
        self._apis: dict[str, Api] = {}

    def command(self, *words: str) -> str:
        """Run `millwright …` on its server as docs/operations says it; what it printed.

        Raises:
            AssertionError: it failed.
        """
        line = (
            "systemd-run --wait --pipe --collect --quiet --uid=millwright "
            "-p EnvironmentFile=/etc/millwright/millwright.env /opt/millwright/current/bin/millwright "
        )
        done = self.server.ssh(line + shlex.join(words), limit_s=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def api(self, user: str) -> Api:
        """The API with a token of that person."""
        if user not in self._apis:
            token = self.command(
                "user", "token", user, f"test of {self.server.name}", "--scope", "write"
            )
            self._apis[user] = Api(
                f"https://{self.server.address}", token, ca=str(self.ca), timeout_s=120
            )
        return self._apis[user]


class Plant:
    """Servers, the inventory that names them, and what was deployed to them."""

    def __init__(self, yard: nspawn.Yard, folder: Path, **variables: Any) -> None:
        self.yard, self.folder, self.variables = yard, folder, variables
        self.servers = {number: nspawn.Server(yard, number) for number in range(1, 6)}
        self.first = self.servers[1]
        self.hosts = [self.servers[number] for number in (1, 2, 3)]
        self.inventory = folder / "hosts.yml"
        self.deployed = Done("", 0.0, {"changed": 0})
        self._portal: Portal | None = None

    def write(self) -> None:
        """Have the inventory say what is so now."""
        write_inventory(self.inventory, self.yard, self.first, self.hosts, **self.variables)

    def deploy(self) -> None:
        """From nothing to a running plant."""
        self.deployed = self.play("site")

    def play(self, name: str, *words: str, limit_s: float = 1800, may_fail: bool = False) -> Done:
        """Run one of the collection's playbooks."""
        path = f"playbooks/{name}.yml"
        return play(
            self.folder, "-i", str(self.inventory), path, *words, limit_s=limit_s, may_fail=may_fail
        )

    def see_hosts_again(self) -> None:
        """Wait until the orchestrator has seen every host of the inventory after now.

        Raises:
            CliError: one was not seen within ten minutes.
        """
        api = self.portal.api("ada")
        before = {row["name"]: row["last_seen"] for row in api.rows("hosts/")}

        def seen() -> bool:
            rows = {row["name"]: row for row in api.rows("hosts/")}
            mine = [rows.get(server.name) for server in self.hosts]
            return all(
                row is not None
                and row["state"] == "up"
                and row["last_seen"] != before.get(row["name"])
                for row in mine
            )

        wait_for(seen, limit_s=600, every_s=1.0, what="the hosts")

    @property
    def portal(self) -> Portal:
        """The portal where it lives now."""
        if self._portal is None or self._portal.server is not self.first:
            self._portal = Portal(self.first, self.folder)
        return self._portal


def write_inventory(
    path: Path, yard: nspawn.Yard, first: nspawn.Server, hosts: list[nspawn.Server], **more: Any
) -> None:
    """A plant whose control plane lives on `first` and whose machines run on `hosts`."""
    everyone = {server.name: server for server in (first, *hosts)}
    control = {name: {"hosts": {first.name: None}} for name in ("portal", "database", "monitoring")}
    networks = [
        {
            **CELL,
            "vxlan": 101,
            "remotes": [server.address for server in everyone.values()],
            "address": "{{ '10.60.1.2/24' if 'portal' in group_names else '' }}",
        }
    ]
    variables: dict[str, Any] = {
        **connection(yard),
        "base_hosts": {
            "portal.plant": first.address,
            **{name: server.address for name, server in sorted(everyone.items())},
        },
        "pki_names": "{{ ['portal.plant'] if 'portal' in group_names else [] }}",
        "portal_public_name": "portal.plant",
        "portal_workers": 1,
        "postgresql_memory_mb": 64,
        "postgresql_archive_timeout_s": 10,
        "backup_folder": "/mnt/share/millwright",
        "portal_cells": [
            {
                **CELL,
                "cidr": "10.60.1.0/24",
                "gateway_address": "10.60.1.2",
                "monitoring_address": "10.60.1.2",
                "first_address": "10.60.1.100",
                "last_address": "10.60.1.199",
            }
        ],
        "portal_users": [
            {"username": "ada", "plant_role": "administrator"},
            {"username": "erin"},
            {"username": "max"},
        ],
        "portal_projects": [
            {
                "slug": "line-1",
                "name": "Line 1",
                "members": {"erin": "engineer", "max": "approver"},
            },
            {"slug": "line-2", "name": "Line 2"},
        ],
        "hypervisor_cells": networks,
        "portal_cell_networks": networks,
        "hypervisor_policy": {
            "housekeeping_cpus": "0",
            "shared_cpus": "0",
            "realtime_cpus": "1",
            "best_effort": True,
        },
        **more,
    }
    path.write_text(
        yaml.safe_dump(
            {
                **control,
                "hypervisors": {"hosts": {server.name: None for server in hosts}},
                "all": {
                    "hosts": {
                        name: {"ansible_host": server.address} for name, server in everyone.items()
                    },
                    "vars": variables,
                },
            }
        )
    )
