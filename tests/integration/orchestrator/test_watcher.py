"""What a host said is written as of when it was asked, and not as of when its answer arrived."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from django.utils import timezone
from millwright.core.lifecycle import MachineObserved
from millwright.environments import actions
from millwright.environments.history import environment_transition, machine_observed
from millwright.environments.models import Environment, Machine, Operation, StateTransition
from millwright.hypervisor import (
    DeadlineExceeded,
    Event,
    EventKind,
    HostUnreachable,
    HypervisorError,
)
from millwright.hypervisor.fake import FakePool
from millwright.inventory.models import Drift, Host
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.watcher import Watcher
from millwright.service_levels.probes import record_probe

from tests.support.plant import Plant, build_plant

MINUTE = dt.timedelta(minutes=1)


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


@dataclass
class _Line:
    """A line that has been running for a minute on a host of which tests tell."""

    watcher: Watcher
    name: str
    machine: Machine
    #: what the host answers, and what happens while it does
    error: HypervisorError | None = None
    meanwhile: Any = int

    def observations(self) -> list[tuple[str, dt.datetime]]:
        rows = StateTransition.objects.filter(aspect="observed").order_by("at", "pk")
        return list(rows.values_list("after", "at"))

    def event(self, kind: EventKind, at: dt.datetime, detail: str = "") -> None:
        """An event comes from the host, and the watcher takes it."""
        key = self.machine.pk if kind is EventKind.DOMAIN else None
        self.watcher.hint(Event(kind=kind, host=self.name, uuid=key, detail=detail, at=at))
        self.watcher._drain()


class _Telling:
    """The line's host."""

    def __init__(self, host: Any, line: list[_Line]) -> None:
        self._host, self._line = host, line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def bulk_state(self, **how: Any) -> Any:
        (line,) = self._line
        line.meanwhile()
        if line.error is not None:
            raise line.error
        return self._host.bulk_state(**how)


@pytest.fixture
def line(plant: Plant) -> _Line:
    request = actions.create_request(plant.engineer, **plant.request_fields("line-1"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    machine = Machine.objects.get()
    machine.operations.update(state="succeeded")
    host = plant.hosts[0]
    Machine.objects.filter(pk=machine.pk).update(host=host, generation=1, desired="running")
    Environment.objects.update(state="provisioning")
    pool = FakePool(site="s")
    pool.add_host(host.name)
    made: list[_Line] = []

    def connect(name: str, _uri: str, _site: str) -> Any:
        return _Telling(pool.host(name), made)

    hosts = Hosts("s", on_event=lambda _: None, factory=connect)
    hosts.sync({host.name: host.uri})
    made.append(_Line(Watcher(hosts, threading.Event()), host.name, Machine.objects.get()))
    machine_observed(made[0].machine, MachineObserved.RUNNING, at=timezone.now() - MINUTE)
    environment_transition(made[0].machine.environment, "running", reason="")
    return made[0]


def test_a_crash_is_written_as_of_its_event(line: _Line) -> None:
    at = timezone.now() - dt.timedelta(seconds=7)
    line.event(EventKind.DOMAIN, at, "crashed")
    assert line.observations()[1:] == [("crashed", at)]
    assert Machine.objects.get().observed_at == at
    assert Environment.objects.get().state == "degraded"


@pytest.mark.parametrize(
    "detail", ["started", "defined", "suspended", "migrated away", "shut down", "no such word"]
)
def test_an_event_that_is_no_stop_is_a_hint_alone(line: _Line, detail: str) -> None:
    line.event(EventKind.DOMAIN, timezone.now(), detail)
    assert Machine.objects.get().observed == "running"


def test_an_event_of_an_earlier_run_or_of_another_host_says_nothing(line: _Line) -> None:
    before = line.machine.observed_at
    assert before is not None
    line.event(EventKind.DOMAIN, before - dt.timedelta(seconds=1), "crashed")
    elsewhere = Event(
        kind=EventKind.DOMAIN, host="no such host", uuid=line.machine.pk, detail="crashed"
    )
    line.watcher.hint(elsewhere)
    line.watcher._drain()
    assert Machine.objects.get().observed == "running"


def test_a_stop_that_an_operation_makes_is_written_by_it(line: _Line) -> None:
    Operation.objects.update(state="running")
    line.event(EventKind.DOMAIN, timezone.now(), "destroyed")
    assert Machine.objects.get().observed == "running"


def test_an_answer_from_before_a_crash_does_not_say_that_it_runs(line: _Line) -> None:
    """Nor does a host that was slow to tell make unknown what it told by itself meanwhile."""
    line.error = DeadlineExceeded("bulk_state took 5 s", host=line.name)
    line.meanwhile = lambda: line.event(EventKind.DOMAIN, timezone.now(), "crashed")
    line.watcher.look(line.name)
    assert [state for state, _ in line.observations()] == ["running", "crashed"]
    line.meanwhile = lambda: None
    line.watcher.look(line.name)
    assert Machine.objects.get().observed == "unknown"


def test_a_lost_host_is_lost_since_its_connection_closed(line: _Line) -> None:
    at = timezone.now() - dt.timedelta(seconds=3)
    line.event(EventKind.DISCONNECTED, at, "the daemon closed the connection")
    line.event(EventKind.DISCONNECTED, at + dt.timedelta(seconds=1), "again")
    line.error = HostUnreachable("connection refused", host=line.name)
    line.watcher.look(line.name)
    assert line.observations()[1:] == [("unknown", at)]


def test_a_host_that_is_connected_again_is_not_lost_since_the_last_time(line: _Line) -> None:
    before = timezone.now() - dt.timedelta(seconds=30)
    line.event(EventKind.DISCONNECTED, before)
    Machine.objects.update(host=None)  # what it says of guests is not what is asked here
    line.watcher.look(line.name)
    Machine.objects.update(host=Host.objects.get(name=line.name))
    asked = timezone.now()
    line.error = HostUnreachable("connection refused", host=line.name)
    line.watcher.look(line.name)
    assert line.observations()[-1][1] >= asked


def test_a_host_that_leaves_a_question_unanswered_is_lost_since_it_was_asked(line: _Line) -> None:
    answers: list[dt.datetime] = []
    line.error = DeadlineExceeded("bulk_state took 5 s", host=line.name)
    line.meanwhile = lambda: answers.append(timezone.now())
    begun = timezone.now()
    line.watcher.look(line.name)
    state, at = line.observations()[-1]
    assert state == "unknown"
    assert begun <= at <= answers[0]


def test_what_still_answered_from_outside_was_not_lost_before(line: _Line) -> None:
    last = timezone.now() - dt.timedelta(seconds=1)
    record_probe(line.machine, "modbus", True, last)
    line.event(EventKind.DISCONNECTED, last - dt.timedelta(seconds=2))
    line.error = HostUnreachable("connection refused", host=line.name)
    line.watcher.look(line.name)
    assert line.observations()[-1] == ("unknown", last)
    # Its next answer is news, for the watcher does not see it any more.
    record_probe(line.machine.pk, "modbus", True, timezone.now())
    said = StateTransition.objects.filter(aspect="probe_modbus").values_list("after", flat=True)
    assert list(said) == ["ok", "ok"]
