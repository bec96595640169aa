"""The package's public door."""

from __future__ import annotations

import subprocess
import sys

import millwright.hypervisor as door
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor
from millwright.hypervisor.fake import FakePool


def test_every_exported_name_is_there() -> None:
    assert sorted(set(door.__all__)) == sorted(door.__all__)
    assert all(hasattr(door, name) for name in door.__all__)


def test_both_implementations_keep_the_protocol() -> None:
    assert isinstance(FakePool().add_host("h"), door.Hypervisor)
    driver = LibvirtHypervisor(HostAddress(name="t", uri="test:///default"), site="s")
    assert isinstance(driver, door.Hypervisor)


def test_the_door_opens_without_libvirt() -> None:
    """The web processes import types and the fake; only the orchestrator needs libvirt."""
    code = (
        "import sys; import millwright.hypervisor, millwright.hypervisor.fake; "
        "sys.exit('libvirt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
