"""Roles on booted servers: one role in CI, the whole plant in `make test-full`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import collection, nspawn

pytestmark = pytest.mark.lab


def inventory(folder: Path, servers: list[nspawn.Server], **variables: Any) -> Path:
    first, hosts = servers[0].name, {s.name: {"ansible_host": s.address} for s in servers}
    groups = {name: {"hosts": {first: None}} for name in ("portal", "database", "monitoring")}
    common = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(nspawn.STATE / "key"),
        "ansible_ssh_common_args": " ".join(nspawn.ssh_options()),
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    path = folder / "hosts.yml"
    path.write_text(
        yaml.safe_dump(
            {**groups, "hypervisors": {"hosts": hosts}, "all": {"vars": {**common, **variables}}}
        )
    )
    return path


def play(folder: Path, *words: str, limit_s: float = 120) -> dict[str, int]:
    """Run a playbook; counts of all hosts together."""
    environment = collection.link(folder)
    done = collection.run(environment, "nice", "ansible-playbook", *words, limit_s=limit_s)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    counts = {"changed": 0, "failed": 0}
    for name in counts:
        counts[name] = sum(int(n) for n in re.findall(rf"{name}=(\d+)", done.stdout))
    return counts


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Iterator[list[nspawn.Server]]:
    nspawn.needs_root()
    made = [nspawn.Server(number) for number in range(1, request.param + 1)]
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.stop()
        nspawn.remove_bridge()


ONE_ROLE = """
- hosts: hypervisors
  tasks:
    - ansible.builtin.apt: {update_cache: true}
      changed_when: false
    - ansible.builtin.import_role: {name: millwright.plant.time}
"""


@pytest.mark.parametrize("servers", [1], indirect=True)
def test_one_role_on_one_server(servers: list[nspawn.Server], tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(ONE_ROLE)
    hosts = inventory(tmp_path, servers, time_servers=["10.98.0.1"])
    words = ("-i", str(hosts), str(tmp_path / "one.yml"))
    assert play(tmp_path, *words)["changed"] >= 2
    assert "server 10.98.0.1 iburst" in servers[0].ssh("cat /etc/chrony/chrony.conf").stdout
    assert play(tmp_path, *words)["changed"] == 0
    assert play(tmp_path, "--check", *words)["changed"] == 0
    refused = collection.run(
        collection.link(tmp_path), "ansible-playbook", *words, "-e", "time_local_stratum=16"
    )
    assert refused.returncode and "time_local_stratum = 16: 0 to 15" in refused.stdout


@pytest.mark.full
@pytest.mark.parametrize("servers", [3], indirect=True)
def test_a_plant_from_nothing(servers: list[nspawn.Server], tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "scripts/release", "--dist", str(tmp_path / "dist"), "--bundle-only"],
        cwd=collection.ROOT, check=True, capture_output=True,
    )  # fmt: skip
    cell = {"slug": "line1", "bridge": "mwc-line1"}
    hosts = inventory(
        tmp_path,
        servers,
        base_bundle=str(next((tmp_path / "dist").glob("*-bundle.tar"))),
        base_hosts={server.name: server.address for server in servers},
        portal_workers=1,
        postgresql_memory_mb=64,
        portal_cells=[
            {
                **cell,
                "cidr": "10.60.1.0/24",
                "gateway_address": "10.60.1.2",
                "first_address": "10.60.1.100",
                "last_address": "10.60.1.199",
            }
        ],
        hypervisor_cells=[{**cell, "vxlan": 101, "remotes": [s.address for s in servers]}],
        hypervisor_policy={"housekeeping_cpus": "0", "best_effort": True},
    )
    site = ("-i", str(hosts), "playbooks/site.yml")
    assert play(tmp_path, *site, limit_s=1500)["changed"] > 50
    assert play(tmp_path, *site, limit_s=900)["changed"] == 0
    assert play(tmp_path, "--check", *site, limit_s=900)["changed"] == 0
    play(tmp_path, "-i", str(hosts), "playbooks/verify.yml", limit_s=600)
    drain = ("-i", str(hosts), "playbooks/drain.yml", "-e", f"drain_host={servers[1].name}")
    assert play(tmp_path, *drain)["changed"] == 1
    assert play(tmp_path, *drain, "-e", "drain_return=true")["changed"] == 1
