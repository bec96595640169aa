"""A host sleeps and wakes in a running orchestrator: the durable runner, the watcher and rounds together."""

from __future__ import annotations

import pytest
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation, StateTransition
from millwright.inventory.models import Host
from millwright.inventory.power import ask_sleep, ask_wake

from .conftest import Running

pytestmark = pytest.mark.django_db(transaction=True)

#: Packets go to this machine alone, where nobody listens.
SLEEP = {
    "by": "suspend",
    "wake": "magic_packet",
    "mac": "52:54:00:aa:bb:cc",
    "address": "127.0.0.1",
}


def test_it_falls_asleep_is_not_lost_and_wakes(running: Running) -> None:
    host = running.plant.hosts[1]
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": SLEEP})
    running.until(lambda: Host.objects.get(pk=host.pk).health == "up", "the host is up")
    fake = running.pool.host(host.name)

    def state(operation: Operation) -> str:
        return str(Operation.objects.get(pk=operation.pk).state)

    operation = ask_sleep(running.plant.operator, host, reason="night")
    running.until(lambda: state(operation) in ("succeeded", "failed"), "asleep")
    assert state(operation) == "succeeded", Operation.objects.get(pk=operation.pk).error
    assert fake.asleep
    # Its alarm is set, although nobody said until when.
    assert fake.wake_after_s == 24 * 3600
    assert Host.objects.get(pk=host.pk).power == "asleep"

    operation = ask_wake(running.plant.operator, host, reason="work")
    running.until(lambda: Host.objects.get(pk=host.pk).power == "waking", "it is woken")
    running.until(
        lambda: "magic packet" in Operation.objects.get(pk=operation.pk).progress, "a packet goes"
    )
    fake.wake()
    running.until(lambda: state(operation) in ("succeeded", "failed"), "awake")
    assert state(operation) == "succeeded", Operation.objects.get(pk=operation.pk).error
    assert Host.objects.get(pk=host.pk).power == "awake"
    # All the while nobody took it for lost.
    assert not StateTransition.objects.filter(
        subject_type="host", subject_id=str(host.pk), aspect="health", after__in=("suspect", "down")
    ).exists()

    # Asleep once more, and woken by hand: the watcher finds it.
    operation = ask_sleep(running.plant.operator, host, reason="night")
    running.until(lambda: state(operation) == "succeeded", "asleep again")
    fake.wake()
    running.until(lambda: Host.objects.get(pk=host.pk).power == "awake", "found awake")
    assert "nobody here has woken it" in Host.objects.get(pk=host.pk).power_reason


def test_a_request_wakes_the_host_that_sleeps_and_is_built_there(running: Running) -> None:
    plant, (first, host) = running.plant, running.plant.hosts
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": SLEEP})
    running.until(lambda: not Host.objects.exclude(health="up").exists(), "both hosts are up")
    asleep = ask_sleep(plant.operator, host, reason="night")
    running.until(lambda: Host.objects.get(pk=host.pk).power == "asleep", "asleep")
    running.until(
        lambda: Operation.objects.get(pk=asleep.pk).state == "succeeded", "its operation is over"
    )
    Host.objects.filter(pk=first.pk).update(administration="cordoned")
    request = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    operation = Operation.objects.get(kind="provision")
    running.until(
        lambda: f"waiting for {host.name}" in Operation.objects.get(pk=operation.pk).progress,
        "it waits",
    )
    assert Machine.objects.get().host == host
    waking = Operation.objects.get(kind="wake_host")
    running.until(
        lambda: "magic packet" in Operation.objects.get(pk=waking.pk).progress, "a packet goes"
    )
    assert Environment.objects.get().state == "provisioning"
    running.pool.host(host.name).wake()
    running.until(lambda: Environment.objects.get().state in ("running", "failed"), "built")
    operation.refresh_from_db()
    assert Environment.objects.get().state == "running", operation.error
    assert operation.steps.get(name="awake").detail == f"{host.name} is awake"
    assert Machine.objects.get().host == host
