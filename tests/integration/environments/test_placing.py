"""A new machine goes where there is room and where least is done: by what was measured lately, small plant or large."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone
from millwright.balancing import pictures
from millwright.balancing.models import Picture, PlacementRule
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import Rule, RuleKind, Vm
from millwright.core.balancing.frame import Frame
from millwright.core.balancing.state import State
from millwright.core.placement import Placement
from millwright.environments.models import DemandSample, Machine
from millwright.environments.placement import place_machine, preview
from millwright.inventory.models import CpuClaim, Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]


def _plan() -> Placement:
    spec = TemplateVersion.objects.get().spec
    shared = [{"role": "shared"}, {"role": "shared"}]
    size = {"name": "small", "vcpus": shared, "memory_bytes": 2**30, "disk_bytes": 2**31}
    return preview(spec | {"class": "shared", "sizes": [size]}, "small", cell="", strict=False)


def _used(plan: Placement) -> dict[str, float]:
    return {verdict.host: round(verdict.parts["used"], 3) for verdict in plan.verdicts}


@pytest.fixture
def hot(plant: Plant, machines: list[Machine]) -> tuple[str, str]:
    """Both hosts hold one machine of the same size; that of the first wants more CPUs than there are."""
    first, second = plant.hosts
    CpuClaim.objects.all().delete()
    Machine.objects.update(service_class="shared", realtime_cores=0, cpu_assignment={})
    Machine.objects.filter(pk=machines[1].pk).update(host=second)
    now = timezone.now()
    for minute in range(1, 9):
        at = now - dt.timedelta(minutes=minute)
        for machine, ratio in ((machines[0], 4.0), (machines[1], 0.25)):
            DemandSample.objects.create(
                machine=machine, at=at, cpu_ratio=ratio / 2, wait_ratio=ratio / 2
            )
    return first.name, second.name


def test_a_new_machine_does_not_go_to_the_hottest_host(
    plant: Plant, machines: list[Machine], hot: tuple[str, str]
) -> None:
    first, second = hot
    plan = _plan()
    assert plan.chosen is not None
    assert plan.chosen.host == second
    # Three shared CPUs each: four wanted of them, and a quarter of one.
    assert _used(plan) == {first: round(1 - 4 / 3, 3), second: round(1 - 0.25 / 3, 3)}
    shown: Any = plan.as_dict()["hosts"]
    assert all("used" in row["parts"] for row in shown)
    # What it works with on cores of its own is nobody else's.
    claims = {"0": "3", "1": "4", "2": "5"}
    Machine.objects.filter(pk=machines[0].pk).update(cpu_assignment={"claims": claims})
    assert _used(_plan())[first] == round(1 - 1 / 3, 3)
    # Long ago is not lately, but the freshest that is known; and what was never measured is thought to want its
    # part: with nobody measured an eighth of its vCPUs. Who holds nobody is idle.
    DemandSample.objects.update(at=timezone.now() - dt.timedelta(minutes=20))
    plan = _plan()
    assert plan.chosen is not None
    assert (plan.chosen.host, _used(plan)) == (second, {first: 1.0, second: 1.0})
    assert _assumed(plan) == {first: round(-1 / 3, 3), second: round(-0.25 / 3, 3)}
    # What was switched off since wants nothing of what it used before.
    Machine.objects.filter(pk=machines[0].pk).update(desired="stopped")
    assert _assumed(_plan()) == {second: round(-0.25 / 3, 3)}
    Machine.objects.filter(pk=machines[0].pk).update(desired="running")
    DemandSample.objects.all().delete()
    Machine.objects.filter(pk=machines[0].pk).update(vcpus=7)
    assert _assumed(_plan()) == {first: round(-4 / 8 / 3, 3), second: round(-2 / 8 / 3, 3)}
    Machine.objects.filter(pk=machines[0].pk).update(cpu_reservation=2.0)
    Machine.objects.filter(pk=machines[1].pk).update(desired="stopped")
    plan = _plan()
    assert plan.chosen is not None
    assert (plan.chosen.host, _assumed(plan)) == (second, {first: round(-2 / 3, 3)})


def _assumed(plan: Placement) -> dict[str, float]:
    parts = {verdict.host: verdict.parts.get("assumed") for verdict in plan.verdicts}
    return {host: round(value, 3) for host, value in parts.items() if value is not None}


def test_who_has_not_been_measured_is_thought_to_use_what_the_others_use(
    plant: Plant, machines: list[Machine], hot: tuple[str, str]
) -> None:
    """Four CPUs wanted by two vCPUs: no machine is thought to want more than all of its own."""
    first, second = hot
    DemandSample.objects.filter(machine=machines[1]).delete()
    assert _assumed(_plan()) == {second: round(-2 / 3, 3)}
    DemandSample.objects.update(cpu_ratio=0.25, wait_ratio=0.25)
    plan = _plan()
    assert (_used(plan)[first], _assumed(plan)) == (
        round(1 - 0.5 / 3, 3),
        {second: round(-0.5 / 3, 3)},
    )


def test_soft_rules_count_where_a_machine_is_placed(
    plant: Plant, machines: list[Machine], django_assert_max_num_queries: Any
) -> None:
    """To machines, hosts and failure domains, as rounds price them; another machine's rules count for nothing."""
    first, second = plant.hosts
    Host.objects.update(memory_bytes=2**36)
    Host.objects.filter(pk=first.pk).update(labels={"domain": "a"})
    one, two = (Machine.objects.get(pk=each.pk) for each in machines)
    Machine.objects.filter(pk=one.pk).update(host=None)
    one.refresh_from_db()

    def told() -> dict[str, float]:
        return {v.host: v.parts.get("soft_rules", 0.0) for v in place_machine(one).verdicts}

    assert set(told().values()) == {0.0}
    for kind, sign in (("apart", -1), ("together", 1), ("spread", -1), ("near", 1)):
        rule = PlacementRule.objects.create(name=kind, kind=kind, hard=False, weight=1.5)
        rule.machines.set([one, two])
        assert told() == {first.name: sign * 0.5, second.name: 0.0}
        plan = place_machine(one)
        assert plan.chosen is not None
        assert plan.chosen.host == (first.name if sign > 0 else second.name)
        rule.enabled = False
        rule.save()
    assert set(told().values()) == {0.0}
    for kind, sign in (("on_hosts", 1), ("off_hosts", -1)):
        rule = PlacementRule.objects.create(name=kind, kind=kind, hard=False, weight=0.75)
        rule.machines.set([one])
        rule.hosts.set([second])
        assert told() == {first.name: 0.0, second.name: sign * 0.25}
        rule.delete()
    # As the balancer prices it, in CPUs.
    rule = PlacementRule.objects.create(name="far", kind="apart", hard=False, weight=1.5)
    rule.machines.set([one, two])
    state = State(
        Frame(
            replace(
                read_plant(),
                vms=(*read_plant().vms, Vm(str(one), 2, 1)),
                rules=(Rule("far", RuleKind.APART, (str(one), str(two)), hard=False, weight=1.5),),
            )
        )
    )
    unit = int(state.frame.unit_of[state.frame.vm_index[str(one)]])
    price = dict(zip(state.frame.host_names, state.soft_price(unit).tolist(), strict=True))
    assert {host: -value / 3 for host, value in price.items()} == told()
    with django_assert_max_num_queries(16):
        place_machine(one)


