"""Hosts that sleep and wake, disturbed everywhere: nothing is left half asleep, and nothing sleeps with its host."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from millwright.core.lifecycle import HostPower, OperationState
from millwright.hypervisor import HostUnreachable, HypervisorError, InvalidSpec, Unsupported
from millwright.hypervisor.fake import FakeHypervisor
from millwright.operations import SAGAS, FenceRefused, Killed, OperationRecord
from millwright.operations.errors import StepFailed

from tests.contract.operations.test_migrate import kill_at
from tests.support.operations import World, world

UNTIL = dt.datetime(2026, 11, 30, 5, 0, tzinfo=dt.UTC)


class Sleeper:
    """Suspends fake hosts and wakes them by magic packets, of which the first ones may get lost."""

    def __init__(self, plant: World) -> None:
        self.plant, self.lost, self.refused = plant, 0, 0
        self.packets = 0
        self.untils: list[dt.datetime | None] = []
        self.read_hosts: list[str] = []

    def sleep(self, host: str, until: dt.datetime | None) -> str:
        self.untils.append(until)
        self.plant.pool.host(host).suspend(wake_after_s=3600)
        return "told to sleep"

    def wake(self, host: str) -> str:
        if self.refused:
            self.refused -= 1
            raise FenceRefused("network is down")
        self.packets += 1
        if self.packets > self.lost:
            self.plant.pool.host(host).wake()
        return "magic packet"

    def wake_s(self, host: str) -> int:
        return 120

    def read(self, host: str) -> None:
        self.plant.pool.host(host).facts()
        self.read_hosts.append(host)


def sleeping_world(folder: Path) -> tuple[World, Sleeper]:
    """A machine runs on h1; h2 is empty and may sleep."""
    plant = world(folder, second="1")
    plant.provisioned()
    assert plant.store.machines[plant.machine].host == "h1"
    sleeper = Sleeper(plant)
    plant.ports = replace(plant.ports, sleeper=sleeper)
    return plant, sleeper


def ordered(plant: World, kind: str, host: str = "h2", **payload: Any) -> UUID:
    record = OperationRecord(
        uuid4(), kind, OperationState.QUEUED, None, None, 1, {"host": host, **payload}
    )
    plant.store.add_operation(record)
    return record.id


def run(plant: World, kind: str, host: str = "h2", **payload: Any) -> OperationState:
    return plant.engine().run(ordered(plant, kind, host, **payload))


def host(plant: World) -> FakeHypervisor:
    return plant.pool.host("h2")


def agrees(plant: World) -> bool:
    """Whether the record and the host say the same, with nothing under way."""
    power = plant.store.power("h2")
    return (power, host(plant).asleep) in (
        (HostPower.AWAKE, False),
        (HostPower.ASLEEP, True),
    )


def test_it_sleeps_and_wakes(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    assert run(plant, "sleep_host", until=UNTIL.isoformat()) is OperationState.SUCCEEDED
    assert host(plant).asleep
    assert sleeper.untils == [UNTIL]
    assert plant.store.power("h2") is HostPower.ASLEEP
    sleeper.lost = 3
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert sleeper.packets == 4
    assert sleeper.read_hosts == ["h2"]
    assert not host(plant).asleep
    assert [power for _, power in plant.store.power_changes] == [
        HostPower.FALLING_ASLEEP,
        HostPower.ASLEEP,
        HostPower.WAKING,
        HostPower.AWAKE,
    ]


def test_nothing_is_placed_on_it_from_the_first_step_on(tmp_path: Path) -> None:
    plant, _ = sleeping_world(tmp_path)
    moves: list[OperationState] = []
    look = SAGAS["sleep_host"].step("look").do

    def moving(context: Any) -> str | None:
        operation = plant.operation("migrate", destination="h2")
        moves.append(plant.engine().run(operation))
        assert "the host is falling asleep" in plant.store.errors[operation]
        return look(context)

    steps = tuple(
        replace(row, do=moving) if row.name == "look" else row for row in SAGAS["sleep_host"].steps
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAGAS, "sleep_host", replace(SAGAS["sleep_host"], steps=steps))
        assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    assert moves == [OperationState.FAILED]
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "the host is asleep" in plant.store.errors[operation]
    # And once it is awake there is room again.
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert plant.engine().run(plant.operation("migrate", destination="h2")) is (
        OperationState.SUCCEEDED
    )


def test_a_host_with_a_machine_or_one_on_its_way_stays_awake(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    operation = ordered(plant, "sleep_host", "h1")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "mw-line-vplc" in plant.store.errors[operation]
    coming = plant.operation("migrate", destination="h2")
    plant.store.prepare_move(coming, plant.machine, "h2")
    assert run(plant, "sleep_host") is OperationState.FAILED
    assert plant.store.power_changes == []
    assert sleeper.untils == []


def test_a_domain_of_somebody_else_that_runs_there_keeps_it_awake(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    host(plant).add_foreign_domain("backup", running=False)
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    host(plant).add_foreign_domain("measuring")
    operation = ordered(plant, "sleep_host")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "measuring runs there" in plant.store.errors[operation]
    assert plant.store.power("h2") is HostPower.AWAKE
    assert len(sleeper.untils) == 1


def test_a_host_that_takes_the_order_and_stays_up_is_awake_again(tmp_path: Path) -> None:
    plant, _ = sleeping_world(tmp_path)
    host(plant).sleepless = True
    operation = ordered(plant, "sleep_host")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "h2 still answers" in plant.store.errors[operation]
    assert plant.store.power("h2") is HostPower.AWAKE


@pytest.mark.parametrize(
    "error", [Unsupported("no S3", host="h2"), InvalidSpec("too short", host="h2")]
)
def test_a_host_that_cannot_sleep_is_awake_again(tmp_path: Path, error: HypervisorError) -> None:
    plant, _ = sleeping_world(tmp_path)
    host(plant).fail_next("suspend", error)
    operation = ordered(plant, "sleep_host")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert error.message in plant.store.errors[operation]
    assert plant.store.power("h2") is HostPower.AWAKE


def test_an_order_whose_answer_was_lost_counts_by_what_the_host_does(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    lost = HostUnreachable("connection reset", host="h2")
    host(plant).fail_next("suspend", lost, effect="after")
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    assert agrees(plant)
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    # Lost on its way there: it is given once more.
    host(plant).fail_next("suspend", lost)
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    assert agrees(plant)
    assert host(plant).asleep
    assert len(sleeper.untils) == 3


def test_a_host_that_does_not_wake_stays_asleep_by_the_record_and_is_told(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    sleeper.lost = 10**6
    began = plant.pool.clock.now()
    operation = ordered(plant, "wake_host")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "h2 does not answer (magic packet)" in plant.store.errors[operation]
    # Three times what it is expected to take.
    assert 300 < plant.pool.clock.now() - began < 400
    assert sleeper.packets > 30
    assert plant.store.power("h2") is HostPower.ASLEEP
    # Another try, later.
    sleeper.lost = 0
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert agrees(plant)


def test_orders_that_cannot_be_given_are_given_again(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    sleeper.refused = 4
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert (sleeper.refused, sleeper.packets) == (0, 1)


def test_one_that_came_back_by_itself_is_awake_without_an_order(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    host(plant).wake()
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert sleeper.packets == 0
    assert agrees(plant)


def test_waking_waits_until_it_has_fallen_asleep(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    plant.store.let_sleep(uuid4(), "h2")
    clock = plant.pool.clock
    sleep, slept = clock.sleep, 0

    def sleeping(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 5:
            host(plant).suspend(wake_after_s=60)
            plant.store.set_power(uuid4(), "h2", HostPower.ASLEEP, "")
        sleep(seconds)

    clock.sleep = sleeping  # type: ignore[method-assign]
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert sleeper.packets == 1
    assert agrees(plant)


def test_cancelled_before_the_order_it_stays_awake_and_after_it_sleeps(tmp_path: Path) -> None:
    plant, sleeper = sleeping_world(tmp_path)
    operation = ordered(plant, "sleep_host")
    plant.store.cancelled.add(operation)
    assert plant.engine().run(operation) is OperationState.CANCELLED
    assert plant.store.power("h2") is HostPower.AWAKE
    assert sleeper.untils == []

    operation = ordered(plant, "sleep_host")
    told = sleeper.sleep

    def sleep(name: str, until: dt.datetime | None) -> str:
        plant.store.cancelled.add(operation)
        return told(name, until)

    sleeper.sleep = sleep  # type: ignore[method-assign]
    assert plant.engine().run(operation) is OperationState.SUCCEEDED
    assert agrees(plant)


def calls_of(plant: World, kind: str) -> list[tuple[str, int]]:
    """(verb, nth) of each call that the operation makes to the host."""
    fake = host(plant)
    fake.faults.calls.clear()
    assert run(plant, kind) is OperationState.SUCCEEDED
    made: list[tuple[str, int]] = []
    for call in fake.faults.calls:
        made.append((call.verb, sum(verb == call.verb for verb, _ in made)))
    return made


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("kind", ["sleep_host", "wake_host"])
def test_killed_at_every_call_it_goes_on(tmp_path: Path, kind: str, effect: str) -> None:
    def prepared(name: str) -> World:
        folder = tmp_path / name
        folder.mkdir()
        plant, _ = sleeping_world(folder)
        if kind == "wake_host":
            assert run(plant, "sleep_host") is OperationState.SUCCEEDED
        return plant

    wanted = HostPower.ASLEEP if kind == "sleep_host" else HostPower.AWAKE
    killed = 0
    for number, (verb, nth) in enumerate(calls_of(prepared("probe"), kind)):
        plant = prepared(str(number))
        operation = ordered(plant, kind)
        kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        assert plant.engine().run(operation) is OperationState.SUCCEEDED, (verb, nth)
        assert agrees(plant)
        assert plant.store.power("h2") is wanted
    assert killed >= 2


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [(kind, step.name) for kind in ("sleep_host", "wake_host") for step in SAGAS[kind].steps],
)
def test_killed_around_every_step_it_goes_on(
    tmp_path: Path, kind: str, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, _ = sleeping_world(tmp_path)
    if kind == "wake_host":
        assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    operation = ordered(plant, kind)
    with monkeypatch.context() as patch:
        disturb(patch, kind, step, effect, Killed(step))
        with pytest.raises(Killed):
            plant.engine().run(operation)
    assert plant.engine().run(operation) is OperationState.SUCCEEDED
    assert agrees(plant)


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [(kind, step.name) for kind in ("sleep_host", "wake_host") for step in SAGAS[kind].steps],
)
def test_a_failure_at_every_step_leaves_nothing_under_way(
    tmp_path: Path, kind: str, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, _ = sleeping_world(tmp_path)
    if kind == "wake_host":
        assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    with monkeypatch.context() as patch:
        disturb(patch, kind, step, effect, StepFailed(step))
        assert run(plant, kind) is OperationState.FAILED
    assert plant.store.power("h2") in (HostPower.AWAKE, HostPower.ASLEEP)
    # Whatever was recorded, waking it makes record and host agree.
    assert run(plant, "wake_host") is OperationState.SUCCEEDED
    assert agrees(plant)


def disturb(
    patch: pytest.MonkeyPatch, kind: str, step: str, effect: str, error: BaseException
) -> None:
    saga = SAGAS[kind]
    do: Callable[[Any], Any] = saga.step(step).do

    def failing(context: Any) -> str:
        if effect == "after":
            try:
                do(context)
            except Exception:
                # A wait that is not over yet: it is disturbed while it waits.
                raise error from None
        raise error

    steps = tuple(replace(row, do=failing) if row.name == step else row for row in saga.steps)
    patch.setitem(SAGAS, kind, replace(saga, steps=steps))


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("kind", ["sleep_host", "wake_host"])
def test_a_host_that_dies_at_any_moment_is_not_taken_for_asleep_for_ever(
    tmp_path: Path, kind: str, nth: int
) -> None:
    plant, _ = sleeping_world(tmp_path)
    if kind == "wake_host":
        assert run(plant, "sleep_host") is OperationState.SUCCEEDED
    fake, count = host(plant), 0
    take = fake.faults.take

    def taking(name: str, when: Any) -> BaseException | None:
        nonlocal count
        count += str(when) == "before"
        if count == nth:
            # Dead for good: it falls asleep no more, and no packet wakes it.
            fake.sleepless, fake.asleep, fake.unreachable = True, False, True
        return take(name, when)

    fake.faults.take = taking  # type: ignore[method-assign]
    run(plant, kind)
    fake.faults.take = take  # type: ignore[method-assign]
    died = count >= nth
    power = plant.store.power("h2")
    assert power in (HostPower.AWAKE, HostPower.ASLEEP)
    if died and power is HostPower.ASLEEP:
        # It is found out when it is woken, and that is an operation that fails.
        assert run(plant, "wake_host") is OperationState.FAILED
