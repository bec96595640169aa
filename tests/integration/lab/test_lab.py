"""The lab itself: real libvirtd, apart from each other, in each sorrow that can befall a host."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.lab import HostPlan, Lab, LabError, daemon, groups, relay
from millwright.relay import PORT

from tests.support.lab import RunningLab, lab_of_its_own
from tests.support.virsh import Guest, until, virsh

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def _guest(session_lab: RunningLab) -> Iterator[Guest]:
    made = Guest(session_lab.lab, session_lab.plan.hosts[0])
    yield made
    session_lab.heal()
    for host in session_lab.plan.hosts:
        made.destroy(host)


@pytest.fixture
def guest(_guest: Guest, real_lab: RunningLab) -> Guest:
    """A guest on the first host, answering; booted again only if the test before took it."""
    if _guest.state() != "running":
        for host in real_lab.plan.hosts:
            _guest.destroy(host)
        _guest.start()
    until("the guest answers", _guest.answers)
    return _guest


@pytest.fixture
def other_lab() -> Iterator[Lab]:
    """A second instance, not up yet."""
    with lab_of_its_own() as lab:
        yield lab


def _traces(index: int) -> list[str]:
    """Everything that an instance's name is on, anywhere in the system."""
    name = f"mw{index}"
    found = [path.name for path in Path("/run/netns").glob(f"{name}[hdg]*")]
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    found += [
        line.split()[0]
        for line in links.splitlines()
        if line.startswith((f"{name}h", f"{name}m", f"{name}c", f"{name}g", f"{name}d"))
    ]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}-h*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"{name}-h*")]
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [line for line in mounts.splitlines() if f"/{name}-h" in line]
    return found


def _pids(lab: Lab) -> list[int | None]:
    return [daemon.daemon_pid(lab.root, host) for host in lab.plan().hosts]


# --- up and down -------------------------------------------------------------------------------------


def test_up_again_changes_nothing_and_says_so(real_lab: RunningLab) -> None:
    before = _pids(real_lab.lab)
    said: list[str] = []
    real_lab.lab.up(2, said.append)
    assert [line.partition(": ")[2].split(" at ")[0] for line in said] == ["was up", "was up"]
    assert _pids(real_lab.lab) == before
    assert None not in before


def test_up_mends_what_is_broken(real_lab: RunningLab) -> None:
    one, two = real_lab.plan.hosts
    real_lab.lab.kill(one.name)
    real_lab.lab.cut(one.name)
    real_lab.lab.freeze(two.name)
    said: list[str] = []
    real_lab.lab.up(2, said.append)
    assert said == [f"{one.name}: started at {one.address}", f"{two.name}: thawed at {two.address}"]
    assert virsh(real_lab.lab, one, "pool-list", "--name").stdout.split() == ["default"]


def test_up_with_another_number_is_refused_while_it_runs(real_lab: RunningLab) -> None:
    before = _pids(real_lab.lab)
    with pytest.raises(LabError, match="hosts = 3: a lab of 2 is up; take it down first"):
        real_lab.lab.up(3)
    assert _pids(real_lab.lab) == before


def test_up_by_a_process_held_to_fewer_cpus_keeps_the_sets(real_lab: RunningLab) -> None:
    before = [sorted(host.cpus) for host in real_lab.plan.hosts]
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        real_lab.lab.up(2)
    finally:
        os.sched_setaffinity(0, mine)
    assert [sorted(host.cpus) for host in real_lab.plan.hosts] == before


def test_a_second_lab_neither_sees_nor_touches_the_first(
    real_lab: RunningLab, other_lab: Lab
) -> None:
    before = _pids(real_lab.lab)
    other_lab.up(1)
    (host,) = other_lab.plan().hosts
    other_lab.add_device(1)
    assert virsh(other_lab, host, "hostname").stdout.strip() == host.name
    other_lab.down()
    assert _traces(other_lab.index) == []
    assert not other_lab.root.exists()
    assert _pids(real_lab.lab) == before
    assert real_lab.plan.hosts[0].address != host.address
    virsh(real_lab.lab, real_lab.plan.hosts[0], "version")


