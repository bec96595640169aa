"""Moving a machine that is off, interrupted everywhere: one definition, never two that could start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from millwright.core.lifecycle import MachineObserved, OperationState
from millwright.hypervisor import DomainState, HostUnreachable
from millwright.operations import SAGAS, Killed
from millwright.operations.errors import StepFailed

from tests.contract.operations.test_migrate import ask, kill_at, moved_world, running
from tests.support.operations import World, fail_at

STEPS = [step.name for step in SAGAS["migrate"].steps]


def off_world(folder: Path, *, shared: bool = True) -> World:
    """The machine is on h1 and off; both hosts see its disk."""
    plant = moved_world(folder)
    if shared:
        plant.store.shared_storage = True
        plant.pool.host("h2")._pools = plant.pool.host("h1")._pools
    assert plant.engine().run(plant.operation("stop")) is OperationState.SUCCEEDED
    return plant


@pytest.fixture
def plant(tmp_path: Path) -> World:
    return off_world(tmp_path)


def defined(plant: World) -> dict[str, bool]:
    """By host that knows the machine: whether it starts it by itself."""
    found = {fake.name: fake._domains.get(plant.machine) for fake in plant.pool}
    return {name: row.autostart for name, row in found.items() if row is not None}


def filters(plant: World) -> list[str]:
    return [fake.name for fake in plant.pool if fake._filters]


def on(plant: World, verb: str, host: str, do: Callable[[], Any]) -> None:
    """Do something once, just after the host's verb."""
    fake = plant.pool.host(host)
    original, done = getattr(fake, verb), False

    def doing(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = original(*args, **kwargs)
        if not done:
            done = True
            do()
        return result

    setattr(fake, verb, doing)


def test_it_goes_with_its_definition_and_is_off_over_there(plant: World) -> None:
    before = plant.store.machines[plant.machine]
    for fake in plant.pool:
        fake.faults.calls.clear()
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    after = plant.store.machines[plant.machine]
    assert (after.host, after.generation) == ("h2", before.generation + 1)
    assert after.address == before.address
    assert defined(plant) == {"h2": True}
    assert running(plant) == []
    assert plant.store.machine_states[plant.machine] is MachineObserved.STOPPED
    info = plant.pool.host("h2").domain(plant.machine)
    assert info.state is DomainState.STOPPED
    assert info.metadata.generation == after.generation
    assert plant.pool.host("h2").pins(plant.machine).vcpus[1] == {1}
    assert set(plant.store.cpu_claims) == {("h2", 1)}
    assert filters(plant) == ["h2"]
    assert not {"migrate", "start"} & {c.verb for fake in plant.pool for c in fake.faults.calls}
    # Its disk is where it was, and it starts from it.
    assert plant.counts()["overlays"] == 2  # the same one, seen by both
    assert plant.engine().run(plant.operation("start")) is OperationState.SUCCEEDED
    assert running(plant) == ["h2"]


def test_with_its_disk_on_one_host_alone_it_stays_and_the_reason_is_said(tmp_path: Path) -> None:
    plant = off_world(tmp_path, shared=False)
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "its disk lies on h1 alone" in plant.store.errors[operation]
    assert defined(plant) == {"h1": True}
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_without_a_disk_it_goes_anywhere(tmp_path: Path) -> None:
    plant = off_world(tmp_path, shared=False)
    record = plant.store.machines[plant.machine]
    plant.store.machines[plant.machine] = replace(
        record, disk_bytes=0, image=replace(record.image, disk=None)
    )
    assert plant.engine().run(plant.operation("migrate")) is OperationState.SUCCEEDED
    assert defined(plant) == {"h2": True}


def test_a_machine_that_is_held_is_not_moved(plant: World) -> None:
    plant.pool.host("h1")._domains[plant.machine].state = DomainState.PAUSED
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "is paused: only a machine that runs or is off" in plant.store.errors[operation]
    assert defined(plant) == {"h1": True}


def test_memory_that_is_kept_in_a_file_of_the_host_is_not_thrown_away(plant: World) -> None:
    plant.pool.host("h1")._domains[plant.machine].reason = "saved"
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "start it first" in plant.store.errors[operation]
    assert defined(plant) == {"h1": True}


def _verbs(folder: Path) -> list[tuple[str, int]]:
    plant = off_world(folder)
    for fake in plant.pool:
        fake.faults.calls.clear()
    plant.engine().run(plant.operation("migrate", destination="h2"))
    seen: dict[str, int] = {}
    calls = []
    for call in [call for fake in plant.pool for call in fake.faults.calls]:
        calls.append((call.verb, seen.setdefault(call.verb, 0)))
        seen[call.verb] += 1
    return calls


@pytest.mark.parametrize("effect", ["before", "after"])
def test_killed_at_every_call_it_is_continued_to_one_definition(
    tmp_path: Path, effect: str
) -> None:
    (tmp_path / "probe").mkdir()
    killed = 0
    for number, (verb, nth) in enumerate(_verbs(tmp_path / "probe")):
        folder = tmp_path / str(number)
        folder.mkdir()
        plant = off_world(folder)
        operation = plant.operation("migrate", destination="h2")
        kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        # Were both hosts to lose their power now, no two copies would come back by themselves.
        assert len(defined(plant)) >= 1
        assert sum(defined(plant).values()) <= 1, (verb, nth)
        state = plant.engine().run(operation)
        assert state is OperationState.SUCCEEDED, (verb, nth, plant.store.errors)
        assert defined(plant) == {"h2": True}, (verb, nth)
        assert set(plant.store.cpu_claims) == {("h2", 1)}
        assert filters(plant) == ["h2"]
    assert killed >= 12


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_failure_at_every_step_leaves_one_definition_and_one_claim(
    plant: World, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "migrate", step, effect)
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    moved = step in ("verify", "clean") or (step, effect) == ("move", "after")
    home = "h2" if moved else "h1"
    assert plant.store.machines[plant.machine].host == home
    assert defined(plant) == {home: True}
    assert {host for host, _ in plant.store.cpu_claims} == {home}
    assert "could not be undone" not in str(plant.store.operation(operation))


def test_a_failure_between_the_two_definitions_ends_where_the_one_is_left(
    plant: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was forgotten at the source, and then nothing went on: undoing finds it over there and leaves it."""
    completed = plant.store.complete_move
    tries = 0

    def complete(*args: Any, **kwargs: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StepFailed("the record could not be written")
        completed(*args, **kwargs)

    monkeypatch.setattr(plant.store, "complete_move", complete)
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "failed"
    assert defined(plant) == {"h2": True}
    assert plant.store.machines[plant.machine].host == "h2"
    assert set(plant.store.cpu_claims) == {("h2", 1)}


def test_started_by_hand_before_it_was_forgotten_it_stays_where_it_runs(plant: World) -> None:
    one = plant.pool.host("h1")
    on(plant, "define", "h2", lambda: one.start(plant.machine))
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "is running" in plant.store.errors[operation]
    assert running(plant) == ["h1"]
    assert defined(plant) == {"h1": True}
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_started_by_hand_while_it_was_prepared_it_stays_and_the_reason_is_said(
    plant: World,
) -> None:
    one = plant.pool.host("h1")
    on(plant, "ensure_filter", "h2", lambda: one.start(plant.machine))
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "was started on h1 meanwhile" in plant.store.errors[operation]
    assert running(plant) == ["h1"]
    assert filters(plant) == ["h1"]
    assert set(plant.store.cpu_claims) == {("h1", 1)}


@pytest.mark.parametrize("victim", ["h1", "h2"])
def test_a_host_that_falls_silent_is_waited_for(
    plant: World, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = plant.operation("migrate", destination="h2")
    host = plant.pool.host(victim)
    on(plant, "define", "h2", host.cut)
    sleep = plant.pool.clock.sleep
    asked: list[str] = []

    def sleeping(seconds: float) -> None:
        if operation in plant.store.questions and not asked:
            asked.append(plant.store.questions[operation][0])
            host.restore()
        sleep(seconds)

    monkeypatch.setattr(plant.pool.clock, "sleep", sleeping)
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    assert asked == [f"{victim} does not answer. It goes on by itself as soon as the host answers."]
    assert defined(plant) == {"h2": True}
    assert set(plant.store.cpu_claims) == {("h2", 1)}


def test_an_answer_that_was_lost_is_asked_for_again(plant: World) -> None:
    lost = HostUnreachable("lost", host="h1")
    plant.pool.host("h1").fail_next("undefine", lost, effect="after")
    plant.pool.host("h2").fail_next("define", HostUnreachable("lost", host="h2"), effect="after")
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    assert defined(plant) == {"h2": True}


def test_cancelled_while_it_is_prepared_it_stays(plant: World) -> None:
    operation = plant.operation("migrate", destination="h2")
    on(plant, "ensure_filter", "h2", lambda: plant.store.cancelled.add(operation))
    assert plant.engine().run(operation) is OperationState.CANCELLED
    assert defined(plant) == {"h1": True}
    assert filters(plant) == ["h1"]
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_one_that_stopped_after_it_was_prepared_to_run_is_a_question_as_before(
    tmp_path: Path,
) -> None:
    """Only who was off at the beginning goes without a guest: the other one stopped while it moved."""
    plant = moved_world(tmp_path)
    plant.store.shared_storage = True
    plant.pool.host("h2")._pools = plant.pool.host("h1")._pools
    one = plant.pool.host("h1")
    on(plant, "ensure_filter", "h2", lambda: one.crash_domain(plant.machine))
    asked = ask(plant, plant.operation("migrate", destination="h2"), "leave_off")
    assert "runs neither on h1 (off) nor on h2 (absent)" in asked[0]
