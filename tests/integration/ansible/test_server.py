"""One role on one booted server; the whole plant is in test_plant.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import collection, deploying, nspawn

pytestmark = pytest.mark.lab


@pytest.fixture
def server() -> Iterator[nspawn.Server]:
    nspawn.needs_root()
    yard = nspawn.Yard.claim()
    made = nspawn.Server(yard, 1)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        yard.close()


ONE_ROLE = """
- hosts: hypervisors
  tasks:
    - ansible.builtin.apt: {update_cache: true}
      changed_when: false
    - ansible.builtin.import_role: {name: millwright.plant.time}
"""


def test_one_role_on_one_server(server: nspawn.Server, tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(ONE_ROLE)
    hosts = tmp_path / "hosts.yml"
    variables = {**deploying.connection(server.yard), "time_servers": ["10.98.0.1"]}
    row = {server.name: {"ansible_host": server.address}}
    hosts.write_text(yaml.safe_dump({"hypervisors": {"hosts": row, "vars": variables}}))
    words = ("-i", str(hosts), str(tmp_path / "one.yml"))
    assert deploying.play(tmp_path, *words).changed >= 2
    assert "server 10.98.0.1 iburst" in server.ssh("cat /etc/chrony/chrony.conf").stdout
    assert deploying.play(tmp_path, *words).changed == 0
    assert deploying.play(tmp_path, "--check", *words).changed == 0
    refused = collection.run(
        collection.link(tmp_path), "ansible-playbook", *words, "-e", "time_local_stratum=16"
    )
    assert refused.returncode and "time_local_stratum = 16: 0 to 15" in refused.stdout
