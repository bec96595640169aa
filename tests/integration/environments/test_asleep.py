"""A host that sleeps, in the plant as the balancer sees it."""

import pytest
from millwright.balancing.plant import read_plant
from millwright.core.balancing import HostState
from millwright.core.lifecycle import HostHealth, HostPower
from millwright.inventory.models import Host

from tests.support.plant import Plant


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