@pytest.mark.parametrize("death", ["before the daemon", "after the daemon"])
def test_a_start_killed_half_way_is_continued_and_taken_away(
    other_lab: Lab, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    class Killed(BaseException):
        """As SIGKILL: nothing is cleaned up."""

    def start(root: Path, host: HostPlan) -> None:
        if death == "after the daemon":
            original(root, host)
        raise Killed

    original = daemon.start
    with monkeypatch.context() as patch:
        patch.setattr(daemon, "start", start)
        with pytest.raises(Killed):
            other_lab.up(1)
    other_lab.up(1)
    (host,) = other_lab.plan().hosts
    assert virsh(other_lab, host, "pool-list", "--name").stdout.split() == ["default"]
    other_lab.down()
    assert _traces(other_lab.index) == []


def test_leftovers_of_a_forgotten_lab_are_cleaned_at_the_next_start(other_lab: Lab) -> None:
    other_lab.up(1)
    name, _ = other_lab.add_device(1)
    lost = daemon.daemon_pid(other_lab.root, other_lab.plan().hosts[0])
    holder = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "3600"])
    # Its state is gone, as after a cleaned /var/tmp; daemons, namespaces and a device's process are not.
    shutil.rmtree(other_lab.root)
    said: list[str] = []
    other_lab.up(1, said.append)
    holder.wait(30)
    (host,) = other_lab.plan().hosts
    # libvirtd, the host's first process and its relay.
    assert f"{host.name}: 3 processes ended" in said
    assert f"{name}: namespace removed" in said
    assert daemon.daemon_pid(other_lab.root, host) not in (None, lost)
    virsh(other_lab, host, "version")


def test_a_killed_relay_is_started_again_in_its_host(real_lab: RunningLab) -> None:
    host = real_lab.plan.hosts[0]
    killed = relay.pid(host)
    assert killed is not None
    own, its = (Path(f"/proc/{of}/ns/net").readlink() for of in ("self", killed))
    assert own != its
    os.kill(killed, signal.SIGKILL)
    until("the relay is gone", lambda: relay.pid(host) is None)
    assert "relay started" in real_lab.lab.restore(host.name)

    def answers() -> bool:
        try:
            socket.create_connection((host.address, PORT), timeout=2).close()
        except OSError:
            return False
        return True

    until("its door is open", answers)
    assert "relay" not in real_lab.lab.restore(host.name)


def test_a_device_comes_and_goes_with_what_runs_in_it(real_lab: RunningLab) -> None:
    name, address = real_lab.lab.add_device(7)
    assert real_lab.lab.add_device(7) == (name, address)
    holder = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "3600"])
    until("in the namespace", lambda: _in_netns(name))
    assert real_lab.lab.remove_device(7)
    holder.wait(30)
    assert not real_lab.lab.remove_device(7)
    assert not [trace for trace in _traces(real_lab.plan.index) if "dev7" in trace]


def _in_netns(name: str) -> str:
    return subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=True
    ).stdout.strip()


# --- apart from each other ---------------------------------------------------------------------------


def test_hosts_are_told_apart_by_everything_libvirt_asks(real_lab: RunningLab) -> None:
    one, two = real_lab.plan.hosts
    for host in (one, two):
        assert virsh(real_lab.lab, host, "hostname").stdout.strip() == host.name
        devices = virsh(real_lab.lab, host, "nodedev-list", "--cap", "net").stdout
        # The root's devices are not the host's.
        assert real_lab.plan.management_bridge not in devices
        assert "net_mgmt0" in devices
    capabilities = [virsh(real_lab.lab, host, "capabilities").stdout for host in (one, two)]
    uuids = [text.partition("<uuid>")[2].partition("<")[0] for text in capabilities]
    assert len(set(uuids)) == 2


def test_daemons_are_held_to_their_hosts_cpus(real_lab: RunningLab) -> None:
    for host in real_lab.plan.hosts:
        for pid in groups.pids(host.name):
            status = Path(f"/proc/{pid}/status").read_text()
            allowed = next(
                line.split()[1]
                for line in status.splitlines()
                if line.startswith("Cpus_allowed_list")
            )
            assert allowed == host.policy["cpus"]


