"""The orchestrator on fake hosts: from an approved request to a running environment and away again."""

from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from millwright.core.lifecycle import OperationKind
from millwright.environments import actions
from millwright.environments.models import (
    DemandSample,
    Environment,
    Machine,
    Operation,
    StateTransition,
)
from millwright.inventory.models import AddressClaim, CpuClaim, Drift, Host
from millwright.orchestrator.store import DjangoStore
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import Deployment

from .conftest import Running

SOURCE = "PROGRAM Main\nVAR x : INT; END_VAR\nx := x + 1;\nEND_PROGRAM\n"


def build(running: Running, **changes) -> Environment:
    plant = running.plant
    request = actions.create_request(plant.engineer, **plant.request_fields(**changes))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    environment = Environment.objects.get(name=request.name)
    running.until(
        lambda: Environment.objects.get(pk=environment.pk).state in ("running", "failed"), "built"
    )
    environment.refresh_from_db()
    return environment


def test_a_request_becomes_a_running_machine_and_goes_away(running: Running) -> None:
    version = shopfloor.upload_program(
        running.plant.engineer, running.plant.project, "filling", {"src/main.st": SOURCE}
    )
    environment = build(running, program_version=version)
    operation = Operation.objects.get(kind="provision")
    assert environment.state == "running", operation.error
    machine = environment.machines.get()
    assert (machine.host.name, machine.observed, machine.generation) == ("mw0-h1", "running", 1)
    assert [step.state for step in operation.steps.all()] == ["succeeded"] * operation.steps.count()
    assert CpuClaim.objects.get().cpu == 1
    assert AddressClaim.objects.get().address == "10.90.1.100"
    assert Deployment.objects.get().state == "active"
    assert "no core" not in " ".join(machine.best_effort)
    running.until(
        lambda: (
            DemandSample.objects.filter(machine=machine).exists()
            or running.service.watcher.looks > 8
        ),
        "looks",
    )
    actions.remove_environment(running.plant.engineer, environment, "done")
    running.until(lambda: Environment.objects.get(pk=environment.pk).state == "removed", "removed")
    assert CpuClaim.objects.count() == AddressClaim.objects.count() == 0
    assert running.pool.host("mw0-h1").bulk_state() == ()
    assert StateTransition.objects.filter(subject_type="environment", after="removed").count() == 1


def test_two_machines_share_no_cpu_and_no_address(running: Running) -> None:
    build(running, name="one")
    second = build(running, name="two").machines.get()
    assert second.host.name == "mw0-h2"
    assert any("no core of its own" in word for word in second.best_effort)
    assert CpuClaim.objects.count() == 1
    assert set(AddressClaim.objects.values_list("address", flat=True)) == {
        "10.90.1.100",
        "10.90.1.101",
    }


def test_a_frozen_host_is_unknown_and_comes_back(running: Running) -> None:
    environment = build(running)
    fake = running.pool.host("mw0-h1")
    fake.cut()
    running.until(lambda: Machine.objects.get().observed == "unknown", "unknown")
    assert Host.objects.get(name="mw0-h1").health == "suspect"
    running.until(
        lambda: Environment.objects.get(pk=environment.pk).state == "degraded", "degraded"
    )
    fake.restore()
    running.until(lambda: Machine.objects.get().observed == "running", "running again")
    running.until(lambda: Environment.objects.get(pk=environment.pk).state == "running", "healed")
    assert Host.objects.get(name="mw0-h1").health == "up"


def test_a_crashed_guest_degrades_its_environment(running: Running) -> None:
    environment = build(running)
    running.pool.host("mw0-h1").crash_domain(Machine.objects.get().pk)
    running.until(
        lambda: Environment.objects.get(pk=environment.pk).state == "degraded", "degraded"
    )
    assert Machine.objects.get().observed in ("crashed", "stopped")


def test_foreign_domains_are_named_and_left_alone(running: Running) -> None:
    uuid = running.pool.host("mw0-h2").add_foreign_domain("somebody-elses")
    drift = running.until(lambda: Drift.objects.filter(kind="foreign").first(), "named")
    assert (drift.name, drift.machine) == ("somebody-elses", None)
    assert uuid in {row.uuid for row in running.pool.host("mw0-h2").bulk_state()}


