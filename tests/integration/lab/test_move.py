"""Moves between real hosts: what arrives is what was claimed; killed in the middle, one copy or a question."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from millwright.core.lifecycle import OperationKind
from millwright.environments import actions
from millwright.environments.models import Machine, Move, Operation
from millwright.environments.moving import answer_operation, move_machine
from millwright.inventory.models import CpuClaim, Drift, Host
from millwright.lab import daemon, relay

from tests.integration.lab.test_killed_orchestrator import (
    SPEC,
    _disk,
    _domains,
    _filters,
    _overlays,
)
from tests.support.lab import RunningLab
from tests.support.orchestrator import OrchestratorProcess
from tests.support.site import Site, lay_out

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: So slow that there is a middle to be killed in.
SLOW_BYTES_S = 2 * 2**20


@pytest.fixture
def site(transactional_db: None, real_lab: RunningLab, tmp_path: Path) -> Iterator[Site]:
    made = lay_out(real_lab, spec=SPEC, files={"disk": _disk(tmp_path)})
    yield made
    # After a failure machines are left, and the next test's would meet them.
    for host, name in _domains(made):
        with contextlib.suppress(subprocess.CalledProcessError):
            made.virsh(host, "destroy", name)
        with contextlib.suppress(subprocess.CalledProcessError):
            made.virsh(host, "undefine", name)
    for host, volume in _overlays(made):
        made.virsh(host, "vol-delete", volume, "--pool", "default")


@pytest.fixture
def start(site: Site, tmp_path: Path) -> Iterator[Callable[..., OrchestratorProcess]]:
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(closing(OrchestratorProcess(home, **how)))


def _other(site: Site, machine: Machine) -> Host:
    return Host.objects.exclude(pk=machine.host_id).get()


def _running(site: Site, last: str = "") -> list[tuple[str, str]]:
    """Running guests. The host named last is asked last: what has left it meanwhile is not seen twice."""
    return [
        (host.name, name)
        for host in sorted(site.lab.plan.hosts, key=lambda host: host.name == last)
        for name in site.virsh(host.name, "list", "--state-running", "--name").split()
        if not name.startswith("mw-probe-")
    ]


def _ended(operation: Operation) -> bool:
    operation.refresh_from_db()
    return operation.state in ("succeeded", "failed", "cancelled")


def _one_of_everything(site: Site, machine: Machine) -> None:
    machine.refresh_from_db()
    assert _domains(site) == [(machine.host.name, machine.domain_name)]
    assert _running(site) == [(machine.host.name, machine.domain_name)]
    assert [host for host, _ in _overlays(site)] == [machine.host.name]
    assert _filters(site, machine) == 1
    assert set(CpuClaim.objects.values_list("host", flat=True)) <= {machine.host_id}


def test_a_move_ends_on_the_other_host_with_pins_address_and_firewall(
    site: Site, start: Callable[..., OrchestratorProcess]
) -> None:
    first = start()
    site.until(lambda: first.active, "active")
    site.hosts_up("hosts are up")
    machine = site.build("killed-move")
    source, destination, generation = machine.host, _other(site, machine), machine.generation
    boot = site.virsh(source.name, "dumpxml", machine.domain_name)
    operation = move_machine(site.plant.operator, machine, destination, "maintenance")
    site.until(lambda: _ended(operation), f"moved; {first.log()}", 300.0)
    assert operation.state == "succeeded", (operation.error, list(operation.steps.values()))
    machine.refresh_from_db()
    assert (machine.host, machine.generation) == (destination, generation + 1)
    _one_of_everything(site, machine)
    move = Move.objects.get()
    assert move.state == "done"
    assert move.elapsed_ms
    assert move.downtime_ms is not None
    # The guest is the same one, and what it is pinned to is what was claimed over there.
    after = site.virsh(destination.name, "dumpxml", machine.domain_name)
    assert f"generation='{machine.generation}'" in after.replace('"', "'")
    assert "<filterref" in after
    assert boot.count("<interface") == after.count("<interface") == 1
    pins = site.virsh(destination.name, "vcpupin", machine.domain_name)
    for index, cpus in machine.cpu_assignment["vcpus"].items():
        assert [index, cpus] in [line.split() for line in pins.splitlines()[2:]]
    site.until(lambda: not Drift.objects.exclude(kind="foreign").exists(), "no difference is named")
    site.remove()
    assert _domains(site) == _overlays(site) == []


@contextlib.contextmanager
def _one_file_system(site: Site) -> Iterator[None]:
    """Both hosts' pools on the first one's folder, and their policies say so."""
    lab = site.lab.lab
    first, second = site.lab.plan.hosts[:2]
    pid = daemon.daemon_pid(lab.root, second)
    inside = ["nsenter", "--mount", f"--target={pid}"]
    pool = "/var/lib/libvirt/images"
    folder = str(daemon.folder(lab.root, first) / "lib/images")
    subprocess.run([*inside, "mount", "--bind", folder, pool], check=True, timeout=30)
    try:
        site.virsh(second.name, "pool-refresh", "default")
        for host in Host.objects.all():
            host.policy["shared_storage"] = "one"
            host.save(update_fields=("policy",))
        yield
    finally:
        # Lazily: libvirt may be looking at it.
        subprocess.run([*inside, "umount", "--lazy", pool], check=True, timeout=30)
        site.virsh(second.name, "pool-refresh", "default")


def test_a_machine_that_is_off_moves_as_its_definition_and_starts_over_there(
    site: Site, start: Callable[..., OrchestratorProcess]
) -> None:
    with _one_file_system(site):
        first = start()
        site.until(lambda: first.active, "active")
        site.hosts_up("hosts are up")
        machine = site.build("killed-move")
        source, destination, generation = machine.host, _other(site, machine), machine.generation
        actions.power(site.plant.engineer, machine.environment, OperationKind.STOP)
        site.until(lambda: Machine.objects.get().observed == "stopped", "off")
        site.until(lambda: not Operation.objects.live().exists(), "idle")
        machine.refresh_from_db()
        operation = move_machine(site.plant.operator, machine, destination, "maintenance")
        site.until(lambda: _ended(operation), f"moved; {first.log()}", 300.0)
        assert operation.state == "succeeded", (operation.error, list(operation.steps.values()))
        machine.refresh_from_db()
        assert (machine.host, machine.generation) == (destination, generation + 1)
        assert machine.observed == "stopped"
        assert _domains(site) == [(destination.name, machine.domain_name)]
        assert _running(site) == []
        assert _filters(site, machine) == 1
        assert set(CpuClaim.objects.values_list("host", flat=True)) <= {destination.pk}
        assert source.name not in {host for host, _ in _domains(site)}
        actions.power(site.plant.engineer, machine.environment, OperationKind.START)
        site.until(
            lambda: _running(site) == [(destination.name, machine.domain_name)],
            f"it starts; {first.log()}",
        )
        site.until(lambda: not Operation.objects.live().exists(), "idle again")
        pins = site.virsh(destination.name, "vcpupin", machine.domain_name)
        for index, cpus in machine.cpu_assignment["vcpus"].items():
            assert [index, cpus] in [line.split() for line in pins.splitlines()[2:]]
        site.remove()
        # What the other one has removed a host lists until it looks again.
        site.virsh(source.name, "pool-refresh", "default")
        assert _domains(site) == _overlays(site) == []


def _qemu(site: Site, machine: Machine) -> list[int]:
    """Processes of the machine's guest, on whatever host."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in words.split(b"\0")[0] and str(machine.pk).encode() in words:
            found.append(int(entry.name))
    return found


