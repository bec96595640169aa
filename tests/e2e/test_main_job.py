"""The main job on real parts: what the clients of the shop floor see, where it runs, what survives what."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from millwright.cli.errors import ApiError
from millwright.gateway import GatewayClient

from tests.support.nodejs import node
from tests.support.running import Running, eventually, metric

pytestmark = [pytest.mark.lab, pytest.mark.vplc_guest]

#: The example's cycle.
CYCLE_S = 0.010


def _mbpoll(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mbpoll", "-m", "tcp", "-a", "1", "-t", "4", "-1", "-o", "5", *words[:-1], address, *([words[-1]] if words[-1] else [])],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def _registers(address: str) -> dict[int, int]:
    """Holding registers 1 to 4 in mbpoll's counting, keyed from 0."""
    done = _mbpoll(address, "-r", "1", "-c", "4", "")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^\[(\d+)\]:\s+(-?\d+)", done.stdout, re.MULTILINE)
    return {int(number) - 1: int(value) for number, value in found}


def _metrics(machine: dict[str, Any]) -> str:
    return httpx.get(machine["metrics"], timeout=20, trust_env=False).text


def test_the_second_run_changes_nothing_and_says_so(running: Running) -> None:
    again = running.command("up", limit_s=600)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing was changed" in again.stdout, again.stdout
    for text in (running.first, again.stdout):
        assert "Time by step" in text
        assert len(re.findall(r"/enter/\S+/", text)) == 4


def test_the_status_has_what_programs_need(running: Running) -> None:
    data = running.status()
    assert data["portal"]["url"] == running.settings.public_url
    assert data["prometheus"]["url"].startswith("http://127.0.0.1:")
    (environment,) = data["environments"]
    assert (environment["name"], environment["state"]) == ("filling-line-1", "running")
    (machine,) = environment["machines"]
    assert machine["modbus"].endswith(":502")
    assert machine["opcua"].startswith("opc.tcp://")
    assert machine["metrics"].endswith("/metrics")
    assert len(data["hosts"]) == 2
    assert {host["accel"] for host in data["hosts"]} <= {"kvm", "emulation"}
    assert {host["state"] for host in data["hosts"]} == {"up"}


def test_mbpoll_reads_and_writes_what_it_may_and_nothing_else(running: Running) -> None:
    address = running.machine()["address"]
    assert set(_registers(address)) == {0, 1, 2, 3}
    assert _mbpoll(address, "-r", "4", "7000").returncode == 0
    eventually(lambda: _registers(address)[3] == 7000, 30, "the set-point")
    refused = _mbpoll(address, "-r", "1", "1234")
    assert refused.returncode != 0
    assert "illegal" in (refused.stdout + refused.stderr).lower()
    assert _mbpoll(address, "-r", "4", "8000").returncode == 0
    eventually(lambda: _registers(address)[3] == 8000, 30, "the set-point")


def test_the_values_agree_with_the_devices_physics(running: Running) -> None:
    machine = running.machine()
    device = running.api("erin").first("devices/", name="filling-station")
    assert device is not None
    with GatewayClient(running.settings.gateway_socket) as gateway:

        def agree() -> bool:
            before = gateway.modbus_read(device["address"], "input", 0)[0]
            seen = _registers(machine["address"])[0]
            after = gateway.modbus_read(device["address"], "input", 0)[0]
            # The tank moves while one asks; what the vPLC says lies near what it was before and after.
            return min(before, after) - 200 <= seen <= max(before, after) + 200

        eventually(agree, 60, "level of the device and of the vPLC")


def test_node_opcua_browses_and_reads_and_may_not_write(running: Running) -> None:
    machine = running.machine()
    answer = node("read.mjs", machine["opcua"], "level")
    (level,) = answer["found"].values()
    assert level["status"] == "Good"
    assert 0 < level["value"] <= 10000
    assert answer["write"] not in ("Good", None), "an anonymous session must not write"


