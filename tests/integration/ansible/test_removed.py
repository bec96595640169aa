"""A plant on one server, as small as they come, that is removed, comes back, and is removed with all it knew."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.cli.client import wait_for

from tests.support import deploying, nspawn

pytestmark = [pytest.mark.full, pytest.mark.lab]

#: A machine of the cell, started by hand: no disk, and nothing that the control plane would know of.
MACHINE = """<domain type='qemu'><name>bystander</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><interface type='bridge'><source bridge='mwc-line1'/></interface></devices></domain>"""
YES = ("-e", "remove_yes=true")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[deploying.Plant]:
    nspawn.needs_root()
    yard = nspawn.Yard.claim()
    made = deploying.Plant(yard, tmp_path, base_bundle=str(deploying.bundle(tmp_path / "dist")))
    made.hosts = [made.first]
    try:
        made.write()
        made.first.start()
        made.deploy()
        yield made
    finally:
        made.first.stop()
        yard.close()


def door(server: nspawn.Server, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((server.address, port), 5).close()
    except OSError:
        return False
    return True


def said(server: nspawn.Server, command: str) -> str:
    """What a command on it printed.

    Raises:
        AssertionError: it failed.
    """
    done = server.ssh(command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def asked(server: nspawn.Server, question: str, database: str = "millwright") -> str:
    """PostgreSQL's answer."""
    return said(server, f'cd / && runuser -u postgres -- psql -XtAqc "{question}" {database}')


def runs_on(server: nspawn.Server) -> None:
    """The machine and its network are not touched by any of it."""
    # libvirt is asked while it may be starting again.
    listed = "virsh -c qemu:///system list --name"
    wait_for(
        lambda: "bystander" in server.ssh(listed).stdout.split(), limit_s=60, what="the machine"
    )
    assert "mwc-line1" in said(server, "ip -o link show type bridge")


def test_the_control_plane_is_removed_comes_back_and_goes_for_good(plant: deploying.Plant) -> None:
    server, ada = plant.first, plant.portal.api("ada")
    (server.root / "root/bystander.xml").write_text(MACHINE)
    said(server, "virsh -c qemu:///system create /root/bystander.xml")
    station = {
        "project": "line-1",
        "cell": "line1",
        "name": "desk",
        "cidr": "10.60.1.9/32",
        "write_ranges": [],
    }
    ada.post("stations/", station)

    refused = plant.play("remove", may_fail=True)
    assert refused.counts["failed"] == 1 and "give remove_yes=true" in refused.text, refused.text
    told = plant.play("remove", *YES, "--check")
    assert told.changed > 5
    assert [row["name"] for row in ada.rows("stations/")] == ["desk"]

    removed = plant.play("remove", *YES)
    assert not door(server, 443) and not door(server, 16514) and not door(server, 9090)
    units = said(server, "systemctl list-units --plain --no-legend --state=active 'millwright-*'")
    assert [line.split()[0] for line in units.splitlines()] == ["millwright-cell@line1.service"]
    runs_on(server)
    assert asked(server, "SELECT count(*) FROM inventory_host") == "1"
    assert asked(server, "SHOW archive_mode") == "off"
    again = plant.play("remove", *YES)
    assert again.changed == 0, again.changes()

    returned = plant.play("site")
    assert [row["name"] for row in ada.rows("stations/")] == ["desk"]
    assert door(server, 16514)
    before = ada.get(f"hosts/{server.name}/")["last_seen"]
    wait_for(
        lambda: ada.get(f"hosts/{server.name}/")["last_seen"] != before,
        limit_s=300,
        what="the orchestrator to see the host",
    )
    runs_on(server)

    for_good = ("-e", "remove_data=true")
    plant.play("remove", *YES, *for_good)
    databases = asked(server, "SELECT datname FROM pg_database", "postgres").split()
    assert "postgres" in databases and "millwright" not in databases
    left = said(
        server, "find / -xdev -iname '*millwright*' -not -path '/mirror/*' -not -path '/proc/*'"
    )
    print(
        f"removed in {removed.took_s:.0f} s, back in {returned.took_s:.0f} s; left for good: {left.split()}"
    )
    secrets = said(
        server, "ls -d /etc/millwright /var/lib/millwright* /etc/prometheus/millwright 2>&1 || true"
    )
    assert secrets.count("No such file") == 3, secrets
    runs_on(server)
    again = plant.play("remove", *YES, *for_good)
    assert again.changed == 0, again.changes()
