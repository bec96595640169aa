"""What a host said is written as of when it was asked, and not as of when its answer arrived."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from millwright.core.lifecycle import MachineObserved
from millwright.environments import actions
from millwright.environments.history import environment_transition, machine_observed
from millwright.environments.models import Environment, Machine, StateTransition
from millwright.hypervisor.fake import FakePool
from millwright.inventory.models import Drift
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.watcher import Watcher

from tests.support.plant import Plant, build_plant


class _Slow:
    """A host whose answer is on its way while something happens."""

    def __init__(self, host: Any, meanwhile: Any) -> None:
        self._host, self._meanwhile = host, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def bulk_state(self, **how: Any) -> Any:
        answer = self._host.bulk_state(**how)
        self._meanwhile()
        return answer


@pytest.fixture
def plant(transactional_db: None) -> Plant:
    return build_plant()


def test_an_answer_from_before_a_start_does_not_say_that_the_machine_is_gone(plant: Plant) -> None:
    request = actions.create_request(plant.engineer, **plant.request_fields("line-1"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    machine = Machine.objects.get()
    machine.operations.update(state="succeeded")
    host = plant.hosts[0]
    Machine.objects.filter(pk=machine.pk).update(host=host, generation=1)
    pool = FakePool(site="s")
    pool.add_host(host.name)
    meanwhile: list[Any] = []
    hosts = Hosts(
        "s",
        on_event=lambda _: None,
        factory=lambda name, uri, _: _Slow(pool.host(name), lambda: [do() for do in meanwhile]),
    )
    hosts.sync({host.name: host.uri})
    watcher = Watcher(hosts, threading.Event())

    def started() -> None:
        row = Machine.objects.get()
        machine_observed(row, MachineObserved.RUNNING, cause="started")
        environment_transition(row.environment, "running", reason="")

    Environment.objects.update(state="provisioning")
    meanwhile.append(started)
    watcher.look(host.name)
    meanwhile.clear()
    assert Machine.objects.get().observed == "running"
    assert Environment.objects.get().state == "running"
    assert not Drift.objects.filter(kind="missing_domain").exists()
    assert not StateTransition.objects.filter(subject_type="machine", after="absent").exists()
    # The next answer is about now: the host knows no such guest.
    watcher.look(host.name)
    assert Machine.objects.get().observed == "absent"
    assert Environment.objects.get().state == "degraded"
    assert Drift.objects.filter(kind="missing_domain").count() == 1
