"""The crash suite: every step twice, a failure at every step, a kill at every call.

Afterwards there is exactly one domain, one overlay, one filter, one address and one CPU claim, or none.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.core.lifecycle import EnvironmentState, OperationState, StepState
from millwright.hypervisor import Final, HostUnreachable
from millwright.operations import SAGAS, Context, Killed, OperationError

from tests.support.operations import World, world

ONE = {"domains": 1, "overlays": 1, "filters": 1, "addresses": 1, "cpus": 1}
NONE = dict.fromkeys(ONE, 0)
PROVISION = [step.name for step in SAGAS["provision"].steps]


@pytest.fixture
def plant(tmp_path: Path) -> World:
    return world(tmp_path)


def test_a_machine_is_built_and_removed_without_a_trace(plant: World) -> None:
    run = plant.engine().run(plant.operation("provision", program_version=str(plant.program)))
    assert run is OperationState.SUCCEEDED
    assert plant.counts() == ONE
    assert plant.store.environments[plant.environment] is EnvironmentState.RUNNING
    assert plant.store.deployments == [(plant.machine, plant.program, "active")]
    assert plant.engine().run(plant.operation("remove")) is OperationState.SUCCEEDED
    assert plant.counts() == NONE
    assert plant.store.environments[plant.environment] is EnvironmentState.REMOVED


@pytest.mark.parametrize(
    "kind",
    [
        "provision",
        "start",
        "stop",
        "restart",
        "remove",
        "deliver_program",
        "deliver_config",
        "build_program",
        "migrate",
    ],
)
def test_every_step_may_run_twice(plant: World, kind: str) -> None:
    if kind not in ("provision", "build_program"):
        plant.provisioned()
    operation = plant.operation(kind, program_version=str(plant.program))
    engine = plant.engine()
    saga, _ = engine.begin(operation)
    for step in saga.steps:
        engine.execute(operation, step.name)
        before = plant.counts()
        # Once more, as after a crash between the effect and its record.
        for _ in range(5):
            try:
                step.do(Context(plant.store.operation(operation), plant.ports))
            except Exception as error:
                assert getattr(error, "retryable", False), step.name
                continue
            break
        else:
            pytest.fail(f"{step.name} never succeeded the second time")
        assert plant.counts() == before, step.name
    assert engine.finish(operation) is OperationState.SUCCEEDED


@pytest.mark.parametrize("step", PROVISION)
@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_failure_at_every_step_leaves_nothing(
    plant: World, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millwright.operations import saga as sagas
    from millwright.operations.errors import StepFailed

    original = SAGAS["provision"].step(step).do

    def failing(context: Context) -> str | None:
        if effect == "after":
            for _ in range(20):
                try:
                    original(context)
                except Exception as error:
                    assert getattr(error, "retryable", False)
                    plant.pool.clock.advance(5)
                    continue
                break
        raise StepFailed(f"{step} failed {effect} its effect")

    broken = sagas.Saga(
        "provision",
        tuple(
            sagas.Step(
                row.name,
                row.title,
                failing if row.name == step else row.do,
                row.undo,
                row.no_undo,
                row.timeout_s,
            )
            for row in SAGAS["provision"].steps
        ),
        environment_before=EnvironmentState.PROVISIONING,
        environment_after=EnvironmentState.RUNNING,
        environment_failed=EnvironmentState.FAILED,
        undoes=True,
    )
    with monkeypatch.context() as patch:
        patch.setitem(SAGAS, "provision", broken)
        operation = plant.operation("provision", program_version=str(plant.program))
        assert plant.engine().run(operation) is OperationState.FAILED
        assert f"{step} failed {effect}" in plant.store.errors[operation]
        assert plant.counts() == NONE
        assert plant.store.environments[plant.environment] is EnvironmentState.FAILED
    plant.provisioned()
    assert plant.counts() == ONE


def _verbs(folder: Path) -> list[tuple[str, int]]:
    """Every call that a provisioning makes, as (verb, how many such calls came before)."""
    plant = world(folder)
    plant.engine().run(plant.operation("provision", program_version=str(plant.program)))
    seen: dict[str, int] = {}
    calls = []
    for call in [call for fake in plant.pool for call in fake.faults.calls]:
        calls.append((call.verb, seen.setdefault(call.verb, 0)))
        seen[call.verb] += 1
    return calls


def _kill_at(plant: World, verb: str, nth: int, effect: str) -> None:
    """Make the nth call of the verb on any host the last thing this process does."""
    count = 0
    for fake in plant.pool:
        take = fake.faults.take

        def taking(name: str, when: object, take=take) -> BaseException | None:
            nonlocal count
            if name == verb and str(when) == effect:
                count += 1
                if count == nth + 1:
                    return Killed(f"killed {effect} {verb}")
            return take(name, when)

        fake.faults.take = taking  # type: ignore[method-assign]


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_kill_at_every_call_is_continued_to_exactly_one_machine(
    tmp_path: Path, effect: str
) -> None:
    (tmp_path / "probe").mkdir()
    calls = _verbs(tmp_path / "probe")
    killed = 0
    for number, (verb, nth) in enumerate(calls):
        folder = tmp_path / str(number)
        folder.mkdir()
        plant = world(folder)
        operation = plant.operation("provision", program_version=str(plant.program))
        _kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        assert plant.engine().run(operation) is OperationState.SUCCEEDED, (verb, nth)
        assert plant.counts() == ONE, (verb, nth)
    # A call that itself fails (an agent that does not answer yet) has no "after".
    assert killed >= 15


_METHODS = (
    "step",
    "claim",
    "operation_state",
    "environment_state",
    "begin",
    "observed",
    "deployment",
)


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_around_every_write_of_the_record_is_continued(
    tmp_path: Path, method: str, after: bool
) -> None:
    for nth in range(40):
        folder = tmp_path / str(nth)
        folder.mkdir()
        plant = world(folder)
        operation = plant.operation("provision", program_version=str(plant.program))
        original = getattr(plant.store, method)
        count = 0

        def write(*args, original=original, nth=nth, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            if count == nth + 1 and not after:
                raise Killed(method)
            result = original(*args, **kwargs)
            if count == nth + 1:
                raise Killed(method)
            return result

        setattr(plant.store, method, write)
        try:
            plant.engine().run(operation)
        except Killed:
            pass
        else:
            break
        assert plant.engine().run(operation) is OperationState.SUCCEEDED
        assert plant.counts() == ONE
    else:
        pytest.fail("the operation never got through")


def test_a_kill_while_undoing_is_continued_to_nothing(tmp_path: Path) -> None:
    for nth in range(30):
        folder = tmp_path / str(nth)
        folder.mkdir()
        plant = world(folder)
        plant.prober.problem = "no route"
        operation = plant.operation("provision", program_version=str(plant.program))
        original = plant.store.step
        count = 0

        def write(identity, name, state, detail="", original=original, nth=nth):  # type: ignore[no-untyped-def]
            nonlocal count
            if state is StepState.UNDONE:
                count += 1
                if count == nth + 1:
                    raise Killed("undoing")
            original(identity, name, state, detail)

        plant.store.step = write  # type: ignore[method-assign]
        try:
            plant.engine().run(operation)
        except Killed:
            assert plant.engine().run(operation) is OperationState.FAILED
            assert plant.counts() == NONE
        else:
            assert nth > 3
            break


def test_a_host_that_is_away_for_a_while_delays_and_changes_nothing(plant: World) -> None:
    for verb in ("define", "ensure_overlay", "start"):
        plant.pool.host("h1").fail_next(verb, HostUnreachable("away"), times=3)
    plant.provisioned()
    assert plant.counts() == ONE


def test_a_full_disk_is_said_and_nothing_is_left(plant: World) -> None:
    from millwright.hypervisor import NoSpace

    plant.pool.host("h1").fail_next(
        "ensure_overlay", NoSpace("pool default: 2 GiB wanted, 1 GiB free", host="h1")
    )
    operation = plant.operation("provision")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert plant.store.errors[operation] == "h1: pool default: 2 GiB wanted, 1 GiB free"
    assert plant.counts() == NONE


def test_what_cannot_be_undone_is_said_and_the_rest_is_undone(plant: World) -> None:
    plant.prober.problem = "no route"
    plant.pool.host("h1").fail_next("remove_volume", Final("the volume is stuck"))
    operation = plant.operation("provision")
    assert plant.engine().run(operation) is OperationState.FAILED
    failed = [
        step.name
        for step in plant.store.operation(operation).steps
        if step.state is StepState.FAILED
    ]
    assert "disk" in failed
    assert plant.counts() == {**NONE, "overlays": 1}


def test_cancelling_undoes_what_was_begun(plant: World) -> None:
    plant.prober.problem = "no route"
    operation = plant.operation("provision")
    original = plant.prober.answers

    def answers(kind: str, address: str, port: int) -> str | None:
        plant.store.cancelled.add(operation)
        return original(kind, address, port)

    plant.prober.answers = answers  # type: ignore[method-assign]
    assert plant.engine().run(operation) is OperationState.CANCELLED
    assert plant.counts() == NONE


def test_a_program_that_does_not_compile_is_said(plant: World) -> None:
    plant.store.add_program(plant.program, files={"src/main.st": "wrong"})
    operation = plant.operation("build_program", program_version=str(plant.program))
    assert plant.engine().run(operation) is OperationState.FAILED
    assert plant.store.errors[operation] == "1 error"


def test_a_delivery_that_the_guest_refuses_is_said_and_the_machine_stays(plant: World) -> None:
    plant.provisioned()
    plant.pool.host("h1").guest(
        plant.machine
    ).reject_next = "signature: not by a key this machine trusts"
    operation = plant.operation("deliver_program", program_version=str(plant.program))
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "signature" in plant.store.errors[operation]
    assert plant.store.environments[plant.environment] is EnvironmentState.RUNNING
    assert plant.counts() == ONE


def test_going_back_to_what_was_delivered_before_reaches_the_guest(plant: World) -> None:
    plant.provisioned()
    guest = plant.pool.host("h1").guest(plant.machine)
    versions = {uuid4(): content for content in (b"the first", b"the second")}
    for version, content in versions.items():
        plant.store.add_program(version, bundle=content)
    for version in (*versions, *versions):
        operation = plant.operation("deliver_program", program_version=str(version))
        assert plant.engine().run(operation) is OperationState.SUCCEEDED
        assert guest.program is not None
        assert guest.program["sha256"] == hashlib.sha256(versions[version]).hexdigest()


def test_a_refused_delivery_is_delivered_anew_when_it_is_tried_again(plant: World) -> None:
    plant.provisioned()
    plant.pool.host("h1").guest(plant.machine).reject_next = "the disk is full"
    operation = plant.operation("deliver_program", program_version=str(plant.program))
    assert plant.engine().run(operation) is OperationState.FAILED
    record = plant.store.operation(operation)
    plant.store.add_operation(replace(record, state=OperationState.QUEUED, attempt=2))
    assert plant.engine().run(operation) is OperationState.SUCCEEDED


def test_nothing_fits_is_said_with_the_reasons_per_host(plant: World) -> None:
    plant.store.wants[plant.machine] = replace(
        plant.store.wants[plant.machine], memory_bytes=64 * 2**30
    )
    operation = plant.operation("provision")
    assert plant.engine().run(operation) is OperationState.FAILED
    assert "h1: memory: 65728 MiB wanted" in plant.store.errors[operation]
    assert "h2: memory" in plant.store.errors[operation]


def test_every_step_has_an_undo_or_says_why_not() -> None:
    for saga in SAGAS.values():
        for step in saga.steps:
            assert (step.undo is None) == bool(step.no_undo)


def test_a_failed_step_is_not_tried_once_more_by_the_next_process(plant: World) -> None:
    plant.prober.problem = "no route"
    operation = plant.operation("provision")
    engine = plant.engine()
    saga, _ = engine.begin(operation)
    for step in saga.steps[:-1]:
        engine.execute(operation, step.name)
    with pytest.raises(OperationError) as failure:
        engine.execute(operation, saga.steps[-1].name)
    engine.fail(operation, failure.value)
    # Killed here, before the runner has the answer: it runs the same step again, and now it would succeed.
    plant.prober.problem = None
    again = plant.engine()
    with pytest.raises(OperationError, match="undone") as second:
        again.execute(operation, saga.steps[-1].name)
    again.fail(operation, second.value)
    assert "no route" in plant.store.errors[operation]
    assert plant.engine().run(operation) is OperationState.FAILED
    assert plant.counts() == NONE


@pytest.mark.parametrize("end", ["finish", "end_undone"])
def test_an_end_recorded_twice_leaves_the_next_operation_alone(plant: World, end: str) -> None:
    if end == "end_undone":
        plant.prober.problem = "no route"
    first = plant.operation("provision")
    plant.engine().run(first)
    # Meanwhile another operation has had its turn.
    plant.store.environments[plant.environment] = EnvironmentState.STOPPED
    getattr(plant.engine(), end)(first)
    assert plant.store.environments[plant.environment] is EnvironmentState.STOPPED