def test_cells_and_management_do_not_meet(real_lab: RunningLab) -> None:
    plan = real_lab.plan
    # The gateway lives in the cell and has no road to a host's libvirt.
    code = f"import socket; socket.create_connection(({plan.hosts[0].address!r}, 16514), timeout=3)"
    done = subprocess.run(
        ["ip", "netns", "exec", plan.gateway_netns, "python3", "-c", code],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert b"unreachable" in done.stderr
    ours = ["busybox", "ping", "-c1", "-W3", plan.cell_address(2)]
    until("the gateway answers in its cell", lambda: subprocess.call(ours, stdout=-3) == 0)


def test_filters_can_see_bridged_packets(real_lab: RunningLab) -> None:
    for host in real_lab.plan.hosts:
        value = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                host.netns,
                "cat",
                "/proc/sys/net/bridge/bridge-nf-call-iptables",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert value.strip() == "1"


# --- what befalls hosts ------------------------------------------------------------------------------


def test_a_killed_libvirtd_takes_its_guest_back_with_its_pins(guest: Guest) -> None:
    lab, host = guest.lab, guest.host
    pins = virsh(lab, host, "vcpupin", guest.name).stdout
    identity = virsh(lab, host, "domid", guest.name).stdout
    processes = groups.pids(host.name)
    lab.kill(host.name, only="libvirtd")
    with pytest.raises(LabError, match="libvirtd does not run"):
        lab.kill(host.name, only="libvirtd")
    # While there is no daemon, the guest serves on.
    assert guest.answers()
    assert "libvirtd started" in lab.restore(host.name)
    assert guest.state() == "running"
    assert virsh(lab, host, "domid", guest.name).stdout == identity
    assert virsh(lab, host, "vcpupin", guest.name).stdout == pins
    # The guest's process is still the one it was, in its host's group.
    assert len(processes & groups.pids(host.name)) == len(processes) - 1


def test_a_frozen_host_stands_with_its_guests(guest: Guest) -> None:
    lab, host = guest.lab, guest.host
    lab.freeze(host.name)
    assert lab.status()["hosts"][0]["frozen"]
    assert not guest.answers()
    ticks = _ticks(host)
    # The port accepts, since the kernel does; nobody shakes hands.
    assert not daemon.answers(host, lab.root / host.name / "pki", timeout_s=1.0)
    assert _ticks(host) == ticks
    assert lab.restore(host.name) == f"{host.name}: back, thawed"
    until("it answers again", guest.answers)
    assert guest.state() == "running"


def _ticks(host: HostPlan) -> dict[int, str]:
    """CPU time of each process of a host."""
    return {
        pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]
        for pid in groups.pids(host.name)
    }


def test_a_cut_host_runs_on_alone(guest: Guest) -> None:
    lab, host = guest.lab, guest.host
    lab.cut(host.name)
    assert lab.status()["hosts"][0]["cut"]
    assert not guest.answers()
    with pytest.raises(OSError):
        socket.create_connection((host.address, 16514), timeout=2)
    local = f"qemu:///system?socket={lab.root / host.name}/run/libvirt-sock"
    assert virsh(lab, host, "domstate", guest.name, uri=local).stdout.strip() == "running"
    # The other host and its part of the cell are as before.
    other = next(row for row in lab.plan().hosts if row != host)
    virsh(lab, other, "version")
    lab.restore(host.name)
    until("it answers again", guest.answers)
    assert guest.state() == "running"


def test_power_loss_takes_guests_and_filters(guest: Guest) -> None:
    lab, host = guest.lab, guest.host
    assert "ether" in _rules(host) or "chain" in _rules(host)
    assert "power lost" in lab.kill(host.name)
    assert groups.pids(host.name) == set()
    assert not guest.answers()
    lab.restore(host.name)
    assert "chain libvirt-I" not in _rules(host)
    assert guest.state() == ""
    guest.boots()


def _rules(host: HostPlan) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", host.netns, "nft", "list", "ruleset"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_guest_moves_live_to_the_other_host_over_tls(guest: Guest) -> None:
    lab, one = guest.lab, guest.host
    two = lab.plan().hosts[1]
    target = lab.root / "target.xml"
    # The destination's own CPU: the source's set means nothing there.
    target.write_text(guest.xml.replace(f"cpuset='{max(one.cpus)}'", f"cpuset='{max(two.cpus)}'"))
    begun = time.monotonic()
    virsh(
        lab, one, "migrate", guest.name, lab.uri(two),
        "--live", "--tls", "--unsafe", "--xml", str(target), f"tcp://{two.address}",
    )  # fmt: skip
    print(f"moved within {time.monotonic() - begun:.1f} s")
    assert guest.state(two) == "running"
    assert guest.state(one) == ""
    until("it answers from there", guest.answers)
    assert str(max(two.cpus)) in virsh(lab, two, "vcpupin", guest.name).stdout.split()[1]
    # What is left at the source does not pull the guest's group away.
    lab.kill(one.name)
    assert guest.answers()
