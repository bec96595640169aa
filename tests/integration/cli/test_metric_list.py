"""The metric list holds what orchestrator and vPLC show."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from millwright.inventory.models import Host
from millwright.orchestrator.metrics import PlantCollector, hosts_by_health
from millwright.orchestrator.promises import Promises
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from industrial.runtime.metrics import _VplcCollector
from monitoring import METRICS
from tests.support.plant import Plant


def _names(text: str) -> set[str]:
    families = text_string_to_metric_families(text)
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def _listed(shown_by: str) -> set[str]:
    return {metric.name for metric in METRICS if metric.shown_by == shown_by}


def _service() -> SimpleNamespace:
    return SimpleNamespace(
        active=threading.Event(),
        promises=Promises(),
        outside=None,
        reconciliation=None,
        retaining=None,
    )


@pytest.mark.django_db(transaction=True)
def test_every_metric_of_the_orchestrator_is_listed(transactional_db: None) -> None:
    service = _service()
    registry = CollectorRegistry()
    registry.register(PlantCollector(cast(Any, service)))
    assert _names(generate_latest(registry).decode()) == _listed("orchestrator")


def test_every_metric_of_the_vplc_is_listed() -> None:
    """On a scan that is made up: which names there are does not depend on the numbers."""
    from industrial.runtime.shm import BUCKETS, Clock, Retain, Retained, Role

    zeros = (0,) * BUCKETS
    task = SimpleNamespace(
        name="main",
        interval_ns=10_000_000,
        scan_ns_max=1,
        late_ns_max=1,
        scans=1,
        overruns=0,
        scan_buckets=zeros,
        late_buckets=zeros,
        scan_ns_sum=1,
        late_ns_sum=1,
    )
    shm = SimpleNamespace(
        scan_pid=7,
        tasks=lambda: [task],
        heartbeat_age_s=0.1,
        state=1,
        fifo=True,
        forces=list,
        fault=(0, 0, 0, 0),
        retain=Retain(Retained.NONE, 0, 0, None),
        clock=Clock(trusted=True, steps=0, gaps=0, last_step_ns=0, last_gap_ns=0),
        crashes=0,
        role=Role.ACTIVE,
    )
    device = SimpleNamespace(
        name="tank", good=True, errors=0, reads=1, last_good=0.0, latency_s=0.001
    )
    protocols = SimpleNamespace(
        boot_id="0",
        shm=lambda: shm,
        inbox=SimpleNamespace(active_program=lambda: None),
        scanner=SimpleNamespace(devices=[device]),
        modbus=SimpleNamespace(connections=0, requests=0, refused=0),
        faults={},
        clients=lambda: {"modbus": (1, 0)},
    )
    registry = CollectorRegistry()
    registry.register(_VplcCollector(cast(Any, protocols)))
    assert _names(generate_latest(registry).decode()) == _listed("vplc")


def test_a_plant_is_counted(plant: Plant) -> None:
    service = _service()
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in PlantCollector(cast(Any, service))._collect()
        for sample in family.samples
    }
    assert samples["millwright_hosts", ("up",)] == 2
    assert samples["millwright_hosts", ("asleep",)] == 0
    assert samples["millwright_orchestrator_active", ()] == 0


def test_a_host_that_sleeps_is_not_counted_as_one_that_is_up(plant: Plant) -> None:
    def counted() -> dict[str, float]:
        return {row.labels["health"]: row.value for row in hosts_by_health().samples}

    for power in ("falling_asleep", "asleep", "waking"):
        Host.objects.filter(pk=plant.hosts[0].pk).update(power=power)
        assert counted() == {"up": 1, "asleep": 1, "suspect": 0, "down": 0}
    Host.objects.filter(pk=plant.hosts[1].pk).update(health="down")
    assert counted() == {"up": 0, "asleep": 1, "suspect": 0, "down": 1}