def test_a_lease_that_ended_stops_and_does_not_remove(running: Running) -> None:
    from millwright.orchestrator.rounds import leases

    environment = build(running)
    Environment.objects.update(lease_until=timezone.now())
    assert leases(timezone.now()) == 1
    running.until(lambda: Environment.objects.get(pk=environment.pk).state == "stopped", "stopped")
    assert Machine.objects.get().host is not None


def test_a_program_that_does_not_compile_fails_visibly_and_leaves_nothing(running: Running) -> None:
    version = shopfloor.upload_program(
        running.plant.engineer,
        running.plant.project,
        "bad",
        {"src/main.st": "PROGRAM P\nwrong\nEND_PROGRAM"},
    )
    running.until(lambda: type(version).objects.get(pk=version.pk).state == "failed", "compiled")
    version.refresh_from_db()
    assert version.diagnostics == [{"line": 1, "message": "wrong"}]


def test_a_second_orchestrator_stands_by(running: Running) -> None:
    from millwright.orchestrator.service import make_lock

    other = make_lock(running.service.settings)
    assert not other.try_acquire()
    assert running.service.lock.held()


def test_a_cancelled_build_is_undone(running: Running) -> None:
    plant = running.plant
    running.prober.problem = "no answer"
    request = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    operation = Operation.objects.get(kind="provision")
    running.until(
        lambda: operation.steps.filter(name="answer", state="running").exists(), "at the last step"
    )
    actions.cancel_operation(plant.engineer, operation)
    running.until(lambda: Operation.objects.get(pk=operation.pk).state == "cancelled", "cancelled")
    assert CpuClaim.objects.count() == 0
    assert Environment.objects.get().state == "failed"
    running.prober.problem = None


def test_a_database_that_is_away_for_a_while_delays_and_undoes_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = iter([True] * 4)
    original = DjangoStore.step

    def step(self: DjangoStore, *args: Any, **kwargs: Any) -> None:
        if next(away, False):
            raise OperationalError("the server closed the connection")
        original(self, *args, **kwargs)

    monkeypatch.setattr(DjangoStore, "step", step)
    environment = build(running)
    operation = Operation.objects.get(kind="provision")
    assert (environment.state, operation.error) == ("running", "")
    assert next(away, None) is None


def test_a_fault_of_ours_is_a_failed_operation_with_words(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(*_: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(DjangoStore, "_claim", claim)
    environment = build(running)
    assert environment.state == "failed"
    assert "internal error in step place: KeyError" in Operation.objects.get().error


def test_stopping_leaves_what_is_at_work_to_the_next_process(running: Running) -> None:
    plant = running.plant
    running.prober.problem = "no answer"
    request = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    operation = Operation.objects.get(kind="provision")
    running.until(
        lambda: operation.steps.filter(name="answer", state="running").exists(), "at the last step"
    )
    running.service.stop.set()
    running.until(lambda: not running.service.lock.held(), "stopped")
    operation.refresh_from_db()
    assert operation.state == "running"
    assert CpuClaim.objects.count() == 1


def test_a_look_that_began_before_a_start_does_not_undo_it(running: Running) -> None:
    environment = build(running)
    engineer, name = running.plant.engineer, Machine.objects.get().host.name

    def power(kind: OperationKind, state: str) -> None:
        actions.power(engineer, environment, kind)
        running.until(lambda: Environment.objects.get(pk=environment.pk).state == state, state)

    power(OperationKind.STOP, "stopped")
    began, seen = timezone.now(), running.pool.host(name).bulk_state()
    power(OperationKind.START, "running")
    assert running.service.watcher is not None
    stops = StateTransition.objects.filter(subject_type="machine", after="stopped")
    before = stops.count()
    running.service.watcher._answered(name, seen, began)
    assert Machine.objects.get().observed == "running"
    assert stops.count() == before
