"""What the orchestrator does by itself: the outbox, leases, old requests, the comparison with hosts."""

from __future__ import annotations

import datetime as dt
from uuid import UUID, uuid4

from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.core.lifecycle import OperationKind
from millwright.environments import actions
from millwright.environments.enqueue import enqueue
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.hypervisor import DomainState, DomainStats, Metadata
from millwright.inventory.models import Drift
from millwright.orchestrator import rounds
from millwright.orchestrator.poller import pick_up, unfinished
from millwright.orchestrator.reconciler import reconcile

from tests.support.plant import Plant

SITE = "site-1"
GIB = 2**30


class Recorder:
    """A runner that notes what it is told to start."""

    def __init__(self) -> None:
        self.begun: list[tuple[UUID, int]] = []

    def start(self, operation_id: UUID, attempt: int) -> None:
        self.begun.append((operation_id, attempt))


def approved(plant: Plant, name: str = "filling-line-1") -> Machine:
    request = actions.create_request(plant.engineer, **plant.request_fields(name))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    return Machine.objects.get(environment__name=name)


def test_the_outbox_gives_one_operation_per_machine_and_none_twice(plant: Plant) -> None:
    one, two = approved(plant, "one"), approved(plant, "two")
    later = enqueue(
        OperationKind.STOP,
        actor=None,
        reason="",
        environment=one.environment,
        machine=one,
        exclusive=False,
    )
    runner, started = Recorder(), set()
    assert pick_up(runner, started) == 2
    first = Operation.objects.get(machine=one, kind="provision")
    other = Operation.objects.get(machine=two)
    assert {pk for pk, _ in runner.begun} == {first.pk, other.pk}
    assert pick_up(runner, started) == 0
    Operation.objects.filter(pk=first.pk).update(state="running")
    assert unfinished() == [(first.pk, first.attempt)]
    assert pick_up(runner, started) == 0
    Operation.objects.filter(pk=first.pk).update(state="succeeded")
    assert pick_up(runner, started) == 1
    assert runner.begun[-1] == (later.pk, later.attempt)
    # A retry is another attempt, and is started again.
    Operation.objects.filter(pk=first.pk).update(state="queued", attempt=first.attempt + 1)
    Operation.objects.filter(pk=later.pk).update(state="cancelled")
    assert pick_up(runner, started) == 1
    assert runner.begun[-1] == (first.pk, first.attempt + 1)


def test_a_lease_is_announced_once_and_ends_with_a_stop(plant: Plant) -> None:
    machine = approved(plant)
    Operation.objects.update(state="succeeded")
    now = timezone.now()
    Environment.objects.update(state="running", lease_until=now + dt.timedelta(days=2))
    assert rounds.leases(now) == 0
    assert Environment.objects.get().lease_ending
    assert not Operation.objects.live().exists()
    assert rounds.leases(now + dt.timedelta(days=2)) == 1
    stop = Operation.objects.live().get()
    assert (stop.kind, stop.machine_id, stop.reason) == (
        "stop",
        machine.pk,
        "the lease has ended",
    )
    assert rounds.leases(now + dt.timedelta(days=2)) == 0
    assert AuditEntry.objects.filter(action="environment.lease_ended").count() == 1


def test_a_request_that_nobody_decides_expires(plant: Plant) -> None:
    request = actions.create_request(plant.engineer, **plant.request_fields())
    actions.submit_request(plant.engineer, request)
    Request.objects.update(state="submitted")
    now = timezone.now()
    assert rounds.requests(now) == 0
    assert rounds.requests(now + rounds.REQUEST_LIFETIME + dt.timedelta(seconds=1)) == 1
    request.refresh_from_db()
    assert request.state == "expired"


def domain(name: str, *, uuid: UUID | None = None, **changes: object) -> DomainStats:
    mark: dict[str, object] = {
        "site": SITE,
        "environment": "e",
        "machine": "m",
        "operation": "op-7",
        "generation": 1,
    }
    mark |= {key: value for key, value in changes.items() if key in mark}
    return DomainStats(
        uuid=uuid or uuid4(),
        name=name,
        state=changes.get("state", DomainState.RUNNING),  # type: ignore[arg-type]
        metadata=None if changes.get("foreign") else Metadata(**mark),  # type: ignore[arg-type]
    )


def test_every_difference_is_named_and_goes_when_it_is_gone(plant: Plant) -> None:
    machine = approved(plant)
    Operation.objects.update(state="succeeded")
    host = plant.hosts[0]
    Machine.objects.filter(pk=machine.pk).update(
        host=host, generation=2, observed="running", desired="running"
    )
    machine.refresh_from_db()
    machines = {machine.pk: machine}

    def drifts(*domains: DomainStats) -> dict[tuple[str, str], str]:
        reconcile(host, domains, machines, SITE, timezone.now())
        return {(row.kind, row.name): row.detail for row in Drift.objects.all()}

    own = {"uuid": machine.pk, "generation": 2}
    assert drifts(domain("mw-a", **own)) == {}
    assert drifts(domain("mw-a", **own, state=DomainState.STOPPED)) == {
        ("state", "mw-a"): "stopped in place of running"
    }
    assert drifts(domain("mw-a", uuid=machine.pk, generation=1)) == {
        ("state", "mw-a"): "generation 1 in place of 2"
    }
    found = drifts(
        domain("mw-a", **own),
        domain("mw-left"),
        domain("web", foreign=True),
        domain("mw-b", site="another"),
        domain("mw-probe-1", operation="probe"),
    )
    assert set(found) == {
        ("orphan_domain", "mw-left"),
        ("foreign", "web"),
        ("foreign", "mw-b"),
    }
    assert "op-7" in found["orphan_domain", "mw-left"]
    assert "left alone" in found["foreign", "web"]
    assert set(drifts()) == {("missing_domain", machine.domain_name)}
    Operation.objects.update(state="running")
    # Between two states while an operation is at work.
    assert drifts() == {}
