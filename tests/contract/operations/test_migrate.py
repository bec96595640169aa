"""Moving a machine, interrupted everywhere: one running copy or a clear question, never two."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from millwright.core.lifecycle import OperationState, StepState
from millwright.hypervisor import DomainState, FilterSpec, HostUnreachable, NoSpace
from millwright.hypervisor.fake import FakeLoad
from millwright.operations import SAGAS, Killed

from tests.support.operations import World, fail_at, world

ONE = {"domains": 1, "overlays": 1, "filters": 1, "addresses": 1, "cpus": 1}
MIB = 2**20
CALM = 1 * MIB


@pytest.fixture
def plant(tmp_path: Path) -> World:
    return moved_world(tmp_path)


def test_a_host_whose_cpu_lacks_what_the_machine_was_started_with_is_not_tried(
    tmp_path: Path,
) -> None:
    plant = world(tmp_path, second="1")
    machine = plant.store.machines[plant.machine]
    plant.store.machines[plant.machine] = replace(
        machine, abilities=machine.abilities | {"kvm"}, cpu_features=("avx2",)
    )
    features = frozenset({"avx2", "popcnt"})
    for name in ("h1", "h2"):
        plant.pool.host(name).parts.features = features
        plant.store.hosts[name] = replace(
            plant.store.hosts[name], accel="kvm", cpu_model="fake", cpu_features=features
        )
    plant.provisioned()
    assert plant.pool.host("h1").guest_cpu(plant.machine).passthrough
    plant.store.hosts["h2"] = replace(plant.store.hosts["h2"], cpu_features=frozenset({"popcnt"}))
    assert plant.engine().run(plant.operation("migrate")) is OperationState.FAILED
    (error,) = plant.store.errors.values()
    assert "not all that it was started with: avx2" in error
    assert running(plant) == ["h1"]
    assert "migrate" not in {call.verb for call in plant.pool.host("h1").faults.calls}
    plant.store.hosts["h2"] = replace(plant.store.hosts["h2"], cpu_features=features)
    assert plant.engine().run(plant.operation("migrate")) is OperationState.SUCCEEDED
    assert running(plant) == ["h2"]


def moved_world(folder: Path, load: FakeLoad | None = None) -> World:
    plant = world(folder, second="1", load=load)
    plant.provisioned()
    return plant


def running(plant: World) -> list[str]:
    """Hosts on which the machine's guest runs."""
    return [
        fake.name
        for fake in plant.pool
        for domain in fake._domains.values()
        if domain.uuid == plant.machine and domain.state is DomainState.RUNNING
    ]


