"""How full the pool is, how many more fit, and who would be left if a host died."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from django.utils.http import http_date
from millwright.audit.actions import record
from millwright.balancing import filling, pictures, recommending
from millwright.balancing.models import HostDrain, Picture
from millwright.catalog.models import TemplateVersion
from millwright.environments.models import DemandSample, Machine
from millwright.environments.placement import preview
from millwright.inventory.models import CpuClaim, Host

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


@pytest.mark.parametrize("power", ["falling_asleep", "asleep", "waking"])
def test_a_host_that_is_not_awake_is_shown_by_its_own_word(
    plant: Plant, machines: list[Machine], client: Client, power: str
) -> None:
    """The same as on its page and in every form, though it counts as asleep for the balancer."""
    name = plant.hosts[1].name
    Host.objects.filter(name=name).update(power=power)
    assert {row.host: row.state for row in filling.heat()}[name] == power
    client.force_login(plant.operator)
    words = power.replace("_", " ")
    assert f">{words}<" in client.get("/capacity/").content.decode()
    assert f">{words}<" in client.get(f"/pool/{name}/").content.decode()
    # One that is lost on its way is lost.
    Host.objects.filter(name=name).update(health="down")
    assert {row.host: row.state for row in filling.heat()}[name] == "down"


def test_a_host_that_is_emptied_for_sleep_is_not_said_to_be_drained(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    host = plant.hosts[1]
    Host.objects.filter(pk=host.pk).update(administration="draining")
    assert {row.host: row.state for row in filling.heat()}[host.name] == "draining"
    HostDrain.objects.create(host=host, sleep_until=timezone.now() + dt.timedelta(hours=8))
    assert {row.host: row.state for row in filling.heat()}[host.name] == "emptying"
    client.force_login(plant.operator)
    page = client.get("/capacity/").content.decode()
    assert 'data-state="emptying">is being emptied<' in page and 'data-state="draining"' not in page


def test_a_host_that_nobody_measured_lately_is_not_shown_as_idle(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    old = timezone.now() - dt.timedelta(minutes=20)
    DemandSample.objects.create(machine=machines[1], at=old, cpu_ratio=1.5)
    # Nobody is on the second one: that is known.
    assert [row.cpu for row in filling.heat()] == [None, 0.0]
    (full, _empty) = filling.heat_change({str(machines[1]): plant.hosts[1].name})
    assert (full.before.cpu, full.after.cpu) == (None, None)
    client.force_login(plant.operator)
    assert "nothing was measured in that time" in client.get("/capacity/").content.decode()
    assert [row["cpu"] for row in client.get("/api/v1/hosts/heat/").json()] == [None, 0.0]


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
    # A request of it may run without a core of its own where this counts none: said where cores are asked for.
    told = "Counted are machines with cores of their own" in page.decode()
    assert told == bool(filling.cores_of(template, size))
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


def test_of_a_large_pool_requests_read_what_the_orchestrator_keeps(
    plant: Plant,
    machines: list[Machine],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:
    template, size = filling.kinds()[0]
    asked = {"kind": f"{template}/{size}", "spare": "1", "growth": "0.5"}
    wanted = {"template": template, "size": size, "spare": "1", "growth": "0.5"}
    computed = pictures.Pictures().fits(template, size, growth=0.5, spare=1).value
    assert computed is not None
    monkeypatch.setattr(pictures, "SMALL", 0)
    client.force_login(plant.operator)
    page = client.get("/capacity/", asked).content.decode()
    assert page.count("Being computed") == 4
    assert 'hx-trigger="every 3s"' in page
    assert client.get("/api/v1/hosts/heat/").status_code == 202
    waiting = client.get("/api/v1/hosts/capacity/", wanted)
    assert (waiting.status_code, waiting.json()) == (202, {"computing": True})

    begun = timezone.now()
    assert pictures.picture_round(begun) == 5
    monkeypatch.setattr(filling, "fits", None)
    monkeypatch.setattr(pictures, "read_plant", None)
    with django_assert_max_num_queries(20):
        page = client.get("/capacity/", asked).content.decode()
    assert "Being computed" not in page
    assert page.count("As of ") == 3
    assert f"<b>{computed.fits}</b>" in page
    answer = client.get("/api/v1/hosts/capacity/", wanted).json()
    assert dt.datetime.fromisoformat(answer.pop("as_of")) == begun
    assert answer == {**asdict(computed), "days_left": computed.fits / 0.5}
    heat = client.get("/api/v1/hosts/heat/")
    assert heat.headers["Last-Modified"] == http_date(begun.timestamp())
    assert [row["host"] for row in heat.json()] == [host.name for host in plant.hosts]


def test_what_is_kept_is_computed_again_when_something_changed_and_after_a_while(
    plant: Plant, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SMALL", 0)
    template, size = filling.kinds()[0]
    begun = timezone.now()
    pictures.Pictures().fits(template, size, spare=1)
    assert pictures.picture_round(begun) == 5
    soon = begun + pictures.YOUNGEST / 2
    later = begun + pictures.YOUNGEST
    assert pictures.picture_round(later) == 0
    Picture.objects.update(seconds=0.0)
    record(None, "host.cordon", plant.hosts[0])
    assert pictures.picture_round(soon) == 0
    assert pictures.picture_round(later) == 5
    # What takes long is not computed after each change.
    record(None, "host.uncordon", plant.hosts[0])
    Picture.objects.filter(name__startswith="room").update(seconds=60.0)
    Picture.objects.exclude(name__startswith="room").update(seconds=0.0)
    assert pictures.picture_round(later + pictures.YOUNGEST) == 4
    assert pictures.picture_round(later + pictures.OLDEST + pictures.YOUNGEST) == 5
    # A question that nobody asks any more is forgotten, and so is everything of a pool that became small.
    pictures.picture_round(begun + pictures.FORGOTTEN + dt.timedelta(hours=1))
    assert {row.name for row in Picture.objects.all()} == set(pictures.ALWAYS)
    monkeypatch.setattr(pictures, "SMALL", 500)
    assert pictures.picture_round() == 0
    assert not Picture.objects.exists()


def test_what_cannot_be_computed_is_said_and_tried_again_later(
    plant: Plant, machines: list[Machine], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, size = filling.kinds()[0]
    wanted = {"template": template, "size": size, "spare": "1"}
    monkeypatch.setattr(pictures, "SMALL", 0)
    client.force_login(plant.operator)
    assert client.get("/api/v1/hosts/capacity/", wanted).status_code == 202

    def fails(*_words: Any, **_more: Any) -> Any:
        raise ArithmeticError("no core is left to count with")

    begun = timezone.now()
    with monkeypatch.context() as broken:
        broken.setattr(filling, "fits", fails)
        # The others are there; that one is not asked again at once.
        assert pictures.picture_round(begun) == 4
        assert pictures.picture_round(begun + pictures.YOUNGEST) == 0
        page = client.get(
            "/capacity/", {"kind": f"{template}/{size}", "spare": "1"}
        ).content.decode()
        assert "could not be computed: ArithmeticError: no core is left to count with" in page
        assert "Being computed" not in page
        assert "hx-trigger" not in page.split('id="capacity"')[1].split(">")[0]
        told = client.get("/api/v1/hosts/capacity/", wanted)
        assert told.status_code == 503
        assert "no core is left" in told.json()["detail"]
        assert client.get("/api/v1/hosts/heat/").status_code == 200
        # Heat fails later on: what was known stays, with its time and the fault beside it.
        broken.setattr(filling, "heat", fails)
        later = begun + pictures.OLDEST
        assert pictures.picture_round(later) == 3
        page = client.get("/capacity/").content.decode()
        assert page.count("could not be computed") == 1
        assert plant.hosts[0].name in page
        assert client.get("/api/v1/hosts/heat/").headers["Last-Modified"] == http_date(
            begun.timestamp()
        )
    # Mended, the next try answers and nothing is said of the fault any more.
    assert pictures.picture_round(begun + 2 * pictures.OLDEST) == 5
    assert client.get("/api/v1/hosts/capacity/", wanted).status_code == 200
    assert "could not be computed" not in client.get("/capacity/").content.decode()


def test_a_size_that_is_offered_no_more_is_forgotten(
    plant: Plant, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SMALL", 0)
    Picture.objects.create(name="room nothing/small 0", asked_at=timezone.now())
    assert pictures.picture_round() == 4
    assert {row.name for row in Picture.objects.all()} == set(pictures.ALWAYS)


def _catalogue(**requires: Any) -> tuple[str, str]:
    """The template asks for this of its hosts, and for no core of its own."""
    version = TemplateVersion.objects.get()
    shared = [{"role": "shared"}, {"role": "shared"}]
    size = {"name": "small", "vcpus": shared, "memory_bytes": 2**30, "disk_bytes": 2**31}
    version.spec = version.spec | {"class": "shared", "sizes": [size], "requires": requires}
    version.save()
    return version.template.name, "small"


def _accepted(kind: tuple[str, str]) -> set[str]:
    """Hosts that a placement takes now."""
    version = TemplateVersion.objects.get(template__name=kind[0])
    plan = preview(version.spec, kind[1], cell="", strict=False)
    return {verdict.host for verdict in plan.verdicts if verdict.accepted}


def test_no_more_fit_than_disks_hold(plant: Plant, machines: list[Machine]) -> None:
    kind = _catalogue()
    first, second = (host.name for host in plant.hosts)
    Host.objects.update(disk_bytes=100 * 2**30, disk_free_bytes=5 * 2**30)
    Host.objects.filter(name=first).update(disk_free_bytes=2**31 - 1)
    answer = filling.fits(*kind, growth=0.5)
    assert (answer.per_host, answer.days_left) == ({second: 2}, 4)
    assert answer.limited_by == {"storage pool default": 2}
    assert _accepted(kind) == {second}
    for whole in (100 * 2**30, 0):
        Host.objects.update(disk_bytes=whole, disk_free_bytes=0)
        assert filling.fits(*kind).fits == 0
        assert not _accepted(kind)


@pytest.mark.parametrize(
    ("requires", "has", "number"),
    [
        ({"hugepages": "1G"}, {"pages": [(2**30, 5)]}, 5),
        ({"hugepages": "1G"}, {"pages": []}, 0),
        ({"hugepages": "1G"}, {}, None),
        ({"storage_pool": "fast"}, {"pools": [("fast", 7 * 2**30)]}, 3),
        ({"storage_pool": "fast"}, {"pools": [("slow", 7 * 2**30)]}, 0),
        ({"storage_pool": "fast"}, {}, None),
        ({"cpu_features": ["avx2"]}, {"features": ["avx2", "fma"]}, None),
        ({"cpu_features": ["avx2"]}, {"features": ["fma"]}, 0),
        ({"cpu_features": ["avx2"]}, {}, None),
        ({"bandwidth_bytes_s": {"cell": 200_000_000}}, {"nic": 1.25e9}, 6),
        ({"bandwidth_bytes_s": {"cell": 50_000_000}}, {"nic": 4e7}, 0),
        ({"bandwidth_bytes_s": {"cell": 50_000_000}}, {}, None),
        ({"gpu": {"count": 2}}, {"cards": 5}, 2),
        ({"gpu": {"model": "10de:1eb8"}}, {"cards": 3}, 3),
        ({"gpu": {"model": "10de:2222"}}, {"cards": 3}, 0),
        ({"gpu": {}}, {}, None),
        ({"gpu": {"count": 1}}, {}, 0),
    ],
)
def test_no_more_fit_than_what_hosts_have_beside(
    plant: Plant,
    machines: list[Machine],
    requires: dict[str, Any],
    has: dict[str, Any],
    number: int | None,
) -> None:
    """None: as many as of one that asks for nothing of the kind; what is not told keeps nobody away but of cards."""
    first, second = plant.hosts
    Host.objects.filter(pk=second.pk).update(administration="cordoned")
    Machine.objects.update(host=second)
    CpuClaim.objects.all().delete()
    Host.objects.filter(pk=first.pk).update(disk_bytes=10**15, disk_free_bytes=10**14)
    free = filling.fits(*_catalogue()).fits
    assert free > 10
    told: dict[str, Any] = {}
    if "pages" in has:
        told["pages"] = [
            {"node": 0, "size_bytes": size, "total": count, "free": count}
            for size, count in has["pages"]
        ]
    if "pools" in has:
        told["pools"] = [
            {"name": name, "kind": "dir", "active": True, "available_bytes": free_bytes}
            for name, free_bytes in has["pools"]
        ]
    if "features" in has:
        ways = {str(first.accel): has["features"]}
        told["cpu"] = {"model": "Model", "vendor": "", "features": ways}
    if "nic" in has:
        nic = {"name": "eth0", "up": True, "speed_bits_s": int(has["nic"] * 8)}
        told["nics"] = [nic]
    if "cards" in has:
        told["gpus"] = [
            {"address": f"0000:65:00.{index}", "model": "10de:1eb8", "companions": []}
            | {"name": "", "driver": "", "iommu_group": index, "profiles": {}}
            for index in range(has["cards"])
        ]
    Host.objects.filter(pk=first.pk).update(equipment=told)
    kind = _catalogue(**requires)
    fits = filling.fits(*kind).fits
    if number is None:
        assert fits >= free
    else:
        assert fits == number
    assert bool(fits) == (first.name in _accepted(kind))


def test_hosts_that_cannot_keep_time_take_none_that_need_it(
    plant: Plant, machines: list[Machine]
) -> None:
    kind = filling.kinds()[0]
    for host in plant.hosts:
        Host.objects.filter(pk=host.pk).update(accel="emulation")
    assert filling.fits(*kind).fits > 0
    for row in Host.objects.all():
        Host.objects.filter(pk=row.pk).update(policy=row.policy | {"best_effort": False})
    assert not _accepted(kind)
    assert filling.fits(*kind).fits == 0


def test_the_death_of_as_many_hosts_as_are_kept_to_spare_is_shown(
    plant: Plant, machines: list[Machine], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = plant.hosts
    third = Host.objects.create(
        name="mw0-h3",
        uri="test:///h3",
        health="up",
        **{
            field: getattr(Host.objects.get(pk=first.pk), field)
            for field in ("topology", "policy", "memory_bytes", "disk_bytes", "disk_free_bytes")
        },
    )
    Machine.objects.update(recovery="recoverable", movability="free")
    client.force_login(plant.operator)
    # One host to lose, and nobody has named racks: the list of hosts says it all.
    assert "If several die at once" not in client.get("/capacity/").content.decode()
    recommending.set_mode(plant.operator, "off", spare_hosts=2)
    answer = filling.together()
    assert (answer.k, answer.checked, answer.complete, answer.broken) == (2, 3, True, 0)
    page = client.get("/capacity/").content.decode()
    assert "2 hosts, any of them together: every protected machine restarts elsewhere" in page
    # One of three has no room for anybody: the two others may die, but not at once.
    Host.objects.filter(pk=third.pk).update(memory_bytes=1)
    answer = filling.together()
    assert [(row.hosts, set(row.left)) for row in answer.worst] == [
        ((first.name, second.name), {str(machine) for machine in machines})
    ]
    page = client.get("/capacity/").content.decode()
    assert f"{first.name}, {second.name}: " in page
    assert "any of them together" not in page
    monkeypatch.setattr(filling, "SETS", 1)
    page = client.get("/capacity/").content.decode()
    assert "Tried: the 1 sets of 2 hosts whose loss asks for the most, not all." in page
    # Kept for a large plant: as it is computed.
    computed = filling.together()
    monkeypatch.setattr(pictures, "SMALL", 0)
    pictures.picture_round()
    assert pictures.Pictures().together().value == computed


def test_the_loss_of_a_rack_is_shown_where_racks_are_named(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    Machine.objects.update(recovery="recoverable", movability="free")
    Host.objects.filter(pk=plant.hosts[0].pk).update(labels={"domain": "left"})
    client.force_login(plant.operator)
    page = client.get("/capacity/").content.decode()
    assert "1 failure domain: every protected machine restarts elsewhere" in page
    Host.objects.filter(pk=plant.hosts[1].pk).update(labels={"domain": "left"})
    (row,) = filling.together().domains_broken
    assert (row.domain, row.hosts) == ("left", tuple(host.name for host in plant.hosts))
    assert set(row.left) == {str(machine) for machine in machines}
    page = client.get("/capacity/").content.decode()
    assert f"left ({plant.hosts[0].name}, {plant.hosts[1].name}): " in page
    # Hosts without one stand in the list of single hosts.
    Host.objects.update(labels={})
    assert filling.together().domains == 0
    assert "failure domain" not in client.get("/capacity/").content.decode()
