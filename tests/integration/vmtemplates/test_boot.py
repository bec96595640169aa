"""The templates really boot: no libvirt, no lab, QEMU on emulation."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guest import Guest, modbus_answers
from tests.support.lab import CACHE, need_root
from vmtemplates import BuiltImage, build_image, load_templates


def image(name: str) -> BuiltImage:
    """The image, built when it is not there."""
    return build_image(load_templates()[name], CACHE / "images")


@pytest.mark.lab
def test_tiny_says_that_it_runs(tmp_path: Path) -> None:
    guest = Guest(image("tiny"), tmp_path, memory_mib=192)
    try:
        guest.start()
        guest.said(guest.image.boot_marker)
        guest.said("mw-tiny: 2")
    finally:
        guest.kill()


MACHINE_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def vplc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    need_root()
    trust = json.dumps([base64.b64encode(bytes(32)).decode()])
    guest = Guest(
        image("vplc"),
        tmp_path_factory.mktemp("vplc"),
        memory_mib=512,
        ports=(22, 502),
        credentials={"vplc.trust": trust, "vplc.identity": "{}"},
        cmdline=f"systemd.machine_id={MACHINE_ID} systemd.hostname=guest",
        disk_size="3G",
    )
    try:
        guest.start()
        yield guest
    finally:
        guest.kill()


@pytest.mark.lab
@pytest.mark.vplc_guest
@pytest.mark.full
class TestVplc:
    """One boot, then a power loss and another."""

    def test_modbus_answers(self, vplc: Guest) -> None:
        answer = vplc.until(lambda: modbus_answers(vplc.ports[502]))
        modbus_s = vplc.age_s
        assert answer[0] & 0x7F == 3, answer
        vplc.until(lambda: vplc.agent("guest-ping") == {})
        _, text = vplc.run(
            "/bin/sh", "-c",
            "systemctl show --value -p UserspaceTimestampMonotonic; systemctl show --value "
            "-p ExecMainStartTimestampMonotonic vplc-scan vplc-protocols",
        )  # fmt: skip
        kernel, scan, protocols = (int(word) / 1e6 for word in text.split())
        print(
            f"Modbus after {modbus_s:.1f} s on {os.cpu_count()} CPUs: kernel and initrd {kernel:.1f} s, "
            f"userspace until the scan {scan - kernel:.1f} s, until the protocols "
            f"{protocols - kernel:.1f} s, the rest the runtime's start"
        )
        assert kernel < scan <= protocols

    def test_the_file_system_fills_the_disk(self, vplc: Guest) -> None:
        def size() -> int:
            blocks, block = vplc.run("/usr/bin/stat", "-f", "-c", "%b %S", "/")[1].split()
            return int(blocks) * int(block)

        assert vplc.until(lambda: size() > 2.5 * 2**30)

    def test_the_kernel_is_a_realtime_one(self, vplc: Guest) -> None:
        code, text = vplc.run("/bin/uname", "-v")
        assert code == 0
        assert "PREEMPT_RT" in text

    def test_the_scan_runs_and_was_first(self, vplc: Guest) -> None:
        _, text = vplc.run(
            "/bin/systemctl", "show", "vplc-scan", "vplc-protocols", "qemu-guest-agent",
            "-p", "ActiveState", "-p", "ActiveEnterTimestampMonotonic", "--value",
        )  # fmt: skip
        words = text.split()
        assert words.count("active") == 3, text
        scan, protocols, agent = (int(word) for word in words if word.isdigit())
        assert scan <= protocols < agent

    def test_nobody_can_log_in(self, vplc: Guest) -> None:
        _, shadow = vplc.run("/bin/cat", "/etc/shadow")
        for line in shadow.split():
            name, secret = line.split(":")[:2]
            assert secret.startswith(("!", "*")), name
        with pytest.raises((OSError, AssertionError)):
            assert vplc.run("/usr/bin/test", "-e", "/usr/sbin/sshd")[0] == 0
        assert not any("login:" in line for _, line in vplc.console)

    def test_it_has_an_identity_of_its_own(self, vplc: Guest) -> None:
        _, text = vplc.run("/bin/cat", "/etc/machine-id")
        assert text.strip() == MACHINE_ID
        assert vplc.run("/bin/hostname")[1].strip() == "guest"

    def test_the_image_names_no_source_of_packages(self, vplc: Guest) -> None:
        _, text = vplc.run("/bin/sh", "-c", "ls /etc/apt/sources.list /etc/apt/sources.list.d")
        assert "debian" not in text

    def test_it_comes_back_after_a_power_loss(self, vplc: Guest) -> None:
        _, before = vplc.run("/bin/sh", "-c", "cat /etc/machine-id; echo kept > /var/lib/vplc/retain/note; sync")  # fmt: skip
        vplc.kill()
        vplc.start()
        vplc.until(lambda: modbus_answers(vplc.ports[502]))
        vplc.until(lambda: vplc.agent("guest-ping") == {})
        _, after = vplc.run("/bin/cat", "/etc/machine-id", "/var/lib/vplc/retain/note")
        assert after == before + "kept\n"
