"""A host that sleeps, in the plant as the balancer sees it."""

import random
from dataclasses import replace

import pytest
from millwright.balancing import recommending, sparing
from millwright.balancing.plant import read_plant
from millwright.core.balancing import HostState
from millwright.core.lifecycle import HostHealth, HostPower
from millwright.environments import placement
from millwright.environments.models import Machine
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_sparing import _pool
from tests.support.plant import Plant

__all__ = ["machines"]


@pytest.mark.parametrize("power", [power for power in HostPower if power is not HostPower.AWAKE])
@pytest.mark.parametrize("health", [HostHealth.UP, HostHealth.SUSPECT])
def test_one_that_is_not_awake_counts_as_asleep(
    plant: Plant, power: HostPower, health: HostHealth
) -> None:
    first = Host.objects.order_by("name")[0]
    Host.objects.filter(pk=first.pk).update(power=power, health=health)
    states = {host.name: host.state for host in read_plant().hosts}
    assert states.pop(first.name) is HostState.ASLEEP
    assert HostState.ASLEEP not in states.values()


def test_one_that_is_lost_on_its_way_is_lost(plant: Plant) -> None:
    first = Host.objects.order_by("name")[0]
    Host.objects.filter(pk=first.pk).update(power=HostPower.WAKING, health=HostHealth.DOWN)
    assert {host.name: host.state for host in read_plant().hosts}[first.name] is HostState.DOWN


@pytest.mark.parametrize("seed", range(6))
def test_room_on_a_host_that_sleeps_is_none_for_lost_machines(
    plant: Plant, machines: list[Machine], seed: int
) -> None:
    """By sums as by the whole plant."""
    dice = random.Random(seed)  # noqa: S311 - a plant to compare on, no secret
    _pool(plant, dice, hosts=5, per_host=4)
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    machine = Machine.objects.select_related("template_version", "cell", "environment").get(
        environment__name="one"
    )
    Machine.objects.filter(pk=machine.pk).update(memory_bytes=2**30)
    last = Host.objects.exclude(pk=machine.host_id).order_by("-name")[0]
    Machine.objects.filter(host=last).update(host=None)
    Host.objects.filter(pk=last.pk).update(power=HostPower.ASLEEP)
    plan = placement.place_machine(machine)
    assert plan.chosen is not None
    assert plan.chosen.host != last.name
    quick = sparing.spared(plan, sparing.standing_machine(machine))
    whole = sparing.spared(replace(plan, pool=None), sparing.standing_machine(machine))
    assert (quick[0].chosen, quick[1]) == (whole[0].chosen, whole[1])
