"""An orchestrator that dies by SIGKILL while it builds on real hosts: exactly one machine comes of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import AddressClaim, CpuClaim, Drift, Host

from tests.support.lab import RunningLab
from tests.support.orchestrator import OrchestratorProcess
from tests.support.site import Site, lay_out

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: The tiny guest with what a vPLC has too: a core of its own and a disk.
SPEC = {
    "class": "realtime",
    "sizes": [
        {
            "name": "tiny",
            "vcpus": [{"role": "housekeeping"}, {"role": "control"}],
            "memory_bytes": 192 * 2**20,
            "disk_bytes": 64 * 2**20,
        }
    ],
}


def _disk(folder: Path) -> dict[str, object]:
    """An empty disk image as the template's; its name tells tests' volumes from others."""
    path = folder / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", str(path), "32M"], check=True, timeout=60
    )
    data = path.read_bytes()
    return {"path": str(path), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


@pytest.fixture
def site(transactional_db: None, real_lab: RunningLab, tmp_path: Path) -> Site:
    return lay_out(real_lab, spec=SPEC, files={"disk": _disk(tmp_path)})


@pytest.fixture
def start(site: Site, tmp_path: Path) -> Iterator[Callable[..., OrchestratorProcess]]:
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(closing(OrchestratorProcess(home, **how)))


def _domains(site: Site) -> list[tuple[str, str]]:
    """All but the guests that hosts are probed with meanwhile."""
    return [
        (host.name, name)
        for host in site.lab.plan.hosts
        for name in site.virsh(host.name, "list", "--all", "--name").split()
        if not name.startswith("mw-probe-")
    ]


def _overlays(site: Site) -> list[tuple[str, str]]:
    return [
        (host.name, line.split()[0])
        for host in site.lab.plan.hosts
        for line in site.virsh(host.name, "vol-list", "default").splitlines()[2:]
        if line.strip().startswith("mw-killed") and ".qcow2 " in line
    ]


def _filters(site: Site, machine: Machine) -> int:
    name = f"mw-{machine.pk.hex}"
    return sum(site.virsh(host.name, "nwfilter-list").count(name) for host in site.lab.plan.hosts)


@pytest.mark.parametrize("step", ["image", "disk", "define", "start"])
def test_killed_after_a_step_exactly_one_machine_is_there(
    site: Site, start: Callable[..., OrchestratorProcess], step: str
) -> None:
    first = start(dies_after=step)
    site.until(lambda: first.active, "active")
    site.hosts_up("hosts are up")
    environment = site.request("killed")
    site.until(lambda: first.killed, "killed")
    second = start()
    site.until(
        lambda: Environment.objects.get(pk=environment.pk).state in ("running", "failed"),
        f"finished by the next one; {second.log()}",
    )
    environment.refresh_from_db()
    operation = Operation.objects.get()
    assert environment.state == "running", operation.error
    machine = environment.machines.get()
    # Exactly one of everything, over all hosts, and each where it should be.
    assert _domains(site) == [(machine.host.name, machine.domain_name)]
    assert [host for host, _ in _overlays(site)] == [machine.host.name]
    assert _filters(site, machine) == 1
    assert AddressClaim.objects.get().machine == machine
    claim = CpuClaim.objects.get()
    assert (claim.machine, claim.host, machine.generation) == (machine, machine.host, 1)
    assert site.virsh(machine.host.name, "domstate", machine.domain_name).strip() == "running"
    pins = json.dumps(site.virsh(machine.host.name, "vcpupin", machine.domain_name).split())
    assert f'"1", "{claim.cpu}"' in pins
    assert operation.steps.get(name=step).attempt == 2
    assert set(operation.steps.values_list("state", flat=True)) == {"succeeded"}
    assert not Drift.objects.exclude(kind="foreign").exists()
    site.remove()
    assert _domains(site) == _overlays(site) == []
    assert _filters(site, machine) == CpuClaim.objects.count() == AddressClaim.objects.count() == 0
    assert Host.objects.filter(health="up").count() == len(site.lab.plan.hosts)
