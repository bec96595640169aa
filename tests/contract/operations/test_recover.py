"""Recovery after a host's loss, disturbed everywhere: never two running copies that stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from millwright.core.lifecycle import OperationState
from millwright.hypervisor import DomainState
from millwright.operations import SAGAS, FenceRefused, Killed

from tests.contract.operations.test_migrate import ONE, ask, kill_at
from tests.support.operations import World, fail_at, world


def running(plant: World) -> list[str]:
    """Hosts on which the guest executes: on a frozen host nothing does."""
    return [
        fake.name
        for fake in plant.pool
        for domain in fake._domains.values()
        if domain.uuid == plant.machine and domain.state is DomainState.RUNNING and not fake.frozen
    ]


class CellProber:
    """The machine answers in its cell exactly when it executes somewhere."""

    def __init__(self, plant: World) -> None:
        self.plant = plant

    def answers(self, kind: str, address: str, port: int) -> str | None:
        return None if running(self.plant) else "no route to host"


def lost_world(folder: Path, loss: str = "kill", *, autostart: bool = False) -> World:
    """A machine that runs on h1, which is then lost."""
    plant = world(folder, second="1")
    record = plant.store.machines[plant.machine]
    plant.store.machines[plant.machine] = replace(record, autostart=autostart)
    plant.provisioned()
    plant.ports = replace(plant.ports, prober=CellProber(plant))
    getattr(plant.pool.host("h1"), loss)()
    return plant


def recover(plant: World) -> tuple[Any, OperationState]:
    operation = plant.operation("recover", destination="h2")
    return operation, plant.engine().run(operation)


def clear(plant: World) -> OperationState:
    return plant.engine().run(plant.operation("clear_copy", host="h1"))


@pytest.mark.parametrize("autostart", [False, True])
def test_it_runs_elsewhere_and_the_host_that_returns_keeps_nothing_of_it(
    tmp_path: Path, autostart: bool
) -> None:
    plant = lost_world(tmp_path, autostart=autostart)
    before = plant.store.machines[plant.machine]
    operation, state = recover(plant)
    assert state is OperationState.SUCCEEDED, plant.store.errors[operation]
    after = plant.store.machines[plant.machine]
    assert (after.host, after.generation, after.address) == (
        "h2",
        before.generation + 1,
        before.address,
    )
    assert running(plant) == ["h2"]
    assert set(plant.store.cpu_claims) == {("h2", 1)}
    # What must not start by itself does not, when the host is back.
    plant.pool.host("h1").restore()
    assert running(plant) == (["h1", "h2"] if autostart else ["h2"])
    assert clear(plant) is OperationState.SUCCEEDED
    assert running(plant) == ["h2"]
    assert plant.counts() == ONE


def test_a_host_that_is_only_cut_off_shows_in_the_cell_and_nothing_is_started(
    tmp_path: Path,
) -> None:
    plant = lost_world(tmp_path, "cut")
    operation = plant.operation("recover", destination="h2")
    asked = ask(plant, operation, "leave")
    assert "answers modbus" in asked[0]
    assert asked[1:] == ["leave"]
    assert plant.store.operation(operation).state is OperationState.FAILED
    assert running(plant) == ["h1"]
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_it_goes_on_by_itself_once_the_power_is_really_gone(tmp_path: Path) -> None:
    plant = lost_world(tmp_path, "cut")
    operation = plant.operation("recover", destination="h2")
    sleep = plant.pool.clock.sleep

    def sleeping(seconds: float) -> None:
        if operation in plant.store.questions:
            plant.pool.host("h1").kill()
        sleep(seconds)

    plant.pool.clock.sleep = sleeping  # type: ignore[method-assign]
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    assert running(plant) == ["h2"]


def at_call(plant: World, host: str, nth: int, do: Callable[[], Any]) -> None:
    """Do something when the host is called for the nth time, before it acts."""
    fake = plant.pool.host(host)
    take, count = fake.faults.take, 0

    def taking(name: str, when: Any) -> BaseException | None:
        nonlocal count
        if str(when) == "before":
            count += 1
            if count == nth:
                do()
        return take(name, when)

    fake.faults.take = taking  # type: ignore[method-assign]


@pytest.mark.parametrize("loss", ["freeze", "kill"])
def test_a_host_that_comes_back_at_any_moment_leaves_one_copy(tmp_path: Path, loss: str) -> None:
    ended: set[str] = set()
    for nth in range(1, 60):
        folder = tmp_path / str(nth)
        folder.mkdir()
        # The worst: it starts its copy by itself when it returns.
        plant = lost_world(folder, loss, autostart=True)
        one = plant.pool.host("h1")
        back = one.thaw if loss == "freeze" else one.restore
        done: list[int] = []

        def returns(back: Callable[[], None] = back, done: list[int] = done) -> None:
            done.append(1)
            back()

        at_call(plant, "h2", nth, returns)
        operation, state = recover(plant)
        if not done:
            break
        home = plant.store.machines[plant.machine].host
        assert home in running(plant), (nth, plant.store.errors)
        if state is OperationState.SUCCEEDED or home == "h2":
            ended.add("elsewhere")
            # The watcher sees the older copy and has it ended.
            assert clear(plant) is OperationState.SUCCEEDED, plant.store.errors
            assert running(plant) == ["h2"]
        else:
            ended.add("stayed")
            assert "h1" in plant.store.errors[operation]
            assert home == "h1"
        assert running(plant) == [home], nth
        assert plant.counts() == ONE, (nth, state)
        assert {host for host, _ in plant.store.cpu_claims} == {home}
    assert ended == {"elsewhere", "stayed"}


@pytest.mark.parametrize("effect", ["before", "after"])
def test_killed_at_every_call_it_is_continued_to_one_copy(tmp_path: Path, effect: str) -> None:
    (tmp_path / "probe").mkdir()
    probe = lost_world(tmp_path / "probe")
    for fake in probe.pool:
        fake.faults.calls.clear()
    recover(probe)
    seen: dict[str, int] = {}
    calls = []
    for call in [call for fake in probe.pool for call in fake.faults.calls]:
        calls.append((call.verb, seen.setdefault(call.verb, 0)))
        seen[call.verb] += 1
    killed = 0
    for number, (verb, nth) in enumerate(calls):
        folder = tmp_path / str(number)
        folder.mkdir()
        plant = lost_world(folder)
        operation = plant.operation("recover", destination="h2")
        kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        assert len(running(plant)) <= 1
        state = plant.engine().run(operation)
        assert state is OperationState.SUCCEEDED, (verb, nth, plant.store.errors)
        assert running(plant) == ["h2"], (verb, nth)
        assert set(plant.store.cpu_claims) == {("h2", 1)}
    assert killed >= 10


@pytest.mark.parametrize("step", [step.name for step in SAGAS["recover"].steps])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_failure_at_every_step_leaves_at_most_one_copy_and_one_claim(
    tmp_path: Path, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    saga = SAGAS["recover"]
    fail_at(monkeypatch, "recover", step, effect)
    operation, state = recover(plant)
    assert state is OperationState.FAILED
    names = [row.name for row in saga.steps]
    started = (names.index(step), effect) >= (names.index("start"), "after") and (
        (step, effect) != ("start", "before")
    )
    home = "h2" if started else "h1"
    assert running(plant) == (["h2"] if started else [])
    assert plant.store.machines[plant.machine].host == home
    assert {host for host, _ in plant.store.cpu_claims} == {home}
    if not started:
        two = plant.pool.host("h2")
        assert two.domain(plant.machine) is None
        assert two._filters == {}
        # And tried again it succeeds.
        monkeypatch.setitem(SAGAS, "recover", saga)
        assert recover(plant)[1] is OperationState.SUCCEEDED
        assert running(plant) == ["h2"]
    assert "could not be undone" not in str(plant.store.operation(operation))


def test_from_a_shared_disk_nothing_is_rebuilt(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.shared_storage = True
    plant.pool.host("h2")._pools = plant.pool.host("h1")._pools
    assert recover(plant)[1] is OperationState.SUCCEEDED, plant.store.errors
    made = [c for c in plant.pool.host("h2").faults.calls if c.verb == "ensure_overlay"]
    assert made == []
    plant.pool.host("h1").restore()
    operation = plant.operation("clear_copy", host="h1", shared_storage=True)
    assert plant.engine().run(operation) is OperationState.SUCCEEDED
    assert plant.counts()["overlays"] == 2  # one disk, seen by both


def test_what_is_rebuilt_gets_its_program_again(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    operation = plant.operation("recover", destination="h2", program_version=str(plant.program))
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    guest = plant.pool.host("h2").guest(plant.machine)
    assert guest.program is not None
    assert running(plant) == ["h2"]


def test_nothing_is_taken_from_the_host_where_the_machine_lives(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.pool.host("h1").restore()
    operation = plant.operation("clear_copy", host="h1")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "lives on h1" in plant.store.errors[operation]
    assert plant.pool.host("h1").domain(plant.machine) is not None


# --- making sure that the host is off ---------------------------------------------------------------


class Agent:
    """A fence agent that refuses as often as it is told, and then switches off."""

    def __init__(self, plant: World, refusals: int) -> None:
        self.plant, self.refusals, self.asked = plant, refusals, 0

    def off(self, host: str) -> str:
        self.asked += 1
        if self.asked <= self.refusals:
            raise FenceRefused("fence_ipmilan: connection timed out")
        self.plant.pool.host(host).kill()
        return f"fence_ipmilan says that {host} is off"


def test_a_fence_agent_takes_the_power_and_the_machine_starts_elsewhere(tmp_path: Path) -> None:
    plant = lost_world(tmp_path, "cut")
    assert running(plant) == ["h1"]
    plant.ports = replace(plant.ports, fencer=Agent(plant, 0))
    assert plant.engine().run(plant.operation("fence", host="h1")) is OperationState.SUCCEEDED
    assert running(plant) == []
    assert recover(plant)[1] is OperationState.SUCCEEDED
    assert running(plant) == ["h2"]


@pytest.mark.parametrize(
    ("answer", "state"), [("is_off", OperationState.SUCCEEDED), ("stop", OperationState.FAILED)]
)
def test_refused_fencing_is_a_question_to_a_person(
    tmp_path: Path, answer: str, state: OperationState
) -> None:
    plant = lost_world(tmp_path, "cut")
    plant.ports = replace(plant.ports, fencer=Agent(plant, 99))
    operation = plant.operation("fence", host="h1")
    asked = ask(plant, operation, answer)
    assert "connection timed out" in asked[0]
    assert asked[1:] == ["is_off", "stop"]
    assert plant.store.operation(operation).state is state
    # Whatever the person said: what still answers in its cell is not started a second time.
    operation = plant.operation("recover", destination="h2")
    assert "answers modbus" in ask(plant, operation, "leave")[0]
    assert running(plant) == ["h1"]


def test_an_agent_that_succeeds_later_needs_nobody(tmp_path: Path) -> None:
    plant = lost_world(tmp_path, "cut")
    agent = Agent(plant, 2)
    plant.ports = replace(plant.ports, fencer=agent)
    assert plant.engine().run(plant.operation("fence", host="h1")) is OperationState.SUCCEEDED
    assert agent.asked == 3


def test_a_host_that_answers_again_is_not_switched_off(tmp_path: Path) -> None:
    plant = lost_world(tmp_path, "cut")
    agent = Agent(plant, 0)
    plant.ports = replace(plant.ports, fencer=agent)
    plant.pool.host("h1").restore()
    operation = plant.operation("fence", host="h1")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "answers again" in plant.store.errors[operation]
    assert (agent.asked, running(plant)) == (0, ["h1"])
