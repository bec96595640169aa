"""Hosts that sleep, on their page, over the API and by command: the same refusals everywhere."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from millwright.core.lifecycle import HostPower
from millwright.environments.models import Operation
from millwright.inventory.models import Host
from millwright.inventory.power import ask_wake, change_power

from tests.support.plant import Plant, signed_in

SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}


@pytest.fixture
def sleepy(plant: Plant) -> Host:
    host = plant.hosts[1]
    Host.objects.filter(pk=host.pk).update(
        policy=host.policy | {"sleep": SLEEP}, health="up", last_seen=timezone.now()
    )
    return Host.objects.get(pk=host.pk)


def page(user: Any, host: Host) -> str:
    return signed_in(user).get(f"/pool/{host.name}/").content.decode()


def press(user: Any, host: Host, wanted: str, **form: str) -> Any:
    where = f"/pool/{host.name}/power/"
    return signed_in(user).post(where, {"wanted": wanted, **form}, follow=True)


def test_it_is_put_to_sleep_and_woken_on_its_page(plant: Plant, sleepy: Host) -> None:
    text = page(plant.operator, sleepy)
    assert "Put to sleep" in text and "by a magic packet for 52:54:00:aa:bb:cc" in text
    # A host whose policy says nothing offers nothing, and says so.
    other = page(plant.operator, plant.hosts[0])
    assert "Put to sleep" not in other and "its policy says nothing about it" in other
    until = timezone.localtime() + dt.timedelta(hours=9)
    form = {"reason": "night", "confirm": "on", "until": f"{until:%Y-%m-%dT%H:%M}"}
    assert press(plant.engineer, sleepy, "sleep", **form).status_code == 403
    for lacking in ("reason", "confirm"):
        told = press(plant.operator, sleepy, "sleep", **(form | {lacking: ""}))
        assert "Give a reason, tick the box" in told.content.decode()
    past = press(plant.operator, sleepy, "sleep", **(form | {"until": "2020-01-01T00:00"}))
    assert "still to come" in past.content.decode()
    assert not Operation.objects.exists()
    assert "being put to sleep" in press(plant.operator, sleepy, "sleep", **form).content.decode()
    operation = Operation.objects.get()
    kept = dt.datetime.fromisoformat(operation.payload["until"])
    assert kept == until.replace(second=0, microsecond=0)
    assert f"/operations/{operation.pk}/" in page(plant.operator, sleepy)

    Operation.objects.update(state="succeeded", ended_at=timezone.now())
    change_power(sleepy, HostPower.FALLING_ASLEEP, "night")
    change_power(sleepy, HostPower.ASLEEP, "night")
    Host.objects.filter(pk=sleepy.pk).update(power_until=until)
    text = page(plant.operator, sleepy)
    assert 'data-state="asleep"' in text and 'data-state="up"' not in text
    assert ">Wake<" in text and "Sleeps until" in text and "night" in text
    assert (
        "being woken"
        in press(plant.operator, sleepy, "wake", reason="work", confirm="on").content.decode()
    )
    assert Operation.objects.filter(kind="wake_host", host=sleepy).count() == 1


def test_what_was_typed_and_refused_stands_there_again(plant: Plant, sleepy: Host) -> None:
    form = {"reason": 'nobody works "tonight"', "until": "2020-01-01T00:00", "confirm": "on"}
    told = press(plant.operator, sleepy, "sleep", **form)
    text = told.content.decode().split('id="power"')[1]
    assert told.status_code == 422
    assert 'value="nobody works &quot;tonight&quot;"' in text
    assert 'name="until" value="2020-01-01T00:00"' in text
    assert 'name="confirm" required checked' in text
    # It has become busy meanwhile: the form stays, with what keeps the host awake beside it.
    operation = _work_at(sleepy)
    text = press(plant.operator, sleepy, "sleep", reason="night", confirm="on").content.decode()
    assert 'value="night"' in text and "is busy" in text
    operation.delete()
    # What was typed to wake it does not stand where it is put to sleep.
    text = press(plant.operator, sleepy, "wake", reason="rush order", confirm="on").content.decode()
    assert "is awake" in text and "rush order" not in text.split('id="power"')[1]
    assert "Put to sleep" in text
    assert not Operation.objects.exists()


def _work_at(host: Host) -> Operation:
    """Work at the host that keeps it awake."""
    return Operation.objects.create(kind="fence", host=host, state="queued", payload={})


def test_the_pool_shows_who_sleeps_and_finds_them(plant: Plant, sleepy: Host) -> None:
    Host.objects.filter(pk=sleepy.pk).update(power="asleep")
    text = signed_in(plant.operator).get("/pool/?state=asleep").content.decode()
    assert sleepy.name in text and plant.hosts[0].name not in text
    assert 'data-state="asleep"' in text
    home = signed_in(plant.operator).get("/").content.decode()
    assert "1 sleeps" in home and "of 2 hosts are up" in home
    found = signed_in(plant.operator).get(f"/search/?q={sleepy.name}").content.decode()
    assert 'data-state="asleep"' in found


def test_one_that_does_not_wake_says_so_on_its_page(plant: Plant, sleepy: Host) -> None:
    Host.objects.filter(pk=sleepy.pk).update(power="asleep", power_since=timezone.now())
    operation = ask_wake(None, Host.objects.get(pk=sleepy.pk), reason="a request")
    Operation.objects.filter(pk=operation.pk).update(
        state="failed", ended_at=timezone.now(), error="not within 300 s"
    )
    text = page(plant.operator, sleepy)
    assert "It does not wake." in text and "not within 300 s" in text
    assert "1 try has failed" in text


def test_the_api_refuses_and_takes_the_same(plant: Plant, sleepy: Host, client: Client) -> None:
    def post(user: Any, name: str, verb: str, **body: Any) -> Any:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client.post(f"/api/v1/hosts/{name}/{verb}/", body, content_type="application/json")

    assert post(plant.engineer, sleepy.name, "sleep", reason="x").status_code in (403, 404)
    refused = post(plant.operator, plant.hosts[0].name, "sleep", reason="x")
    assert refused.status_code in (400, 409, 422)
    assert "its policy says nothing about it" in refused.content.decode()
    awake = post(plant.operator, sleepy.name, "wake", reason="x")
    assert "is awake" in awake.content.decode()
    until = timezone.now() + dt.timedelta(hours=8)
    made = post(plant.operator, sleepy.name, "sleep", reason="night", until=until.isoformat())
    assert (made.status_code, made.json()["kind"]) == (202, "sleep_host")
    assert Operation.objects.get().host == sleepy
    row = client.get(f"/api/v1/hosts/{sleepy.name}/").json()
    assert (row["power"], row["power_until"]) == ("awake", None)