@pytest.mark.full
@pytest.mark.parametrize("victim", ["orchestrator", "source", "destination", "guest"])
def test_killed_in_the_middle_of_a_move_one_copy_or_a_question(
    site: Site, start: Callable[..., OrchestratorProcess], victim: str
) -> None:
    first = start()
    site.until(lambda: first.active, "active")
    site.hosts_up("hosts are up")
    machine = site.build("killed-move")
    source, destination = machine.host, _other(site, machine)
    operation = move_machine(
        site.plant.operator, machine, destination, "", bandwidth_bytes_s=SLOW_BYTES_S
    )
    site.until(
        lambda: "MiB/s" in Operation.objects.get(pk=operation.pk).progress, "in the middle", 200.0
    )
    lab = site.lab.lab
    current = first
    if victim == "orchestrator":
        first.kill()
        current = start()
    elif victim == "guest":
        # The source's is the older process.
        os.kill(min(_qemu(site, machine)), signal.SIGKILL)
    else:
        name = source.name if victim == "source" else destination.name
        lab.kill(name, only="libvirtd")
        site.until(lambda: Host.objects.get(name=name).health != "up", f"{name} is missed", 60.0)
        lab.restore(name)

    def settled() -> bool:
        assert len(_running_safely(site, source.name)) <= 1
        operation.refresh_from_db()
        return _ended(operation) or bool(operation.question.get("answers"))

    site.until(settled, f"settled; {current.log()}", 400.0)
    if victim == "guest":
        assert operation.state == "waiting", operation.error
        assert "runs neither" in operation.question["text"]
        answer_operation(site.plant.operator, operation, "start_source")
        site.until(lambda: _ended(operation), "answered", 120.0)
        assert operation.state == "failed"
        machine.refresh_from_db()
        assert machine.host == source
    assert operation.state in ("succeeded", "failed"), operation.question
    _one_of_everything(site, machine)
    site.remove()


@pytest.mark.full
def test_a_relay_that_dies_in_the_middle_is_a_cut_cable_and_the_next_move_goes_without(
    site: Site, start: Callable[..., OrchestratorProcess]
) -> None:
    first = start()
    site.until(lambda: first.active, "active")
    site.hosts_up("hosts are up")
    machine = site.build("killed-move")
    source, destination = machine.host, _other(site, machine)
    plan = site.lab.lab.host(source.name)
    killed = relay.pid(plan)
    assert killed is not None
    operation = move_machine(
        site.plant.operator, machine, destination, "", bandwidth_bytes_s=SLOW_BYTES_S
    )
    site.until(
        lambda: "MiB/s" in Operation.objects.get(pk=operation.pk).progress, "in the middle", 200.0
    )
    os.kill(killed, signal.SIGKILL)
    site.until(lambda: _ended(operation), f"ended; {first.log()}", 400.0)
    machine.refresh_from_db()
    _one_of_everything(site, machine)
    # Tried again by itself, or left where it was: it runs on, and nobody has a relay at the source.
    assert relay.pid(plan) is None
    there = _other(site, machine)
    again = move_machine(site.plant.operator, machine, there, "")
    site.until(lambda: _ended(again), f"moved; {first.log()}", 300.0)
    assert again.state == "succeeded", (again.error, list(again.steps.values()))
    _one_of_everything(site, machine)
    assert machine.host == there
    site.remove()


def _running_safely(site: Site, last: str) -> list[tuple[str, str]]:
    """As `_running`, of hosts that answer."""
    try:
        return _running(site, last)
    except subprocess.CalledProcessError:
        return []
