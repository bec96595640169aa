"""Role `realtime` where it can be had in full: a booted server with a kernel and a boot loader of its own.

Its processor is emulated: latency is measured by the role as on any host, and says nothing about hardware.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import booted, deploying, nspawn

pytestmark = [pytest.mark.full, pytest.mark.lab]

#: No preflight of a plant is wanted here, and no libvirt: one role on one server.
ONE_ROLE = """
- hosts: hypervisors
  tasks:
    - ansible.builtin.import_role: {name: millwright.plant.realtime}
"""
WANTED = {
    "realtime_cpus": "1",
    "realtime_hugepages_gb": 1,
    "realtime_reboot": True,
    "realtime_cyclictest_s": 3,
}
#: An emulated processor is late by what its host does meanwhile: ten seconds are never reached, one us always.
PATIENT, IMPATIENT = 10_000_000, 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[booted.Booted]:
    nspawn.needs_root()
    with booted.Booted(tmp_path).running() as made:
        yield made


def play(server: booted.Booted, folder: Path, latency_us: int, opens: float) -> deploying.Done:
    """The role, with a window of two hours that opens so many seconds from now."""
    ends = [
        time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time.time() + s))
        for s in (opens, opens + 7200)
    ]
    wanted = WANTED | {
        "realtime_window": "/".join(ends),
        "realtime_max_latency_us": latency_us,
    }
    (folder / "one.yml").write_text(ONE_ROLE)
    hosts = {"hypervisors": {"hosts": {"press-1": server.variables() | wanted}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    words = ("-i", str(folder / "hosts.yml"), str(folder / "one.yml"))
    return deploying.play(folder, *words, limit_s=1200, may_fail=True)


def state(server: booted.Booted) -> dict[str, str]:
    """What the running kernel says of itself."""
    asked = {
        "boot": "cat /proc/sys/kernel/random/boot_id",
        "kernel": "uname -rv",
        "arguments": "cat /proc/cmdline",
        "isolated": "cat /sys/devices/system/cpu/isolated",
        "tickless": "cat /sys/devices/system/cpu/nohz_full",
        "pages": "cat /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
        "profile": "tuned-adm active",
        "timer": "systemctl is-active millwright-tuned-verify.timer",
    }
    return {name: server.ssh(command).stdout.strip() for name, command in asked.items()}


def test_a_host_gets_its_realtime_kernel_inside_the_window(
    server: booted.Booted, tmp_path: Path
) -> None:
    ordinary = state(server)
    assert "PREEMPT_RT" not in ordinary["kernel"] and ordinary["isolated"] == ""

    early = play(server, tmp_path, PATIENT, opens=3600)
    assert "wants a reboot" in early.text and "the approved window is" in early.text, early.text
    assert early.counts["failed"] == 1
    before = state(server)
    assert before["boot"] == ordinary["boot"] and before["arguments"] == ordinary["arguments"]

    done = play(server, tmp_path, PATIENT, opens=-3600)
    assert done.counts["failed"] == done.counts["unreachable"] == 0, done.text[-6000:]
    after = state(server)
    assert after["boot"] != before["boot"]
    assert "PREEMPT_RT" in after["kernel"] and "-rt-" in after["kernel"], after
    assert after["isolated"] == after["tickless"] == after["pages"] == "1", after
    given = after["arguments"].split()
    for argument in (
        "isolcpus=managed_irq,domain,1", "nohz_full=1", "rcu_nocbs=1", "irqaffinity=0", "hugepages=1",
    ):  # fmt: skip
        assert argument in given, given
    assert after["profile"].endswith("millwright-realtime") and after["timer"] == "active"
    assert "Verify the profile" in done.text and "Measure latency" in done.text

    # The gate closes on a host that is late, and neither it nor a second run changes or reboots anything.
    late = play(server, tmp_path, IMPATIENT, opens=-3600)
    assert late.counts["failed"] == 1 and "at most 1 us" in late.text, late.text[-4000:]
    assert late.changed == 0, late.changes()
    assert state(server)["boot"] == after["boot"]
    print(
        f"first run {early.took_s:.0f} s, with its reboot {done.took_s:.0f} s, again {late.took_s:.0f} s; {after['kernel']}"
    )