def test_unregistered_connections_fail(running: Running) -> None:
    machine = running.machine()
    device_netns = running.lab.plan().device_netns(1)
    code = (
        "import socket,sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()\n"
        "except OSError: raise SystemExit(7)\n"
    )

    def tries(port: int, netns: str = "") -> int:
        words = ["python3", "-c", code, machine["address"], str(port)]
        prefix = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        return subprocess.run([*prefix, *words], timeout=60).returncode

    assert tries(502) == 0, "the engineering station is registered"
    assert tries(22) == 7
    assert tries(9401) == 7
    # The device answers the vPLC; it has no business asking it.
    assert tries(502, device_netns) == 7
    assert tries(4840, device_netns) == 7


def _threads(name: str) -> dict[str, set[int]]:
    """Thread name → allowed CPUs of the guest's QEMU."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" not in words[0] or not any(
                f"guest={name}".encode() in word for word in words
            ):
                continue
            return {
                (task / "comm").read_text().strip(): os.sched_getaffinity(int(task.name))
                for task in (folder / "task").iterdir()
            }
        except (OSError, ProcessLookupError):
            continue
    raise AssertionError(f"no QEMU of guest {name}")


def test_the_control_vcpu_has_its_cpu_and_nothing_else_of_ours_is_on_it(running: Running) -> None:
    machine = running.machine()
    host = next(row for row in running.api("olga").rows("hosts/") if row["name"] == machine["host"])
    claims = {claim["vcpu"]: claim["cpu"] for claim in host["cpu_claims"]}
    assert claims, "a realtime machine on a host with a realtime CPU has a claim"
    threads = _threads(f"mw-filling-line-1-{machine['name']}")
    for vcpu, cpu in claims.items():
        own = [
            cpus
            for name, cpus in threads.items()
            if name == f"CPU {vcpu}/TCG" or name == f"CPU {vcpu}/KVM"
        ]
        assert own == [{cpu}], threads
    dedicated = set(claims.values())
    others = {
        name: cpus
        for name, cpus in threads.items()
        if not any(name.startswith(f"CPU {vcpu}/") for vcpu in claims)
    }
    assert all(not cpus & dedicated for cpus in others.values()), others
    for name, row in running.supervision.states().items():
        assert not os.sched_getaffinity(row["pid"]) & dedicated, name


@dataclass(frozen=True)
class Pulse:
    """A controller at one moment, by its own clock: which boot and scan process, how many cycles."""

    process: str
    clock_s: float
    scans: float
    overruns: float


def _pulse(machine: dict[str, Any]) -> Pulse:
    text = _metrics(machine)
    (process,) = re.findall(r"^vplc_process_info.*$", text, re.MULTILINE)
    return Pulse(
        process,
        metric(text, "vplc_clock_seconds"),
        metric(text, "vplc_scans_total"),
        metric(text, "vplc_overruns_total"),
    )


class Baseline:
    """cyclictest with the controller's cycle, beside it on the same CPU: what the machine itself costs."""

    def __init__(self, cpu: int) -> None:
        self._process = subprocess.Popen(
            ["cyclictest", "-q", "-t1", "-a", str(cpu), f"-i{round(CYCLE_S * 1e6)}", f"-h{round(CYCLE_S * 1e6)}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Baseline:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def missed(self) -> int:
        """End it; how many of its cycles began a whole cycle late."""
        self._process.send_signal(signal.SIGINT)
        text, _ = self._process.communicate(timeout=30)
        return int(re.findall(r"^# Histogram Overflows: 0*(\d+)", text, re.MULTILINE)[0])


def _control_cpu(machine: dict[str, Any]) -> int:
    threads = _threads(f"mw-filling-line-1-{machine['name']}")
    (cpus,) = (cpus for name, cpus in threads.items() if re.fullmatch(r"CPU 1/\w+", name))
    return min(cpus)


def _no_gap(before: Pulse, after: Pulse, rest: float, missed: int) -> None:
    """Same boot, same scan process, every cycle of the time between begun or counted as missed.

    `rest` is the share of cycles that this machine's controller missed while nothing was done to
    it, `missed` what the baseline missed in the same seconds.
    """
    assert before.process == after.process, "another boot or another scan process"
    due = (after.clock_s - before.clock_s) / CYCLE_S
    overruns = after.overruns - before.overruns
    cycles = after.scans - before.scans + overruns
    # The counters and the clock are read one after the other, by a guest that may wait between them.
    assert cycles == pytest.approx(due, rel=0.01, abs=25)
    print(f"{due:.0f} cycles, {overruns:.0f} overruns; at rest {rest:.3f}, the baseline {missed}")
    assert overruns <= missed + (3 * rest + 0.05) * due


def _rest(machine: dict[str, Any]) -> float:
    """The share of cycles missed at rest, over some seconds."""
    before = _pulse(machine)
    time.sleep(4)  # the time that is measured, not a wait for anything
    after = _pulse(machine)
    return (after.overruns - before.overruns) * CYCLE_S / (after.clock_s - before.clock_s)


def test_the_whole_control_plane_may_die(running: Running) -> None:
    machine = running.machine()
    rest = _rest(machine)
    with Baseline(_control_cpu(machine)) as baseline:
        before = _pulse(machine)
        states = running.supervision.states()
        for name in ("portal", "orchestrator", "gateway", "prometheus"):
            os.kill(states[name]["pid"], signal.SIGKILL)
        running.postgres.kill()
        first = _registers(machine["address"])
        assert first[0] > 0
        time.sleep(5)  # the time that the vPLC is to survive, not a wait for anything
        _no_gap(before, _pulse(machine), rest, baseline.missed())
    running.postgres.start_again()
    running.supervision.wait_running(["portal", "orchestrator", "gateway", "prometheus"])

    def answers() -> bool:
        try:
            return str(running.machine()["state"]) == "running"
        except Exception:
            return False

    eventually(answers, 120, "the control plane's return")
    assert _pulse(machine).process == before.process


def test_guest_and_scan_outlive_libvirtd(running: Running) -> None:
    machine = running.machine()
    rest = _rest(machine)
    with Baseline(_control_cpu(machine)) as baseline:
        before = _pulse(machine)
        running.lab.kill(machine["host"], only="libvirtd")
        time.sleep(3)  # the time without libvirtd
        assert _threads(f"mw-filling-line-1-{machine['name']}")
        running.lab.restore(machine["host"])
        _no_gap(before, _pulse(machine), rest, baseline.missed())
    eventually(
        lambda: (
            {row["name"]: row["state"] for row in running.api("olga").rows("hosts/")}[
                machine["host"]
            ]
            == "up"
        ),
        90,
        "the host's return",
    )


def test_a_strict_realtime_core_is_refused_with_the_reasons_per_host(running: Running) -> None:
    erin = running.api("erin")
    taken = {
        claim["cpu"] for host in running.api("olga").rows("hosts/") for claim in host["cpu_claims"]
    }
    if len(os.sched_getaffinity(0)) > 2 or not taken:
        pytest.skip("this machine has realtime cores to spare")
    body = {
        "name": "second-strict",
        "project": "line-1",
        "template": "vplc",
        "size": erin.first("requests/", name="filling-line-1")["size"],  # type: ignore[index]  # is there
        "cell": "line1",
        "strict_realtime": True,
    }
    draft = erin.post("requests/", body)
    with pytest.raises(ApiError) as refused:
        erin.post(f"requests/{draft['id']}/submit/")
    for host in running.lab.plan().hosts:
        assert host.name in str(refused.value)
    erin.post(f"requests/{draft['id']}/withdraw/")


def test_a_frozen_hosts_machine_turns_unknown_and_pages_stay_quick(running: Running) -> None:
    machine = running.machine()
    quick = _page_time(running)
    running.lab.freeze(machine["host"])
    try:
        took = eventually(
            lambda: running.machine()["state"] == "unknown", 60, "the machine to be unknown"
        )
        assert took < 30, "15 s, and what a busy machine adds"
        assert _page_time(running) < max(20 * quick, 5.0)
    finally:
        running.lab.restore(machine["host"])
    eventually(lambda: running.machine()["state"] == "running", 120, "the machine's return")
    eventually(lambda: _registers(machine["address"])[0] > 0, 60, "Modbus")


def _page_time(running: Running) -> float:
    started = time.monotonic()
    running.api("olga").get("status/")
    return time.monotonic() - started
