"""Hosts that sleep while they are not needed: what is remembered, told, decided, done and shown."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import consolidating
from millwright.balancing.models import Consolidating, DemandHour
from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments.models import DemandSample, Machine, Operation
from millwright.inventory.models import CpuClaim, Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]

# Whoever is put to sleep is told a time that is to come.
NOW = timezone.now().replace(minute=30, second=0, microsecond=0)
SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:12:34:56"}


@pytest.fixture
def quiet(plant: Plant, machines: list[Machine]) -> Host:
    """Two weeks in which little was wanted; the second host is empty and may sleep."""
    first, second = Host.objects.order_by("name")
    Machine.objects.update(host=first)
    Operation.objects.update(state="succeeded")
    CpuClaim.objects.filter(host=second).delete()
    Host.objects.update(memory_bytes=2**42)
    second.refresh_from_db()
    second.policy["sleep"] = SLEEP
    second.save()
    DemandHour.objects.bulk_create(
        DemandHour(at=NOW.replace(minute=0) - dt.timedelta(hours=n), cpus=0.1, memory_bytes=2**30)
        for n in range(1, 337)
    )
    return second


def answer() -> list[tuple[str, str]]:
    return [(row["what"], row["parts"][0]["code"]) for row in consolidating.told().answer]


def test_off_it_only_remembers_what_is_wanted(plant: Plant, machines: list[Machine]) -> None:
    DemandSample.objects.all().delete()
    Machine.objects.exclude(host=None).update(memory_bytes=2**30)
    count = Machine.objects.exclude(host=None).count()
    for minute, cpus in ((0, 0.5), (10, 2.0), (20, 1.0)):
        at = NOW.replace(minute=minute)
        DemandSample.objects.all().delete()
        for machine in Machine.objects.exclude(host=None):
            DemandSample.objects.create(machine=machine, at=at, cpu_ratio=cpus, wait_ratio=0.5)
        assert consolidating.consolidation_round(at) == 0
    (row,) = DemandHour.objects.all()
    assert (row.at.minute, row.cpus, row.memory_bytes) == (0, 2.5 * count, count * 2**30)
    assert answer() == []
    # Not twice in five minutes.
    consolidating.consolidation_round(NOW.replace(minute=24))
    assert consolidating.told().last_round == NOW.replace(minute=20)


def test_of_many_that_stay_awake_the_first_are_named_and_the_rest_counted(
    plant: Plant, quiet: Host, client: Client
) -> None:
    Host.objects.bulk_create(
        Host(
            name=f"line-{number:03}",
            uri=f"qemu+tls://line-{number:03}/system",
            topology=plant.hosts[0].topology,
            memory_bytes=2**38,
            health="up",
            policy=plant.hosts[0].policy | {"sleep": SLEEP},
            # Woken two hours ago: for three they stay awake.
            power_since=NOW - dt.timedelta(hours=2),
        )
        for number in range(consolidating.SHOWN + 20)
    )
    consolidating.set_consolidation(plant.operator, "shadow", keep_awake=1)
    consolidating.consolidation_round(NOW)
    kept = [row for row in consolidating.told().answer if row["what"] == "kept"]
    assert len(kept) == consolidating.SHOWN
    last = consolidating.told().answer[-1]
    assert (last["what"], last["text"]) == ("more", "and 20 more")
    client.force_login(plant.operator)
    assert "and 20 more" in client.get("/balancing/").content.decode()


def test_what_is_older_than_a_forecast_looks_is_forgotten(plant: Plant) -> None:
    for days in (28, 30):
        DemandHour.objects.create(at=NOW - dt.timedelta(days=days), cpus=1, memory_bytes=1)
    consolidating.consolidation_round(NOW)
    assert DemandHour.objects.filter(at__lt=NOW - dt.timedelta(days=29)).count() == 0
    assert DemandHour.objects.count() == 2


@pytest.mark.parametrize("mode", ["shadow", "recommend"])
def test_it_is_told_and_nothing_is_done(plant: Plant, quiet: Host, mode: str) -> None:
    consolidating.set_consolidation(plant.operator, mode, keep_awake=1)
    assert consolidating.consolidation_round(NOW) == 0
    assert ("sleep", "consolidate.sleep") in answer()
    assert not Operation.objects.filter(kind=OperationKind.SLEEP_HOST).exists()


def test_an_empty_host_is_put_to_sleep_once_and_woken_when_more_is_wanted(
    plant: Plant, quiet: Host
) -> None:
    consolidating.set_consolidation(plant.operator, "automatic", keep_awake=1)
    assert consolidating.consolidation_round(NOW) == 1, consolidating.told().answer
    (operation,) = Operation.objects.filter(kind=OperationKind.SLEEP_HOST)
    assert operation.host == quiet
    assert operation.requested_by is None
    # Ordered already: the next round finds it under way.
    assert consolidating.consolidation_round(NOW + dt.timedelta(minutes=5)) == 0
    assert Operation.objects.filter(kind=OperationKind.SLEEP_HOST).count() == 1
    Operation.objects.update(state="succeeded")
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.ASLEEP, power_since=NOW)
    later = NOW + dt.timedelta(minutes=20)
    assert consolidating.consolidation_round(later) == 0
    busy = Machine.objects.exclude(host=None)[0]
    DemandSample.objects.create(machine=busy, at=later, cpu_ratio=500.0, wait_ratio=0)
    assert consolidating.consolidation_round(later + dt.timedelta(minutes=5)) == 1
    (operation,) = Operation.objects.filter(kind=OperationKind.WAKE_HOST)
    assert operation.host == quiet
    assert answer() == [("wake", "consolidate.more")]


def test_what_only_rows_know_keeps_it_awake_and_is_told(plant: Plant, quiet: Host) -> None:
    machine = Machine.objects.exclude(host=None)[0]
    CpuClaim.objects.create(host=quiet, machine=machine, cpu=1, vcpu=0, operation=uuid4())
    consolidating.set_consolidation(plant.operator, "automatic", keep_awake=1)
    assert consolidating.consolidation_round(NOW) == 0
    assert ("kept", "power.not_empty") in answer()
    assert "sleep" not in dict(answer())


def test_before_a_week_is_known_it_says_from_when_on(plant: Plant, quiet: Host) -> None:
    DemandHour.objects.filter(at__lt=NOW - dt.timedelta(days=5)).delete()
    consolidating.set_consolidation(plant.operator, "automatic", keep_awake=1)
    assert consolidating.consolidation_round(NOW) == 0
    assert answer() == [("kept", "consolidate.no_history"), ("kept", "consolidate.ready")]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mode": "always"}, "mode"),
        ({"headroom_percent": 201}, "headroom_percent"),
        ({"keep_awake": 0}, "keep_awake"),
        ({"least_hours": 0}, "least_hours"),
        ({"begin": "25:00", "end": "06:00"}, "begin"),
        ({"begin": "20:00"}, "end"),
    ],
)
def test_what_cannot_be_is_refused(plant: Plant, given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as told:
        consolidating.set_consolidation(plant.operator, **given)
    assert list(told.value.message_dict) == [field]
    assert consolidating.told().mode == "off"


def test_it_is_for_those_who_keep_the_pool(plant: Plant, client: Client) -> None:
    with pytest.raises(PermissionRefused):
        consolidating.set_consolidation(plant.engineer, "automatic")
    client.force_login(plant.engineer)
    path = "/api/v1/recommendations/consolidation/"
    assert client.get(path).status_code == 403
    assert client.post(path, {"mode": "automatic"}, "application/json").status_code == 403
    assert not Consolidating.objects.exclude(mode="off").exists()


def test_page_and_api_set_it_and_show_what_was_decided(
    plant: Plant, quiet: Host, client: Client
) -> None:
    client.force_login(plant.operator)
    form = {"verb": "consolidation", "mode": "recommend", "keep_awake": "1", "begin": "17:00"}
    page = client.post("/balancing/", form | {"end": "23:00", "reason": "nights"}, follow=True)
    assert page.status_code == 200
    assert AuditEntry.objects.filter(action="balancer.consolidation").count() == 1
    path = "/api/v1/recommendations/consolidation/"
    told = client.post(
        path, {"begin": "", "end": "", "headroom_percent": 30}, "application/json"
    ).json()
    assert (told["mode"], told["headroom_percent"], told["begin"]) == ("recommend", 30, "")
    consolidating.consolidation_round(NOW)
    row = next(row for row in client.get(path).json()["answer"] if row["what"] == "sleep")
    assert row["host"] == quiet.name
    text = client.get("/balancing/").content.decode()
    assert "it sleeps for" in text
    assert quiet.name in text
    german = client.get("/balancing/", headers={"accept-language": "de"}).content.decode()
    assert "Stunden" in german


def test_what_was_typed_and_refused_stands_there_again(plant: Plant, client: Client) -> None:
    client.force_login(plant.operator)
    form = {"verb": "consolidation", "mode": "shadow", "keep_awake": "0", "reason": "fewer fans"}
    page = client.post("/balancing/", form | {"headroom_percent": "35", "begin": "20:00"})
    text = page.content.decode()
    assert page.status_code == 422
    assert "see the marked fields" in text.split('id="sleeping"')[0]
    card = text.split('id="sleeping"')[1]
    assert 'id="sleep-keep_awake-wrong"><div>0: from 1 to ' in card
    assert '<option value="shadow" selected>' in card
    for name, value in form.items() | {("headroom_percent", "35"), ("begin", "20:00")}:
        assert name in ("verb", "mode") or f'name="{name}" value="{value}"' in card, name
    assert (consolidating.told().mode, consolidating.told().headroom_percent) == ("off", 20)
