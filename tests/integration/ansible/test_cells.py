"""The network of a cell as the role's script makes it, in a network namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.collection import ANSIBLE

SCRIPT = ANSIBLE / "roles/hypervisor/templates/cell-network.j2"
CONFIG = """BRIDGE=mwc-line1
INTERFACE=
VLAN=
VXLAN=101
LOCAL=10.98.77.1
REMOTES="{remotes}"
ADDRESS=10.60.1.2/24
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="links need root")
@pytest.mark.parametrize(("outer", "wanted"), [(1500, 1450), (9000, 1500)])
def test_a_tunnel_leads_to_those_who_are_there_and_its_frames_fit(
    tmp_path: Path, outer: int, wanted: int
) -> None:
    script = tmp_path / "cell-network"
    script.write_text(SCRIPT.read_text().replace("{{ ansible_managed }}", ""))
    for name, remotes in (("before", "10.98.77.2 10.98.77.3"), ("after", "10.98.77.3 10.98.77.4")):
        (tmp_path / f"{name}.conf").write_text(CONFIG.format(remotes=remotes))
    words = f"""set -e
        ip link add outer type bridge && ip link set outer mtu {outer} up && ip address add 10.98.77.1/24 dev outer
        sh {script} up {tmp_path}/before.conf; sh {script} up {tmp_path}/before.conf
        sh {script} up {tmp_path}/after.conf
        bridge fdb show dev mwc-line1.u | sed -n 's/^00:00:00:00:00:00 dst \\([^ ]*\\) .*/\\1/p'
        cat /sys/class/net/mwc-line1.u/mtu /sys/class/net/mwc-line1/mtu
        ip -o -4 address show dev mwc-line1 | grep -c 10.60.1.2/24
        sh {script} down {tmp_path}/after.conf; ls /sys/class/net"""
    # `--mount`: the links seen in /sys are those of the namespace.
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", f"mount -t sysfs sysfs /sys; {words}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *remotes, tunnel, bridge, addresses = done.stdout.split()[:5]
    assert sorted(remotes) == ["10.98.77.3", "10.98.77.4"]
    assert (int(tunnel), int(bridge), addresses) == (wanted, wanted, "1")
    assert not {"mwc-line1", "mwc-line1.u"} & set(done.stdout.split()[5:])