def at_look(plant: World, nth: int, do: Callable[[], Any]) -> None:
    """Do something at the nth look at the migration's job."""
    source = plant.pool.host("h1")
    original, count = source.job, 0

    def looking(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        info = original(*args, **kwargs)
        # Counted from the first look that sees a migration.
        if info is not None:
            count += 1
            if count == nth:
                do()
        return info

    source.job = looking  # type: ignore[method-assign]


def test_a_running_machine_moves_with_everything_that_is_its(plant: World) -> None:
    operation = plant.operation("migrate", destination="h2")
    before = plant.store.machines[plant.machine]
    boot = plant.pool.host("h1").guest(plant.machine)
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    after = plant.store.machines[plant.machine]
    assert running(plant) == ["h2"]
    assert plant.counts() == ONE
    assert (after.host, after.generation, after.address) == (
        "h2",
        before.generation + 1,
        before.address,
    )
    assert set(plant.store.cpu_claims) == {("h2", 1)}
    assert plant.pool.host("h2").guest(plant.machine) is boot
    assert plant.pool.host("h2").domain(plant.machine).autostart
    assert plant.pool.host("h1")._filters == {}
    # And back again.
    assert plant.engine().run(plant.operation("migrate")) is OperationState.SUCCEEDED
    assert running(plant) == ["h1"]
    assert plant.store.machines[plant.machine].generation == before.generation + 2


def test_where_it_does_not_fit_it_stays_and_the_reason_is_said(plant: World) -> None:
    from dataclasses import replace

    plant.store.hosts["h2"] = replace(plant.store.hosts["h2"], memory_bytes=2**28)
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "h2: memory" in plant.store.errors[operation]
    assert running(plant) == ["h1"]
    assert plant.counts() == ONE


def test_with_shared_disks_nothing_is_copied_and_nothing_removed(plant: World) -> None:
    plant.store.shared_storage = True
    # One file system under both pools.
    plant.pool.host("h2")._pools = plant.pool.host("h1")._pools
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    assert running(plant) == ["h2"]
    calls = [call for call in plant.pool.host("h1").faults.calls if call.verb == "migrate"]
    assert calls[0].arguments[3].copy_storage is False
    assert plant.counts()["overlays"] == 2  # the same one, seen by both


def _verbs(folder: Path, load: FakeLoad | None) -> list[tuple[str, int]]:
    plant = moved_world(folder, load)
    for fake in plant.pool:
        fake.faults.calls.clear()
    plant.engine().run(plant.operation("migrate", destination="h2"))
    seen: dict[str, int] = {}
    calls = []
    for call in [call for fake in plant.pool for call in fake.faults.calls]:
        calls.append((call.verb, seen.setdefault(call.verb, 0)))
        seen[call.verb] += 1
    return calls


def kill_at(plant: World, verb: str, nth: int, effect: str) -> None:
    """Make the nth call of the verb on any host the last thing this process does."""
    count = 0
    for fake in plant.pool:
        take = fake.faults.take

        def taking(name: str, when: object, take: Any = take) -> BaseException | None:
            nonlocal count
            if name == verb and str(when) == effect:
                count += 1
                if count == nth + 1:
                    return Killed(f"killed {effect} {verb}")
            return take(name, when)

        fake.faults.take = taking  # type: ignore[method-assign]


@pytest.mark.parametrize("load", [None, CALM])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_killed_at_every_call_it_is_continued_to_one_copy(
    tmp_path: Path, effect: str, load: int | None
) -> None:
    made = FakeLoad(load) if load else None
    (tmp_path / "probe").mkdir()
    calls = _verbs(tmp_path / "probe", made)
    killed = 0
    for number, (verb, nth) in enumerate(calls):
        folder = tmp_path / str(number)
        folder.mkdir()
        plant = moved_world(folder, made)
        operation = plant.operation("migrate", destination="h2")
        kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        assert len(running(plant)) <= 1
        state = plant.engine().run(operation)
        assert state is OperationState.SUCCEEDED, (verb, nth, plant.store.errors)
        assert running(plant) == ["h2"], (verb, nth)
        assert plant.counts() == ONE, (verb, nth)
    assert killed >= 15


@pytest.mark.parametrize("step", [step.name for step in SAGAS["migrate"].steps])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_failure_at_every_step_leaves_one_copy_and_one_claim(
    plant: World, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "migrate", step, effect)
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    arrived = step in ("verify", "clean") or (step, effect) == ("move", "after")
    assert running(plant) == ["h2" if arrived else "h1"]
    assert plant.store.machines[plant.machine].host == running(plant)[0]
    assert {host for host, _ in plant.store.cpu_claims} == set(running(plant))
    assert "could not be undone" not in str(plant.store.operation(operation))
    host = plant.pool.host(running(plant)[0])
    assert host.domain(plant.machine).autostart
    if not arrived:
        assert plant.counts() == ONE


def test_no_room_over_there_at_the_last_moment_leaves_it_where_it_was(plant: World) -> None:
    plant.pool.host("h2").fail_next("receive", NoSpace("no memory", host="h2"))
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "no memory" in plant.store.errors[operation]
    assert running(plant) == ["h1"]
    assert plant.counts() == ONE
    assert set(plant.store.cpu_claims) == {("h1", 1)}
    assert plant.pool.host("h1").domain(plant.machine).autostart


def test_a_connection_lost_once_is_no_reason_to_give_up(plant: World) -> None:
    plant.pool.host("h1").fail_next("migrate", HostUnreachable("lost", host="h1"), effect="after")
    plant.pool.host("h2").fail_next("receive", HostUnreachable("lost", host="h2"))
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    assert running(plant) == ["h2"]
    assert plant.counts() == ONE


# --- in flight ----------------------------------------------------------------------------------


def test_progress_says_rate_dirty_rate_and_estimate(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(20 * MIB))
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    said = "; ".join(plant.store.progresses)
    assert "memory written at 20.0 MiB/s" in said
    assert "MiB/s, about" in said
    assert running(plant) == ["h2"]


def test_what_does_not_converge_is_given_back_within_the_schedule(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(200 * MIB))
    # On real cores: under emulation a controller is copied while it stands still.
    record = plant.store.machines[plant.machine]
    abilities = record.abilities | {"kvm"}
    plant.store.machines[plant.machine] = replace(record, abilities=abilities)
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "did not converge within 180 s" in plant.store.errors[operation]
    assert "200.0 MiB/s" in plant.store.errors[operation]
    assert running(plant) == ["h1"]
    assert plant.counts() == ONE
    # The schedule allowed a longer pause in stages.
    tuned = [c for c in plant.pool.host("h1").faults.calls if c.verb == "tune_migration"]
    assert len(tuned) == 2


def test_a_controller_under_emulation_is_copied_while_it_stands_still(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(200 * MIB))
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    assert running(plant) == ["h2"]
    assert plant.counts() == ONE


def test_a_shared_machine_is_slowed_down_until_it_converges(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(200 * MIB))
    record = plant.store.machines[plant.machine]
    plant.store.machines[plant.machine] = replace(record, service_class="shared", control_vcpus=())
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    assert running(plant) == ["h2"]


def test_cancelled_in_flight_it_stays(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(95 * MIB))
    operation = plant.operation("migrate", destination="h2")
    at_look(plant, 3, lambda: plant.store.cancelled.add(operation))
    assert plant.engine().run(operation) is OperationState.CANCELLED
    assert running(plant) == ["h1"]
    assert plant.counts() == ONE
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_a_killed_orchestrator_joins_the_migration_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = moved_world(tmp_path, FakeLoad(15 * MIB))
    operation = plant.operation("migrate", destination="h2")

    def die() -> None:
        raise Killed("in flight")

    at_look(plant, 2, die)
    with pytest.raises(Killed):
        plant.engine().run(operation)
    assert running(plant) == ["h1"]
    details: list[str] = []
    noted = plant.store.step

    def step(operation_id: UUID, name: str, state: StepState, detail: str = "") -> None:
        details.append(detail)
        noted(operation_id, name, state, detail)

    monkeypatch.setattr(plant.store, "step", step)
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    assert running(plant) == ["h2"]
    # By which way it went only he knew who began it.
    assert any(detail.startswith("runs on h2") for detail in details)
    assert not any("relays" in detail or "QEMU" in detail for detail in details)
    assert plant.counts() == ONE
    migrations = [c for c in plant.pool.host("h1").faults.calls if c.verb == "migrate"]
    assert len(migrations) == 1


@pytest.mark.parametrize("victim", ["h1", "h2"])
def test_a_daemon_that_dies_in_flight_delays_and_changes_nothing(
    tmp_path: Path, victim: str
) -> None:
    plant = moved_world(tmp_path, FakeLoad(15 * MIB))
    host = plant.pool.host(victim)

    def die() -> None:
        plant.pool.host("h1").end_flights("the other end is gone")
        host.kill_daemon()

    at_look(plant, 2, die)
    sleep, slept = plant.pool.clock.sleep, 0

    def sleeping(seconds: float) -> None:
        nonlocal slept
        slept += 1
        assert len(running(plant)) == 1
        if slept > 20 and host.unreachable:
            host.restore()
        sleep(seconds)

    plant.pool.clock.sleep = sleeping  # type: ignore[method-assign]
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    assert running(plant) == ["h2"]
    assert plant.counts() == ONE


def ask(plant: World, operation: Any, answer: str) -> list[str]:
    """Run an operation; its question is answered, and returned with what it offered."""
    sleep = plant.pool.clock.sleep
    asked: list[str] = []

    def sleeping(seconds: float) -> None:
        question = plant.store.questions.get(operation)
        if question is not None and not asked:
            assert plant.store.operation(operation).state is OperationState.WAITING
            asked.extend([question[0], *question[1]])
            plant.store.answers[operation] = answer
        sleep(seconds)

    plant.pool.clock.sleep = sleeping  # type: ignore[method-assign]
    plant.engine().run(operation)
    return asked


@pytest.mark.parametrize("answer", ["start_source", "leave_off"])
def test_a_guest_that_dies_in_flight_is_a_question(tmp_path: Path, answer: str) -> None:
    plant = moved_world(tmp_path, FakeLoad(15 * MIB))
    operation = plant.operation("migrate", destination="h2")
    at_look(plant, 2, lambda: plant.pool.host("h1").crash_domain(plant.machine))
    asked = ask(plant, operation, answer)
    assert "runs neither on h1 (off) nor on h2 (absent)" in asked[0]
    assert asked[1:] == ["start_source", "leave_off"]
    assert plant.store.operation(operation).state is OperationState.FAILED
    assert running(plant) == (["h1"] if answer == "start_source" else [])
    assert plant.counts() == ONE
    assert set(plant.store.cpu_claims) == {("h1", 1)}


def test_a_host_that_loses_power_in_flight_is_waited_for_and_then_asked_about(
    tmp_path: Path,
) -> None:
    plant = moved_world(tmp_path, FakeLoad(15 * MIB))
    operation = plant.operation("migrate", destination="h2")
    source = plant.pool.host("h1")
    at_look(plant, 2, source.kill)
    sleep = plant.pool.clock.sleep
    asked: list[str] = []

    def sleeping(seconds: float) -> None:
        question = plant.store.questions.get(operation)
        if question is not None and question[0] not in asked:
            asked.append(question[0])
            if source.unreachable:
                # It comes back: its copy has no autostart while a move is under way.
                source.restore()
                assert running(plant) == []
            else:
                plant.store.answers[operation] = "start_source"
        sleep(seconds)

    plant.pool.clock.sleep = sleeping  # type: ignore[method-assign]
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "h1 does not answer" in asked[0]
    assert "runs neither on h1" in asked[1]
    assert running(plant) == ["h1"]
    assert plant.counts() == ONE


@pytest.mark.parametrize("answer", ["keep_source", "keep_destination"])
def test_two_running_copies_are_a_question_and_one_is_ended(plant: World, answer: str) -> None:
    operation = plant.operation("migrate", destination="h2")
    engine = plant.engine()
    engine.begin(operation)
    for name in ("prepare", "network", "filter", "image", "disk"):
        engine.execute(operation, name)
    # Somebody starts a second copy by hand.
    from millwright.operations import Context
    from millwright.operations.migrate import spec_there

    context = Context(plant.store.operation(operation), plant.ports)
    two = plant.pool.host("h2")
    spec, _words = spec_there(context, plant.store.move(operation), two)
    two.define(spec)
    two.start(plant.machine)
    assert running(plant) == ["h1", "h2"]
    asked = ask(plant, operation, answer)
    assert "runs on both h1 and h2" in asked[0]
    assert running(plant) == ["h2"]
    if answer == "keep_source":
        # The move went on from the copy that was kept.
        calls = [c.verb for c in plant.pool.host("h1").faults.calls]
        assert "migrate" in calls
    assert plant.counts() == ONE


def test_a_question_that_answers_itself_needs_nobody(tmp_path: Path) -> None:
    plant = moved_world(tmp_path, FakeLoad(15 * MIB))
    operation = plant.operation("migrate", destination="h2")
    two = plant.pool.host("h2")

    def cut() -> None:
        plant.pool.host("h1").end_flights("no route to h2")
        two.cut()

    at_look(plant, 1, cut)
    sleep = plant.pool.clock.sleep
    seen: list[str] = []

    def sleeping(seconds: float) -> None:
        if operation in plant.store.questions:
            seen.append(plant.store.questions[operation][0])
            two.restore()
        sleep(seconds)

    plant.pool.clock.sleep = sleeping  # type: ignore[method-assign]
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    assert running(plant) == ["h2"]
    assert plant.store.questions == {}
    states = {step.name: step.state for step in plant.store.operation(operation).steps}
    assert set(states.values()) == {StepState.SUCCEEDED}


def test_wrong_pins_over_there_are_found(plant: World) -> None:
    from millwright.hypervisor import Pins

    two = plant.pool.host("h2")
    two.pins = lambda uuid, **_: Pins(  # type: ignore[method-assign,assignment]
        vcpus={0: frozenset({0}), 1: frozenset({0})}, emulator=frozenset({0})
    )
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert (
        "vCPU 1 of mw-line-vplc runs on CPU 0 of h2, 1 was claimed" in plant.store.errors[operation]
    )
    # It has moved: that is not denied.
    assert plant.store.machines[plant.machine].host == "h2"
    assert running(plant) == ["h2"]


def test_another_address_over_there_is_found(plant: World) -> None:
    one, two = plant.pool.host("h1"), plant.pool.host("h2")
    address = plant.store.machines[plant.machine].address
    original = two.domain

    def domain(*args: Any, **kwargs: Any) -> Any:
        info = original(*args, **kwargs)
        return info and replace(info, xml=info.xml.replace(f'"{address}"', '"10.9.9.9"'))

    assert address
    assert f'"{address}"' in one.domain(plant.machine).xml
    two.domain = domain  # type: ignore[method-assign]
    operation = plant.operation("migrate", destination="h2")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert f"the nic has address 10.9.9.9, {address} was claimed" in plant.store.errors[operation]
    assert running(plant) == ["h2"]


@pytest.mark.parametrize(
    ("relays", "way"),
    [(("h1", "h2"), "by the hosts' relays"), (("h1",), "encrypted by QEMU")],
)
def test_it_is_encrypted_and_the_pause_and_the_way_are_told(
    plant: World, relays: tuple[str, ...], way: str
) -> None:
    for name in relays:
        plant.pool.host(name).relay = True
    told: list[str] = []
    noted = plant.store.step

    def step(operation_id: UUID, name: str, state: StepState, detail: str = "") -> None:
        if name == "move" and detail:
            told.append(detail)
        noted(operation_id, name, state, detail)

    plant.store.step = step  # type: ignore[method-assign]
    assert plant.engine().run(plant.operation("migrate", destination="h2")) == "succeeded"
    (call,) = [c for c in plant.pool.host("h1").faults.calls if c.verb == "migrate"]
    assert call.arguments[3].tls is True
    assert any(told[-1].endswith(f"pause {number} ms, {way}") for number in range(1001)), told


def test_a_firewall_that_was_another_over_there_is_mended_and_told(plant: World) -> None:
    one, two = plant.pool.host("h1"), plant.pool.host("h2")
    original = one.migrate

    def migrate(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        (name,) = two._filters
        two._filters[name] = FilterSpec(name=name)
        return result

    one.migrate = migrate  # type: ignore[method-assign]
    told: list[str] = []
    noted = plant.store.step

    def step(operation_id: UUID, name: str, state: StepState, detail: str = "") -> None:
        if "as claimed" in detail:
            told.append(detail)
        noted(operation_id, name, state, detail)

    plant.store.step = step  # type: ignore[method-assign]
    operation = plant.operation("migrate", destination="h2")
    flows = plant.store.machines[plant.machine].flows
    assert flows
    assert plant.engine().run(operation) is OperationState.SUCCEEDED, plant.store.errors
    (mended,) = two._filters.values()
    assert mended.flows == flows
    # Back again nothing has to be mended.
    assert plant.engine().run(plant.operation("migrate")) is OperationState.SUCCEEDED
    assert told == [
        "pins and address as claimed; the firewall was another and has been set again",
        "pins, address and firewall as claimed",
    ]