def test_a_machine_that_is_moved_or_started_goes_by_it_too(
    plant: Plant, machines: list[Machine], hot: tuple[str, str]
) -> None:
    plan = place_machine(machines[1])
    assert plan.chosen is not None
    assert plan.chosen.host == hot[1]


def test_of_a_large_plant_what_the_orchestrator_keeps_is_read(
    plant: Plant,
    machines: list[Machine],
    hot: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:
    asked = _used(_plan())
    monkeypatch.setattr(pictures, "SMALL", 0)
    assert set(_used(_plan()).values()) == {1.0}
    begun = timezone.now()
    pictures.picture_round(begun)
    DemandSample.objects.all().delete()
    with django_assert_max_num_queries(8):
        plan = _plan()
    assert _used(plan) == asked
    # What is kept of long ago tells nothing, and keeps nobody away.
    Picture.objects.update(as_of=begun - pictures.STALE)
    assert set(_used(_plan()).values()) == {1.0}


def test_a_host_that_is_gone_or_new_does_no_harm(
    plant: Plant, hot: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SMALL", 0)
    pictures.picture_round()
    Picture.objects.filter(name="wanted").update(body={"nobody": [3.0, 0.0]})
    plan = _plan()
    assert plan.chosen is not None
    assert Host.objects.filter(name=plan.chosen.host).exists()


def test_what_the_release_before_keeps_has_a_name_of_its_own(
    plant: Plant, hot: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an upgrade runs its placements read "used" as one number a host, which would be two."""
    monkeypatch.setattr(pictures, "SMALL", 0)
    asked = timezone.now()
    Picture.objects.create(name="used", asked_at=asked, as_of=asked, body={hot[0]: 3.0})
    _plan()
    pictures.picture_round()
    assert not Picture.objects.filter(name="used").exists()
    assert not Picture.objects.exclude(error="").exists()
