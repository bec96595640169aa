"""Where two CPUs are one core, a control vCPU takes both: hosts have as many cores as that leaves."""

from uuid import uuid4

import pytest
from django.utils import timezone
from millwright.balancing.plant import read_plant
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass
from millwright.core.placement import HostSnapshot, MachineWant
from millwright.core.placement.filters import has_shared_cpus
from millwright.core.topology import Cpu, Topology
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.snapshot import snapshot

from tests.support.plant import build_plant, serving

PAIRS = ((0, 1), (2, 3), (4, 5))
ROLES = {"housekeeping_cpus": "0-1", "shared_cpus": "0-1", "realtime_cpus": "2-5"}


@pytest.mark.django_db
def test_cores_are_counted_with_their_siblings() -> None:
    machine = serving(build_plant())
    host = machine.host
    assert host is not None
    CpuClaim.objects.filter(host=host).delete()
    cpus = [
        {"id": cpu, "core": core, "socket": 0, "node": 0, "siblings": list(pair)}
        for core, pair in enumerate(PAIRS)
        for cpu in pair
    ]
    policy = {key: value for key, value in host.policy.items() if not key.endswith("cpus")}
    Host.objects.filter(pk=host.pk).update(
        topology=host.topology | {"cpus": cpus}, policy=policy | ROLES
    )
    before = next(row for row in snapshot().hosts if row.name == host.name).shared_vcpus
    for cpu in PAIRS[1]:
        CpuClaim.objects.create(host=host, cpu=cpu, machine=machine, vcpu=1, operation=uuid4())
    seen = next(row for row in snapshot().hosts if row.name == host.name)
    # One vCPU went to a core of its own, not two.
    assert (seen.claimed_cpus, seen.shared_vcpus) == ({2, 3}, before - 1)
    read = next(row for row in read_plant(timezone.now()).hosts if row.name == host.name)
    assert read.cores == 2


def test_one_free_core_serves_one_of_two_control_vcpus() -> None:
    topology = Topology.build(
        [Cpu(cpu, siblings=frozenset(pair)) for pair in PAIRS for cpu in pair],
        housekeeping="0-1",
        realtime="2-5",
        shared="0-1",
    )
    host = HostSnapshot(
        name="h1",
        health=HostHealth.UP,
        administration=HostAdministration.SCHEDULABLE,
        topology=topology,
        memory_bytes=2**36,
        memory_promised_bytes=0,
        disk_free_bytes=2**40,
        claimed_cpus=frozenset(PAIRS[1]),
        shared_vcpus=1,
        overcommit_ratio=1.0,
        best_effort=True,
    )
    want = MachineWant(
        name="plc",
        service_class=ServiceClass.REALTIME,
        vcpus=2,
        control_vcpus=(0, 1),
        memory_bytes=2**30,
        disk_bytes=0,
    )
    # The other one runs on the shared CPUs, of which one more may be promised.
    assert host.most_vcpus == 2
    assert has_shared_cpus(host, want) is None
    full = has_shared_cpus(HostSnapshot(**{**_fields(host), "shared_vcpus": 2}), want)
    assert full is not None


def _fields(host: HostSnapshot) -> dict[str, object]:
    return {name: getattr(host, name) for name in host.__dataclass_fields__ if name != "most_vcpus"}
