"""A plant of three booted servers, from nothing, and everything that is done to it in its life.

The servers are made once and live through all of it, as a plant's do: what a test leaves is what the next finds.
A controller scans and a client polls it from the day it is requested.
"""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.cli.client import wait_for

from tests.support import controller, deploying, nspawn, watching
from tests.support.lab import CACHE
from vmtemplates import load_templates
from vmtemplates.build import build_image

pytestmark = [pytest.mark.full, pytest.mark.lab]

#: What the next release does to the database; the one before still reads and writes it.
MIGRATION = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "{last}")]
    operations = [
        migrations.RunSQL("ALTER TABLE inventory_cell ADD COLUMN upgrade_note varchar(40)", migrations.RunSQL.noop)
    ]
"""
#: So long changes are made before the server is lost: the log goes beside the backups once a minute.
WRITING_S = 100.0


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[deploying.Plant]:
    """Three servers after `site.yml`; all tests of this module share them."""
    nspawn.needs_root()
    folder = tmp_path_factory.mktemp("plant")
    yard = nspawn.Yard.claim()
    made = deploying.Plant(
        yard,
        folder,
        base_bundle=str(deploying.bundle(folder / "dist")),
        portal_templates=["vplc"],
        portal_image_folder=str(images(folder / "images")),
    )
    try:
        made.write()
        for server in made.hosts:
            server.start()
        made.deploy()
        yield made
    finally:
        for server in made.servers.values():
            server.stop()
        yard.close()


@pytest.fixture(scope="module")
def poller(plant: deploying.Plant) -> watching.ModbusPoller:
    """A controller that was requested through the deployed portal, and a client that polls it ever since."""
    return controller.requested(plant)


def images(folder: Path) -> Path:
    """What was built outside: the controller's image, from the tests' cache."""
    built = build_image(load_templates()["vplc"], CACHE / "images", print)
    folder.mkdir()
    shutil.copytree(CACHE / "images" / built.name, folder / built.name, copy_function=os.link)
    return folder


def test_from_nothing_then_a_second_run_changes_nothing(plant: deploying.Plant) -> None:
    assert plant.deployed.changed > 50
    again = plant.play("site")
    assert again.changed == 0, again.changes()
    print(f"site.yml from nothing {plant.deployed.took_s:.0f} s, again {again.took_s:.0f} s")


def test_a_check_run_announces_nothing(plant: deploying.Plant) -> None:
    quiet = plant.play("site", "--check")
    assert quiet.changed == 0, quiet.changes()
    print(f"a check run {quiet.took_s:.0f} s")


def test_a_check_run_says_what_a_realtime_host_would_get(plant: deploying.Plant) -> None:
    """Containers cannot have another kernel, isolated CPUs or huge pages: they are told, and left as they are."""
    host = plant.servers[2]
    wanted = ("-e", "realtime_cpus=1", "-e", "realtime_hugepages_gb=1")
    told = plant.play("site", "--check", "--limit", host.name, *wanted)
    changes = "\n".join(told.changes())
    for task in ("Give the kernel its arguments", "Write the profile", "Keep asking"):
        assert task in changes, changes
    assert "millwright.plant.realtime" in changes
    assert all("millwright.plant.realtime" in line for line in told.changes()), changes
    paths = "/etc/default/grub.d/90-millwright.cfg /etc/tuned/millwright-realtime"
    assert host.ssh(f"ls -d {paths}").stdout == ""


def test_a_controller_is_requested_through_the_portal_and_answers(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    machine = controller.environment(plant)["machines"][0]
    host = next(server for server in plant.hosts if server.name == machine["host"])
    # The portal's server was drained: it is lost later.
    assert host is not plant.first
    running = host.ssh("virsh -c qemu:///system list --name").stdout.split()
    assert f"mw-{controller.NAME}-{machine['name']}" in running
    poller.mark()
    wait_for(lambda: poller.seen().answers > 5, limit_s=300, what="five answers")
    poller.seen().quiet()
    # A client that nobody registered is not heard.
    assert "Error" in poller.refused("10.60.1.10")


def test_an_upgrade_with_a_migration_leaves_control_alone(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    newer = deploying.next_release(plant.folder / "next", "0.2.0", MIGRATION)
    poller.mark()
    with watching.PortalAsker(plant.first.address, plant.portal.ca) as asker:
        done = plant.play("upgrade", "-e", f"base_bundle={newer}")
    assert plant.portal.command("--version").endswith("0.2.0")
    column = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'upgrade_note'"
    found = plant.first.ssh(f'cd / && runuser -u postgres -- psql -XtAqc "{column}" millwright')
    assert found.stdout.strip() == "1", found
    # What fails meanwhile is the short change over, and the portal is back.
    assert asker.answers and asker.answers[-1] > max((at for at, _ in asker.errors), default=0.0)
    plant.see_hosts_again()
    assert controller.environment(plant)["state"] == "running"
    seen = poller.seen()
    print(
        f"upgrade {done.took_s:.0f} s; the portal's longest silence {asker.longest_s:.1f} s, failed questions "
        f"{len(asker.errors)} of {len(asker.answers) + len(asker.errors)}; {seen}"
    )
    seen.quiet()
    plant.variables["base_bundle"] = str(newer)
    plant.write()


def test_certificates_are_rotated_while_clients_ask(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    doors = [(plant.first.address, 443)] + [(server.address, 16514) for server in plant.hosts]
    before = [ssl.get_server_certificate(door) for door in doors]
    poller.mark()
    with watching.PortalAsker(plant.first.address, plant.portal.ca) as asker:
        done = plant.play("rotate_certificates")
    assert done.changed
    after = [ssl.get_server_certificate(door) for door in doors]
    kept = [door for door, old, new in zip(doors, before, after, strict=True) if old == new]
    assert not kept, f"still with the old certificate: {kept}"
    assert asker.answers and not asker.errors, asker.errors[:5]
    # Hosts are seen through the new certificates too, not only over connections that stood before.
    plant.first.ssh("systemctl restart millwright-orchestrator")
    plant.see_hosts_again()
    seen = poller.seen()
    print(
        f"rotation {done.took_s:.0f} s, {len(asker.answers)} questions, none failed, the portal's longest silence "
        f"{asker.longest_s:.1f} s; {seen}"
    )
    seen.quiet()


def test_the_portals_server_is_lost_and_restored_elsewhere(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    plant.play("backup")
    poller.mark()
    written = controller.write_until_lost(plant, WRITING_S)
    log = sorted((plant.yard.share / "millwright/wal").iterdir(), key=lambda p: p.stat().st_mtime)
    # What was acknowledged before the last but one segment was archived is in the last one at the latest.
    safe = log[-2].stat().st_mtime
    authority = plant.portal.ca
    plant.first, plant.hosts = plant.servers[5], [h for h in plant.hosts if h is not plant.first]
    plant.first.start()
    plant.write()
    begun = time.monotonic()
    with watching.PortalAsker(plant.first.address, authority) as asker:
        restored = plant.play(
            "restore", "-e", "restore_from=/mnt/share/millwright", "-e", "restore_yes=true"
        )
        plant.play("site")
    took_s = time.monotonic() - begun
    assert asker.answers, asker.errors[-5:]
    there = {row["name"] for row in plant.portal.api("ada").rows("stations/")}
    missing = [(at, name) for at, name in written if name not in there]
    assert all(at > safe for at, _name in missing), "something archived was lost"
    # Only the end is missing, nothing in between.
    assert missing == written[len(written) - len(missing) :]
    plant.see_hosts_again()
    assert controller.environment(plant)["state"] == "running"
    # Lost is what was acknowledged after the last change that is known.
    known = [at for at, name in written if name in there]
    seen = poller.seen()
    print(
        f"a working portal {asker.first_s(begun):.0f} s after restore.yml began (that alone {restored.took_s:.0f} s), "
        f"the whole plant's site.yml done after {took_s:.0f} s; {len(missing)} of {len(written)} changes lost, those "
        f"of the last {written[-1][0] - max(known, default=written[0][0]):.1f} s; {seen}"
    )
    seen.quiet()


def test_a_fourth_host_takes_load_while_another_is_drained_upgraded_and_returned(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    ada, fourth = plant.portal.api("ada"), plant.servers[4]
    fourth.start()
    plant.hosts.append(fourth)
    plant.write()
    joined = plant.play("add_host")
    assert plant.play("add_host", "--limit", fourth.name).changed == 0
    plant.see_hosts_again()
    emptied = controller.host_of(plant)
    other = next(server for server in plant.hosts if server not in (emptied, fourth, plant.first))
    ada.post(f"hosts/{other.name}/cordon/", {"reason": "the new one is to take it"})
    drain = ("-e", f"drain_host={emptied.name}")
    poller.mark()
    drained = plant.play("drain", *drain, "-e", "drain_approve=true")
    assert drained.changed == 1
    assert ada.get(f"hosts/{emptied.name}/")["administration"] == "maintenance"
    assert controller.host_of(plant) is fourth
    moved = poller.seen()
    print(
        f"a host joined in {joined.took_s:.0f} s; another drained in {drained.took_s:.0f} s, its controller moved "
        f"to the new one: {moved}"
    )
    moved.quiet()
    newer = deploying.next_release(plant.folder / "later", "0.2.1")
    plant.play("upgrade", "--limit", emptied.name, "-e", f"base_bundle={newer}")
    says = (
        "/opt/millwright/current/bin/python -c 'import millwright; print(millwright.__version__)'"
    )
    assert emptied.ssh(says).stdout.strip() == "0.2.1" and other.ssh(says).stdout.strip() != "0.2.1"
    assert plant.play("drain", *drain, "-e", "drain_return=true").changed == 1
    assert ada.get(f"hosts/{emptied.name}/")["administration"] == "schedulable"
    plant.see_hosts_again()
    ada.post(f"hosts/{other.name}/uncordon/", {"reason": ""})
    plant.play("verify")
    poller.seen().quiet()


def test_an_upgrade_that_does_not_verify_is_backed_out(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    before = plant.portal.command("--version")
    current = [server.ssh("readlink /opt/millwright/current").stdout for server in plant.hosts]
    broken = deploying.next_release(plant.folder / "broken", "0.3.0", breaks=True)
    poller.mark()
    with watching.PortalAsker(plant.first.address, plant.portal.ca) as asker:
        done = plant.play("upgrade", "-e", f"base_bundle={broken}", may_fail=True)
    assert done.counts["failed"] == 1 and "the old one runs again" in done.text, done.text[-4000:]
    assert plant.portal.command("--version") == before
    assert plant.portal.api("erin").get("status/")
    after = [server.ssh("readlink /opt/millwright/current").stdout for server in plant.hosts]
    assert after == current
    seen = poller.seen()
    print(
        f"backed out after {done.took_s:.0f} s, the portal's longest silence {asker.longest_s:.1f} s; {seen}"
    )
    seen.quiet()


def test_a_host_is_taken_out_and_all_is_removed_while_the_controller_scans(
    plant: deploying.Plant, poller: watching.ModbusPoller
) -> None:
    carrier = controller.host_of(plant)
    spare = next(server for server in plant.hosts if server not in (carrier, plant.first))
    poller.mark()
    plant.play("remove_host", "-e", f"drain_host={spare.name}")
    assert spare.ssh("systemctl is-active millwright-agent").stdout.strip() == "inactive"
    assert spare.ssh("ls -d /etc/pki/libvirt /etc/millwright/pki").stdout == ""
    # libvirt still answers who asks on the host itself.
    assert spare.ssh("virsh -c qemu:///system list --name").returncode == 0
    refused = plant.play("remove", may_fail=True)
    assert refused.counts["failed"] and "give remove_yes=true" in refused.text
    assert plant.portal.api("erin").get("status/")
    plant.play("remove", "-e", "remove_yes=true")
    assert plant.first.ssh("ls -d /opt/millwright").stdout == ""
    units = plant.first.ssh("systemctl list-units --no-legend 'millwright-*'").stdout
    assert "running" not in units, units
    # Its state and the machines stay.
    assert plant.first.ssh("ls -d /var/lib/millwright").stdout
    assert f"mw-{controller.NAME}" in carrier.ssh("virsh list --name").stdout
    seen = poller.seen()
    print(f"a host taken out, then all removed: {seen}")
    seen.quiet()
