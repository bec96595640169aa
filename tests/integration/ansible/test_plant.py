"""A plant of three booted servers, from nothing, and everything that is done to it in its life."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import deploying, nspawn
from tests.support.lab import CACHE
from vmtemplates import load_templates
from vmtemplates.build import build_image

pytestmark = [pytest.mark.full, pytest.mark.lab]


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
        portal_image_folder=str(_images(folder / "images")),
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


def _images(folder: Path) -> Path:
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


def test_a_check_run_says_what_a_realtime_host_would_get(plant: deploying.Plant) -> None:
    """Containers cannot have another kernel, isolated CPUs or huge pages: they are told, and left as they are."""
    host = plant.servers[2]
    wanted = ("-e", "realtime_cpus=1", "-e", "realtime_hugepages_gb=1")
    told = plant.play("site", "--check", "--limit", host.name, *wanted)
    changes = told.changes()
    for task in ("Give the kernel its arguments", "Write the profile", "Keep asking"):
        assert any(task in line for line in changes), changes
    assert all("millwright.plant.realtime" in line for line in changes), changes
    paths = "/etc/default/grub.d/90-millwright.cfg /etc/tuned/millwright-realtime"
    assert host.ssh(f"ls -d {paths}").stdout == ""


def test_a_host_is_drained_and_returned(plant: deploying.Plant) -> None:
    plant.play("verify")
    drain = ("-e", f"drain_host={plant.servers[2].name}")
    assert plant.play("drain", *drain).changed == 1
    assert plant.play("drain", *drain, "-e", "drain_return=true").changed == 1
