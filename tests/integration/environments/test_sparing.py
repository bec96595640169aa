"""Room for hosts to die: told to the balancer, kept by rounds and at each placement, with the reason where it is not."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.balancing import entitling, filling, pictures, recommending, sparing
from millwright.balancing.models import Balancer, Picture, PlacementRule
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import related_survive
from millwright.core.placement import HostVerdict, Placement
from millwright.environments import actions, placement
from millwright.environments.models import Environment, Machine, StartedCpu
from millwright.environments.sizes import size_of
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.snapshot import OVERHEAD_BYTES
from millwright.operations import StepFailed
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant, image_data

__all__ = ["machines"]


@pytest.fixture
def tight(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """Two machines on the first host; the other one holds them and half of another."""
    Machine.objects.update(recovery="recoverable", movability="free", cpu_assignment={})
    one = machines[0].memory_bytes + OVERHEAD_BYTES
    Host.objects.update(memory_bytes=int(2.5 * one))
    return machines


def test_more_hosts_to_spare_than_leave_one_are_refused(
    plant: Plant, tight: list[Machine], client: Client
) -> None:
    for wanted in (2, 3):
        with pytest.raises(ValidationError, match=f"{wanted}: at most 1: of the pool's 2 hosts"):
            recommending.set_mode(plant.operator, "off", spare_hosts=wanted)
    client.force_login(plant.operator)
    asked = {"verb": "mode", "mode": "shadow", "spare_hosts": "3"}
    page = client.post("/balancing/", asked, follow=True)
    assert "at most 1" in page.content.decode()
    # What was said when there were more hosts does not keep anybody from saying something else.
    Balancer.objects.update(spare_hosts=3)
    assert recommending.set_mode(plant.operator, "shadow", spare_hosts=3).mode == "shadow"


def test_no_placement_is_taken_where_as_many_may_die_as_live(
    plant: Plant, tight: list[Machine]
) -> None:
    Host.objects.update(memory_bytes=2**35)
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    assert actions.submit_request(plant.engineer, _request(plant, "three")).state == "submitted"
    # As after one of three hosts was given away, and another died.
    Balancer.objects.update(spare_hosts=2)
    Host.objects.filter(pk=plant.hosts[0].pk).update(health="down")
    with pytest.raises(ValidationError, match="would find no room if mw0-h2 died"):
        actions.submit_request(plant.engineer, _request(plant, "four"))


def _request(plant: Plant, name: str) -> Any:
    return actions.create_request(plant.engineer, **plant.request_fields(name))


def test_a_request_that_would_use_the_room_up_is_refused_with_the_reason(
    plant: Plant, tight: list[Machine], client: Client
) -> None:
    with pytest.raises(ValidationError, match="from 0 to 3"):
        recommending.set_mode(plant.operator, "off", spare_hosts=4)
    client.force_login(plant.operator)
    client.post("/balancing/", {"verb": "mode", "mode": "shadow", "spare_hosts": "1"})
    assert read_plant().settings.spare_hosts == 1
    assert client.get("/api/v1/recommendations/mode/").json()["spare_hosts"] == 1
    with pytest.raises(ValidationError, match="would find no room if mw0-h1 died") as told:
        actions.submit_request(plant.engineer, _request(plant, "three"))
    # Other projects' machines are not named.
    assert "/vplc" not in told.value.messages[0]
    # What is not said again stays; nought is said.
    recommending.set_mode(plant.operator, "recommend")
    assert read_plant().settings.spare_hosts == 1
    recommending.set_mode(plant.operator, "recommend", spare_hosts=0)
    assert actions.submit_request(plant.engineer, _request(plant, "four")).state == "submitted"


def test_what_is_approved_is_placed_only_where_the_room_is_left(
    plant: Plant, tight: list[Machine], tmp_path: Path
) -> None:
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    made = actions.submit_request(plant.engineer, _request(plant, "three"))
    actions.approve_request(plant.approver, made)
    machine = Machine.objects.get(environment__name="three")
    store = DjangoStore("site-1", Ed25519PrivateKey.generate(), tmp_path)
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    with pytest.raises(StepFailed, match="room is kept for 1 hosts to die"):
        store.claim(machine.pk, uuid4())
    machine.refresh_from_db()
    assert machine.host is None
    # With more room it is placed, and any host may still die.
    Host.objects.update(memory_bytes=2**35)
    store.claim(machine.pk, uuid4())
    machine.refresh_from_db()
    assert machine.host is not None


def test_the_next_best_host_is_taken_where_it_leaves_the_room(
    plant: Plant, tight: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    verdicts = (HostVerdict("mw0-h1", score=2.0), HostVerdict("mw0-h2", score=1.0))
    plan = Placement(SimpleNamespace(), verdicts[0], verdicts)  # type: ignore[arg-type]  # not asked
    asked: list[str | None] = []

    def failure(plant_: Any, k: int) -> Any:
        host = next(vm.host for vm in plant_.vms if vm.name == "new")
        asked.append(host)
        lost = SimpleNamespace(hosts=("mw0-h1",), left=(SimpleNamespace(waits_for=""),) * 2)
        return SimpleNamespace(room=host == "mw0-h2", broken=(lost,))

    monkeypatch.setattr(sparing, "failure_capacity", failure)

    def standing(verdict: HostVerdict) -> Any:
        return SimpleNamespace(name="new", host=verdict.host)

    chosen, why = sparing.spared(plan, standing)
    assert chosen.chosen == verdicts[1]
    assert (why, asked) == ("", ["mw0-h1", "mw0-h2"])


def test_a_machine_goes_where_it_would_not_wait_for_ever(
    plant: Plant, machines: list[Machine]
) -> None:
    """What it starts after is not protected: beside that it would find room if both died, and wait."""
    Host.objects.update(memory_bytes=2**35)
    CpuClaim.objects.all().delete()
    Machine.objects.update(cpu_assignment={})
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    machine = Machine.objects.select_related("template_version", "cell", "environment").get(
        environment__name="one"
    )
    Machine.objects.filter(pk=machine.pk).update(host=None, recovery="recoverable")
    plan = placement.place_machine(machine)
    assert plan.chosen is not None
    first = plan.chosen.host
    other = next(row for row in plan.verdicts if row.host != first)
    base = Machine.objects.get(environment__name="two")
    Machine.objects.filter(pk=base.pk).update(host=Host.objects.get(name=first), protected=False)
    entitling.set_entitlement(plant.operator, machine, after=[str(base)])
    standing = sparing.standing_machine(machine)
    assert sparing.spared(plan, standing)[0].chosen == other
    # With nowhere else to go it is refused, with what it would wait for.
    alone = replace(plan, verdicts=(plan.chosen,))
    chosen, why = sparing.spared(alone, standing)
    assert chosen.chosen is None
    assert f"{machine} would find room and wait for {base} if {first} died" in why
    # What it starts after, where it would hold up the other one, is counted and not named.
    Machine.objects.filter(pk=machine.pk).update(host=Host.objects.get(name=first))
    Machine.objects.filter(pk=base.pk).update(host=None)
    base = Machine.objects.select_related("template_version", "cell", "environment").get(pk=base.pk)
    mine = placement.place_machine(base, {first})
    chosen, why = sparing.spared(mine, sparing.standing_machine(base))
    assert chosen.chosen is None
    assert f"1 machines that start after {base} would find room and wait for it" in why
    assert str(machine) not in why
    # Another machine is not kept from its place by it, and Capacity tells it.
    Machine.objects.filter(pk=base.pk).update(host=Host.objects.get(name=first))
    made = actions.submit_request(plant.engineer, _request(plant, "three"))
    assert made.state == "submitted"
    told = {row.host: row for row in filling.losses()}
    assert told[first].left == ()
    assert told[first].waits == (f"{machine} → {base}",)
    assert filling.together().worst[0].waits == (f"{machine} → {base}",)


def test_the_page_and_what_is_kept_tell_who_would_wait(
    plant: Plant, machines: list[Machine], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host.objects.update(memory_bytes=2**35)
    Machine.objects.update(recovery="recoverable")
    Machine.objects.filter(pk=machines[0].pk).update(protected=False)
    entitling.set_entitlement(plant.operator, machines[1], after=[str(machines[0])])
    client.force_login(plant.operator)
    words = f"they wait for what does not start: {machines[1]} → {machines[0]}"
    assert words in client.get("/capacity/").content.decode()
    # Who waits does not restart either: the letter and the first page count it.
    Balancer.objects.update_or_create(pk=1, defaults={"spare_hosts": 1})
    room = filling.spare()
    assert (room.wanted, room.kept, room.left) == (1, 0, 1)
    # Of a large plant the answer is kept, also that of the release before, which named nobody who waits.
    monkeypatch.setattr(pictures, "SMALL", 0)
    Picture.objects.create(
        name="losses", asked_at=timezone.now(), as_of=timezone.now(), body=[["x", ["y"]]]
    )
    assert pictures.Pictures().losses().value == [filling.Loss("x", ("y",))]
    Picture.objects.all().delete()
    pictures.picture_round()
    assert words in client.get("/capacity/").content.decode()
    assert f"would not restart without {room.hosts[0]}: 1" in client.get("/").content.decode()


# --- told from sums, by looking at some machines, or at the whole plant ---------------------------------


def _pool(plant: Plant, dice: random.Random, hosts: int, per_host: int) -> None:
    """Hosts of many sizes and two CPUs; machines of many sizes, some with cores, in hugepages or started with a
    CPU of their host's; a pair kept apart and one kept near."""
    gib = 2**30
    model = Host.objects.get(pk=plant.hosts[1].pk)
    policy = {
        "housekeeping_cpus": "0",
        "realtime_cpus": "1-2",
        "shared_cpus": "3-5",
        "memory_reserved_bytes": 0,
        "best_effort": True,
    }
    Host.objects.update(policy=policy, health="up")
    for number in range(3, hosts + 1):
        model.pk, model.name, model.uri = None, f"mw0-h{number}", f"fake://h{number}"
        model.policy = policy
        model.save()
    one = Machine.objects.select_related("environment").get(environment__name="one")
    Machine.objects.all().update(host=None)
    CpuClaim.objects.all().delete()
    paged = TemplateVersion.objects.get(pk=one.template_version_id)
    paged.pk, paged.version = None, "paged"
    paged.spec = {**paged.spec, "requires": {"hugepages": "1G"}}
    paged.save()
    features = {"old": ["sse"], "new": ["sse", "avx"]}
    started = [
        StartedCpu.objects.create(
            digest=f"{accel}-{name}-{own}", accel=accel, model=name, features=found, passthrough=own
        )
        for accel, own in (("kvm", True), ("kvm", False), ("emulation", False))
        for name, found in features.items()
        if not own or name == "new"
    ]
    everywhere = list(Host.objects.order_by("name"))
    rows = []
    for host in everywhere:
        cores, pages = [1, 2], 4
        host.accel = dice.choice(["kvm", "kvm", "kvm", "emulation"])
        kind = dice.choice(["new", "new", "old"])
        told = dict.fromkeys(("kvm", "emulation"), features[kind])
        for number in range(dice.randrange(per_host + 1)):
            environment = Environment.objects.create(
                name=f"x-{host.name}-{number}",
                project=one.environment.project,
                owner=one.environment.owner,
                state="running",
            )
            own = cores.pop() if cores and dice.random() < 0.3 else 0
            memory = dice.choice([gib, 2 * gib, 4 * gib])
            in_pages = pages * gib >= memory and dice.random() < 0.1
            pages -= memory // gib if in_pages else 0
            cpus = [row for row in started if row.accel == host.accel and row.model == kind]
            row = Machine.objects.create(
                environment=environment,
                name="vplc",
                template_version=paged if in_pages else one.template_version,
                started_cpu=dice.choice(cpus) if cpus and dice.random() < 0.2 else None,
                size="small",
                service_class="realtime" if own else "shared",
                vcpus=2,
                realtime_cores=int(bool(own)),
                memory_bytes=memory,
                disk_bytes=dice.choice([gib, 8 * gib]),
                cell=one.cell,
                host=host,
                observed="running",
                cpu_reservation=dice.choice([0.0, 0.0, 0.25]),
                protected=dice.random() < 0.8,
                cpu_assignment={"claims": {"1": str(own)}} if own else {},
            )
            if own:
                CpuClaim.objects.create(host=host, cpu=own, machine=row, vcpu=1, operation=row.pk)
            rows.append(row)
        size = sum(
            OVERHEAD_BYTES + (0 if row.template_version == paged else row.memory_bytes)
            for row in rows
            if row.host_id == host.pk
        )
        host.memory_bytes = size + (4 + dice.choice([1, 3, 6])) * gib
        host.disk_bytes, host.disk_free_bytes = 100 * gib, dice.choice([4, 30, 60]) * gib
        if dice.random() < 0.8:
            host.equipment = {
                "cpu": {"model": kind, "features": told},
                "pages": [{"size_bytes": gib, "total": 4, "free": pages}],
            }
        host.save()
    for name, kind in (("apart", "apart"), ("near", "near")):
        if len(rows) > 4 and dice.random() < 0.6:
            PlacementRule.objects.create(name=name, kind=kind).machines.set(dice.sample(rows, 2))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_sums_and_the_whole_plant_say_the_same(
    plant: Plant, machines: list[Machine], seed: int, k: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - a plant to compare on, no secret
    _pool(plant, dice, hosts=7, per_host=3 if seed % 2 else 5)
    recommending.set_mode(plant.operator, "off", spare_hosts=k)
    machine = Machine.objects.select_related("template_version", "cell", "environment").get(
        environment__name="one"
    )
    Machine.objects.filter(pk=machine.pk).update(memory_bytes=2**30)
    plan = placement.place_machine(machine)
    assert plan.chosen is not None
    quick = sparing.spared(plan, sparing.standing_machine(machine))
    whole = sparing.spared(replace(plan, pool=None), sparing.standing_machine(machine))
    assert (quick[0].chosen, quick[1]) == (whole[0].chosen, whole[1])


def test_a_pool_with_room_is_told_from_sums_with_a_fixed_number_of_queries(
    plant: Plant,
    machines: list[Machine],
    django_assert_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _pool(plant, random.Random(1), hosts=9, per_host=3)  # noqa: S311
    Host.objects.update(memory_bytes=2**36, disk_free_bytes=2**40, equipment={}, accel="kvm")
    Machine.objects.update(template_version=plant.template)
    PlacementRule.objects.exclude(kind="apart").delete()
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    machine = Machine.objects.select_related("template_version", "cell", "environment").get(
        environment__name="one"
    )

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the whole plant was read")

    monkeypatch.setattr(sparing, "read_plant", never)
    monkeypatch.setattr(sparing, "losses_of", never)
    plan = placement.place_machine(machine)
    standing = sparing.standing_machine(machine)
    # The number of hosts to spare, the machine and what its kind needs; hard rules, machines by kind, what kinds
    # need, CPUs that machines were started with; what starts after what. Hosts were read by the placement.
    with django_assert_num_queries(8):
        chosen, why = sparing.spared(plan, standing)
    assert (chosen, why) == (plan, "")


def test_hosts_in_doubt_are_looked_at_alone(
    plant: Plant, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    _pool(plant, random.Random(1), hosts=9, per_host=3)  # noqa: S311
    Host.objects.update(memory_bytes=2**36, disk_free_bytes=2**40, equipment={}, accel="kvm")
    Machine.objects.update(template_version=plant.template)
    PlacementRule.objects.all().delete()
    near = PlacementRule.objects.create(name="near", kind="near")
    inside = Machine.objects.filter(host__isnull=False, protected=True).order_by("host__name")
    where = inside[0].host.name
    near.machines.set(inside.filter(host__name=where)[:2])
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    machine = Machine.objects.select_related("template_version", "cell", "environment").get(
        environment__name="one"
    )
    asked: list[list[str]] = []
    real = sparing.losses_of

    def noted(plant_: Any, names: list[str]) -> Any:
        asked.append(names)
        # Beside the machines of those hosts there are only amounts.
        assert {vm.host for vm in plant_.vms if vm.name != "one/vplc"} == {where}
        return real(plant_, names)

    monkeypatch.setattr(sparing, "losses_of", noted)
    plan = placement.place_machine(machine)
    # Told from the machines of rules alone, and where that does not tell from those of the host.
    for told, looked_at in ((related_survive, []), (lambda *_: False, [[where]])):
        monkeypatch.setattr(sparing, "related_survive", told)
        chosen, why = sparing.spared(plan, sparing.standing_machine(machine))
        assert (chosen.chosen, why, asked) == (plan.chosen, "", looked_at)


def test_a_calendar_that_reserves_is_looked_at_in_the_whole_plant(
    plant: Plant, machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    Balancer.objects.update(calendar=[{"name": "day", "vms": ["two/vplc"], "reservation": 1.0}])
    read: list[int] = []
    real = sparing.read_plant
    monkeypatch.setattr(sparing, "read_plant", lambda: read.append(1) or real())
    plan = placement.place_machine(
        Machine.objects.select_related("template_version", "cell").get(environment__name="one")
    )
    sparing.spared(plan, sparing.standing_request(_request(plant, "three"), _size(plant)))
    assert read == [1]


def _size(plant: Plant) -> Any:
    request = _request(plant, "four")
    return size_of(request.template_version.spec, request.size)
