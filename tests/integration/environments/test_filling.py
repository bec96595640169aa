"""How full the pool is, how many more fit, and who would be left if a host died."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.balancing import filling
from millwright.environments.models import DemandSample, Machine
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]


def test_the_heat_map_says_what_is_wanted_promised_and_given(
    plant: Plant, machines: list[Machine]
) -> None:
    DemandSample.objects.create(machine=machines[1], at=timezone.now(), cpu_ratio=1.5)
    Host.objects.filter(pk=plant.hosts[0].pk).update(disk_bytes=1000, disk_free_bytes=250)
    first, second = filling.heat()
    assert (first.host, first.cpu, first.cores, first.disk) == (plant.hosts[0].name, 0.5, 0.5, 0.75)
    assert first.memory is not None
    assert first.memory > 0
    assert (second.cpu, second.memory, second.cores) == (0.0, 0.0, 0.0)


def test_what_fits_shrinks_with_hosts_that_may_die_and_grows_with_one_more(
    plant: Plant, machines: list[Machine], client: Client, django_assert_max_num_queries: Any
) -> None:
    template, size = filling.kinds()[0]
    with django_assert_max_num_queries(14):
        free = filling.fits(template, size, growth=0.5)
    spare = filling.fits(template, size, spare=1)
    assert free.fits > spare.fits
    assert free.with_one_more > free.fits == sum(free.per_host.values())
    assert free.days_left == free.fits / 0.5
    client.force_login(plant.operator)
    page = client.get("/capacity/", {"kind": f"{template}/{size}", "growth": "0,5"}).content
    assert f"<b>{free.fits}</b>" in page.decode()
    page = client.get("/capacity/", {"kind": "nothing/small"}).content.decode()
    assert "no template is named" in page
    client.force_login(plant.engineer)
    assert client.get("/capacity/").status_code == 403


def test_what_would_find_no_room_if_a_host_died(plant: Plant, machines: list[Machine]) -> None:
    Machine.objects.update(recovery="recoverable", movability="free")
    assert [row.left for row in filling.losses()] == [(), ()]
    Host.objects.filter(pk=plant.hosts[1].pk).update(memory_bytes=1)
    assert set(filling.losses()[0].left) == {str(machine) for machine in machines}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"template": "none"}, "template"),
        ({"size": "huge"}, "size"),
        ({"spare": 4}, "spare"),
        ({"growth": -1.0}, "growth"),
    ],
)
def test_what_cannot_be_asked_names_its_field(
    plant: Plant, asked: dict[str, Any], field: str
) -> None:
    template, size = filling.kinds()[0]
    with pytest.raises(ValidationError) as told:
        filling.fits(**{"template": template, "size": size} | asked)
    assert list(told.value.message_dict) == [field]
