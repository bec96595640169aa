"""The job that holds the ledger against Prometheus: what it finds becomes a metric that an alert watches."""

from __future__ import annotations

import datetime as dt
import json
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.utils import timezone
from millwright.environments.models import Machine
from millwright.orchestrator.metrics import reconciled
from millwright.orchestrator.reconciliation import PrometheusAway, Reconciliation
from millwright.service_levels import ledger
from millwright.settings import get_settings

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db

#: A little after the end of the hour from 13:00, in which the machine was down from 13:10 to 13:20.
NOW = second(2 * 3600 + 300)
#: Samples of an hour at an interval of 5 s.
SAMPLES = 720


@pytest.fixture
def machine(plant: Plant) -> Machine:
    found = machine_of(plant)
    put_in_service(found)
    write(found, 4200, "stopped")
    write(found, 4800, "running")
    ledger.read_history(second(7200))
    return found


class Prometheus:
    """Answers with so many samples that were up, beside an Alertmanager that takes what it is told."""

    def __init__(self, up: int, of: int = SAMPLES) -> None:
        self.up, self.of = up, of
        self.away = False
        self.told: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v2/alerts":
            self.told += json.loads(request.content)
            return httpx.Response(200)
        if self.away:
            raise httpx.ConnectError("refused")
        if request.url.path == "/-/ready":
            return httpx.Response(200)
        if request.url.path == "/api/v1/rules":
            groups = [{"name": "slo-live", "interval": 5}]
            return httpx.Response(200, json={"data": {"groups": groups}})
        value = self.of if "count_over_time" in request.url.params["query"] else self.up
        rows = [{"metric": {"environment": "filling-line-1"}, "value": [0, str(value)]}]
        return httpx.Response(200, json={"data": {"result": rows}})


def job(prometheus: Prometheus) -> Reconciliation:
    client = httpx.Client(transport=httpx.MockTransport(prometheus))
    return Reconciliation(get_settings(), threading.Event(), client)


def shown(found: Reconciliation) -> dict[str, float]:
    """The metrics of the job by name."""
    service: Any = SimpleNamespace(reconciliation=found)
    return {
        sample.name.removeprefix("millwright_reconciliation_"): sample.value
        for family in reconciled(service)
        for sample in family.samples
    }


def test_ledgers_that_agree_alarm_nobody_and_each_hour_is_compared_once(machine: Machine) -> None:
    found = job(Prometheus(up=SAMPLES - 120))
    assert found.round(NOW) == 1
    assert found.latest["filling-line-1"].ledger_s == pytest.approx(600)
    assert shown(found)["unexplained_seconds"] == 0
    assert shown(found)["timestamp_seconds"] == NOW.timestamp()
    assert found.round(NOW) == 0


@pytest.mark.parametrize("up", [SAMPLES, SAMPLES - 240])
def test_a_difference_beyond_what_sampling_explains_is_shown_for_the_alert(
    machine: Machine, up: int
) -> None:
    found = job(Prometheus(up))
    found.round(NOW)
    # Ten minutes apart, less what two edges may differ by.
    assert 500 < shown(found)["unexplained_seconds"] <= 600


def test_what_prometheus_did_not_see_is_told_apart(machine: Machine) -> None:
    found = job(Prometheus(up=0, of=0))
    found.round(NOW)
    assert shown(found)["unexplained_seconds"] == 0
    assert shown(found)["uncompared_seconds"] == pytest.approx(3600, abs=10)


def test_an_environment_that_was_in_service_for_part_of_the_hour_is_left_out(plant: Plant) -> None:
    late = machine_of(plant)
    put_in_service(late, 4000)
    ledger.read_history(second(7200))
    found = job(Prometheus(up=0))
    assert found.round(NOW) == 1
    assert found.latest == {}


def test_hours_without_prometheus_are_made_up_for(machine: Machine) -> None:
    prometheus = Prometheus(up=SAMPLES)
    found = job(prometheus)
    assert found.round(NOW) == 1
    prometheus.away = True
    with pytest.raises(PrometheusAway):
        found.round(NOW + dt.timedelta(hours=1))
    prometheus.away = False
    assert found.round(NOW + dt.timedelta(hours=2)) == 2


def test_alertmanager_is_told_when_prometheus_is_silent_and_not_at_once(machine: Machine) -> None:
    prometheus = Prometheus(up=SAMPLES)
    found, now = job(prometheus), timezone.now()
    assert found.look(now)
    prometheus.away = True
    for seconds in (0, 29):
        assert not found.look(now + dt.timedelta(seconds=seconds))
    assert prometheus.told == []
    assert not found.look(now + dt.timedelta(seconds=31))
    (alert,) = prometheus.told
    assert alert["labels"]["alertname"] == "PrometheusDown"
    assert alert["startsAt"] == now.isoformat()
    prometheus.away = False
    assert found.look(now + dt.timedelta(seconds=40))
    # Silent again it has its time again.
    prometheus.away = True
    assert not found.look(now + dt.timedelta(seconds=45))
    assert len(prometheus.told) == 1
