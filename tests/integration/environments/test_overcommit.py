"""vCPUs that a host's owner lets promise on its shared CPUs: one truth for placements, rounds, sums and the page."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.balancing import recommending, sparing
from millwright.balancing.plant import read_plant
from millwright.core.balancing import Code, Vm, admit, capacity
from millwright.core.placement import OVERCOMMIT_RATIO
from millwright.environments.models import Machine
from millwright.environments.placement import preview
from millwright.inventory.actions import validate_policy
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.snapshot import snapshot

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_equipment import spec
from tests.support.plant import Plant

__all__ = ["machines"]
GIB = 2**30
WANTED = Vm("new", vcpus=2, memory_bytes=GIB)


def _set(ratio: float | None) -> None:
    for host in Host.objects.all():
        host.policy.pop("overcommit_ratio", None)
        if ratio is not None:
            host.policy["overcommit_ratio"] = ratio
        host.save()


@pytest.fixture
def shared(plant: Plant, machines: list[Machine]) -> int:
    """Two machines of four vCPUs on the first host, none on the second; how many CPUs each host shares."""
    CpuClaim.objects.all().delete()
    Machine.objects.update(service_class="shared", cpu_assignment={}, vcpus=4, movability="free")
    Host.objects.update(memory_bytes=2**42)
    counts = {len(host.topology.shared) for host in snapshot().hosts}
    (count,) = counts
    return count


@pytest.mark.parametrize("ratio", [None, 1, 2, 3, 3.4, 8, 64])
def test_placements_rounds_and_sums_go_by_the_same_limit(
    plant: Plant, shared: int, ratio: float | None
) -> None:
    _set(ratio)
    most = int(shared * (OVERCOMMIT_RATIO if ratio is None else ratio) + 1e-9)
    seen, read = snapshot(), read_plant()
    assert [host.most_vcpus for host in seen.hosts] == [most, most]
    assert [host.most_vcpus for host in read.hosts] == [most, most]
    # Whatever is promised on them: the CPUs have their own time.
    assert [host.cpus for host in read.hosts] == [shared, shared]
    asked = {
        verdict.host: [str(reason.code) for reason in verdict.reasons]
        for verdict in preview(spec(), "small", cell="line1", strict=False).verdicts
    }
    (placed,) = admit(read, [WANTED]).placed
    told = {answer.host: answer.codes for answer in placed.answers}
    for name, used in (("mw0-h1", 8), ("mw0-h2", 0)):
        full = used + WANTED.vcpus > most
        assert ("no_cpu" in asked[name]) is full
        assert (Code.VCPUS in told[name]) is full
    assert capacity(read, WANTED).fits == max(0, most - 8) // 2 + most // 2


@pytest.mark.parametrize(("ratio", "ok"), [(2, False), (3.6, False), (4, True), (None, True)])
def test_room_for_a_host_to_die_counts_it(
    plant: Plant, shared: int, ratio: float | None, ok: bool
) -> None:
    """If one host dies the other one has to take three machines of four vCPUs: four on each of its three CPUs."""
    recommending.set_mode(plant.operator, "shadow", spare_hosts=1)
    assert shared == 3
    _set(ratio)
    plan = preview({**spec(), "sizes": [_four()]}, "small", cell="line1", strict=False)
    chosen, why = sparing.spared(plan, lambda verdict: _standing(verdict.host))
    assert (chosen.chosen is not None) is ok, why


def _four() -> dict[str, Any]:
    vcpus = [{"role": "shared"}] * 4
    return {"name": "small", "vcpus": vcpus, "memory_bytes": GIB, "disk_bytes": 2 * GIB}


def _standing(host: str) -> Vm:
    return Vm("new", 4, GIB, host)


def test_the_host_s_page_shows_it(plant: Plant, shared: int, client: Client) -> None:
    client.force_login(plant.operator)
    page = client.get("/pool/mw0-h1/").content.decode()
    assert f"8 promised of at most {shared * 8}" in page
    assert "nobody has set the ratio" in page
    _set(2.5)
    page = client.get("/pool/mw0-h1/").content.decode()
    assert f"8 promised of at most {int(shared * 2.5)}" in page
    assert f"2.5 for each of {shared} CPUs" in page
    assert "nobody has set the ratio" not in page


def test_a_control_vcpu_without_a_core_of_its_own_counts_as_shared(
    plant: Plant, machines: list[Machine]
) -> None:
    claims = CpuClaim.objects.filter(host__name="mw0-h1").count()
    promised = sum(machine.vcpus for machine in machines)
    assert claims
    assert snapshot().hosts[0].shared_vcpus == promised - claims
    CpuClaim.objects.all().delete()
    assert snapshot().hosts[0].shared_vcpus == promised


@pytest.mark.parametrize("ratio", [0, -1, 1001, "8", True, float("nan")])
def test_a_ratio_that_cannot_be_is_named(ratio: Any) -> None:
    with pytest.raises(ValidationError) as told:
        validate_policy({"overcommit_ratio": ratio})
    (text,) = told.value.message_dict["policy.overcommit_ratio"]
    assert text.startswith(f"{ratio!r}: a number from 0.01 to 1000 is wanted")
