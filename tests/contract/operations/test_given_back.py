"""Retained values of a controller whose disk died with its host, given back while it is rebuilt and disturbed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from millwright.core.lifecycle import OperationState
from millwright.hypervisor import (
    AgentUnavailable,
    DeadlineExceeded,
    GuestCommandFailed,
    HostUnreachable,
    HypervisorError,
    NoSpace,
    VerificationFailed,
    VolumeOwner,
)
from millwright.hypervisor.fake.guest import RETAIN, FakeGuest
from millwright.operations import SAGAS, Killed, RetainedOffer
from millwright.operations.provision import upload_image
from millwright.operations.saga import Context
from millwright.operations.volumes import disk_volume, overlay_volume

from industrial.package import pack
from tests.contract.operations.test_migrate import kill_at
from tests.contract.operations.test_recover import lost_world, running
from tests.support.operations import World
from tests.support.retained import LAYOUT, number_in, retained

KEY = Ed25519PrivateKey.generate()
AT = dt.datetime(2026, 11, 27, 14, 3, 7, tzinfo=dt.UTC)


def offer(number: int, *, age_s: float = 42.0, **changes: Any) -> RetainedOffer:
    data = retained(number)
    made = RetainedOffer(
        sha256="5" * 64,
        as_of=AT - dt.timedelta(seconds=age_s - 42),
        scan=number,
        layout_hash=LAYOUT,
        size_bytes=len(data),
        generation=1,
        bundle=pack("retain", "line", str(number), {"retain.bin": data}, KEY),
        before_loss_s=age_s,
    )
    return replace(made, **changes)


def rebuilt(plant: World) -> tuple[Any, OperationState]:
    operation = plant.operation("recover", destination="h2", program_version=str(plant.program))
    return operation, plant.engine().run(operation)


def guest(plant: World) -> FakeGuest:
    return plant.pool.host("h2").guest(plant.machine)


def said(plant: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Step → what it said, as it is written."""
    words: dict[str, str] = {}
    write = plant.store.step

    def writing(operation: Any, name: str, state: Any, detail: str = "") -> None:
        words[name] = detail or words.get(name, "")
        write(operation, name, state, detail)

    monkeypatch.setattr(plant.store, "step", writing)
    return words


def test_the_newest_copy_goes_back_with_its_program_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6, age_s=102))
    words = said(plant, monkeypatch)
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED, plant.store.errors
    assert number_in(guest(plant).files[RETAIN]) == 7
    assert guest(plant).program is not None
    assert (
        words["retained"]
        == "retained values of 2026-11-27 14:03:07 UTC, 42 s before the host was lost"
    )
    assert words["values"] == "it goes on with its retained values"
    kept = plant.store.outcomes[operation]
    assert (kept["outcome"], kept["scan"], kept["before_loss_s"]) == ("given", 7, 42.0)
    assert (kept["result"], kept["start"], kept["refused"]) == ("kept", "warm", [])


@pytest.mark.parametrize("effect", ["before", "after"])
def test_killed_at_every_call_the_copy_is_there_once_and_whole(tmp_path: Path, effect: str) -> None:
    (tmp_path / "probe").mkdir()
    probe = lost_world(tmp_path / "probe")
    probe.store.retained = (offer(7),)
    for fake in probe.pool:
        fake.faults.calls.clear()
    rebuilt(probe)
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
        plant.store.retained = (offer(7),)
        operation = plant.operation("recover", destination="h2", program_version=str(plant.program))
        kill_at(plant, verb, nth, effect)
        try:
            plant.engine().run(operation)
        except Killed:
            killed += 1
        assert plant.engine().run(operation) is OperationState.SUCCEEDED, (verb, nth)
        assert running(plant) == ["h2"], (verb, nth)
        assert number_in(guest(plant).files[RETAIN]) == 7, (verb, nth)
        kept = plant.store.outcomes[operation]
        assert (kept["outcome"], kept["result"]) == ("given", "kept"), (verb, nth)
    assert killed >= 15


def test_a_damaged_copy_is_named_and_the_one_before_it_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    wrong = offer(9, bundle=b"", wrong="retain.bin: damaged: checksum 1, its head says 2")
    plant.store.retained = (wrong, offer(8, age_s=102))
    words = said(plant, monkeypatch)
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    assert number_in(guest(plant).files[RETAIN]) == 8
    assert words["retained"].startswith("retained values of 2026-11-27 14:02:07 UTC, 102 s before")
    assert (
        "14:03:07 UTC, 42 s before the host was lost are not given back: retain.bin: damaged"
        in (plant.store.outcomes[operation]["refused"][0])
    )


def test_a_disk_of_long_ago_on_the_new_host_is_set_aside_and_the_copy_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    machine, two = plant.store.machines[plant.machine], plant.pool.host("h2")
    # It has moved about since: what lies on h2 is of its second placement, and what counts is of its sixth.
    plant.store.machines[plant.machine] = machine = replace(machine, generation=6)
    two.ensure_pool("default")
    operation = plant.store.operation(plant.operations[0])
    upload_image(Context(operation, plant.ports), machine, two)
    old = two.ensure_overlay(
        "default",
        overlay_volume(machine),
        base=disk_volume(machine.image),
        capacity_bytes=machine.image.disk_virtual_bytes,
        owner=VolumeOwner(site=machine.site, machine=str(machine.id), generation=2),
    )
    plant.store.retained = (offer(7),)
    words = said(plant, monkeypatch)

    def boots() -> None:
        # A guest has the values that its disk has.
        spec = two._domains[plant.machine].effective
        if spec is not None and [disk.path for disk in spec.disks] == [old.path]:
            guest(plant).files[RETAIN] = retained(3)

    operation, state = stepwise(plant, retained=boots)
    assert state is OperationState.SUCCEEDED
    assert number_in(guest(plant).files[RETAIN]) == 7
    assert plant.store.outcomes[operation]["outcome"] == "given"
    assert f"set aside: {old.name} of generation 2" in words["disk"]
    rows = two.overlays("default", overlay_volume(machine))
    assert [(row.owner and row.owner.generation, row.aside) for row in rows] == [
        (7, False),
        (2, True),
    ]
    # It moves back and its machine is removed: what was set aside stays for a person to look at.
    plant.pool.host("h1").restore()
    assert plant.engine().run(plant.operation("clear_copy", host="h1")) is OperationState.SUCCEEDED
    back = plant.operation("migrate", destination="h1")
    assert plant.engine().run(back) is OperationState.SUCCEEDED, plant.store.errors
    rows = two.overlays("default", overlay_volume(machine))
    assert [(row.name, row.aside) for row in rows] == [(old.name, True)]


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_without_a_good_copy_it_is_rebuilt_with_initial_values_and_says_so(
    tmp_path: Path, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = tuple(
        offer(n, bundle=b"", wrong=f"copy {n} is damaged") for n in range(copies)
    )
    words = said(plant, monkeypatch)
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    assert RETAIN not in guest(plant).files
    assert words["retained"].split("; ")[0] == (
        "no copy of retained values can be used: it begins with initial values"
        if copies
        else "no copy of retained values: it begins with initial values"
    )
    assert words["values"] == "it begins with initial values"
    kept = plant.store.outcomes[operation]
    assert kept["outcome"] == ("refused" if copies else "none")
    assert len(kept["refused"]) == copies
    assert all(f"copy {n} is damaged" in row for n, row in enumerate(kept["refused"]))


def test_what_the_guest_refuses_is_tried_with_the_copy_before(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6))
    operation = plant.operation("recover", destination="h2", program_version=str(plant.program))
    engine = plant.engine()
    saga, _state = engine.begin(operation)
    for step in saga.steps:
        if step.name == "retained":
            guest(plant).reject_next = "retain.bin: the disk is full"
        engine.execute(operation, step.name)
    assert engine.finish(operation) is OperationState.SUCCEEDED
    assert number_in(guest(plant).files[RETAIN]) == 6
    assert "the disk is full" in plant.store.outcomes[operation]["refused"][0]


def stepwise(plant: World, **before: Callable[[], Any]) -> tuple[Any, OperationState]:
    """A rebuild; before the steps that are named something happens."""
    operation = plant.operation("recover", destination="h2", program_version=str(plant.program))
    engine = plant.engine()
    saga, _state = engine.begin(operation)
    assert before.keys() <= {step.name for step in saga.steps}
    for step in saga.steps:
        before.get(step.name, lambda: None)()
        engine.execute(operation, step.name)
    return operation, engine.finish(operation)


def fails(plant: World, verb: str, error: HypervisorError, times: int = 10_000) -> Any:
    return lambda: plant.pool.host("h2").faults.fail_next(verb, error, times=times)


def mended(plant: World) -> Callable[[], None]:
    return plant.pool.host("h2").faults.clear


@pytest.mark.parametrize(
    "error", [NoSpace("the disk is full"), GuestCommandFailed("not permitted")]
)
@pytest.mark.parametrize("verb", ["agent_write_file", "agent_read_file"])
def test_a_copy_that_cannot_be_written_is_named_and_the_one_before_it_taken(
    tmp_path: Path, verb: str, error: HypervisorError
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6))
    operation, state = stepwise(plant, retained=fails(plant, verb, error, times=1))
    assert state is OperationState.SUCCEEDED
    assert number_in(guest(plant).files[RETAIN]) == 6
    kept = plant.store.outcomes[operation]
    assert (kept["outcome"], kept["scan"]) == ("given", 6)
    assert kept["refused"][0].endswith(f"are not given back: {error}")


def test_where_no_copy_can_be_written_the_rebuild_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6))
    words = said(plant, monkeypatch)
    full = fails(plant, "agent_write_file", NoSpace("the disk is full"))
    operation, state = stepwise(plant, retained=full, config=mended(plant))
    assert state is OperationState.SUCCEEDED
    assert guest(plant).program is not None
    assert words["values"] == "it begins with initial values"
    kept = plant.store.outcomes[operation]
    assert (kept["outcome"], len(kept["refused"])) == ("refused", 2)


LATE = [
    ("agent_write_file", VerificationFailed("not what was sent")),
    ("agent_read_file", AgentUnavailable("silent")),
    ("agent_read_file", DeadlineExceeded("late")),
]


@pytest.mark.parametrize(("verb", "error"), LATE)
def test_when_the_time_for_copies_is_over_the_rebuild_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, error: HypervisorError
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6))
    words = said(plant, monkeypatch)
    operation, state = stepwise(plant, retained=fails(plant, verb, error), config=mended(plant))
    assert state is OperationState.SUCCEEDED
    assert guest(plant).program is not None
    assert RETAIN not in guest(plant).files
    first, *refused = words["retained"].split("; ")
    assert first == "no copy of retained values can be used: it begins with initial values"
    assert words["values"] == "it begins with initial values"
    assert refused == plant.store.outcomes[operation]["refused"]
    assert refused[0].endswith(f"are not given back: not within 300 s: {error}")
    assert plant.store.outcomes[operation]["outcome"] == "refused"


def test_a_copy_that_is_taken_after_its_time_is_told_as_given(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7), offer(6))

    def taken() -> None:
        mended(plant)()
        guest(plant).files[RETAIN] = retained(7)

    silent = fails(plant, "agent_read_file", AgentUnavailable("silent"))
    operation, state = stepwise(plant, retained=silent, config=taken)
    assert state is OperationState.SUCCEEDED
    kept = plant.store.outcomes[operation]
    assert (kept["outcome"], kept["scan"], kept["result"]) == ("given", 7, "kept")


def test_a_second_attempt_that_gets_no_answer_keeps_the_name_of_the_copy_before(
    tmp_path: Path,
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7, bundle=b"", wrong="copy 7 is damaged"), offer(6))
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    record = plant.store.operation(operation)
    again = replace(record, attempt=2, state=OperationState.QUEUED, steps=())
    plant.store.operations[operation] = again
    plant.store.retained = (offer(7), offer(6))
    engine = plant.engine()
    saga, _state = engine.begin(operation)
    for step in saga.steps:
        if step.name == "retained":
            fails(plant, "agent_read_file", AgentUnavailable("silent"))()
        engine.execute(operation, step.name)
        mended(plant)()
    assert engine.finish(operation) is OperationState.SUCCEEDED
    kept = plant.store.outcomes[operation]
    assert (kept["outcome"], kept["scan"], kept["result"]) == ("given", 6, "kept")
    assert "not within 300 s" in kept["refused"][0]


@pytest.mark.parametrize(
    "error",
    [AgentUnavailable("silent"), DeadlineExceeded("late"), GuestCommandFailed("not permitted")],
)
def test_a_controller_that_cannot_be_asked_fails_no_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: HypervisorError
) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7),)
    words = said(plant, monkeypatch)
    operation, state = stepwise(plant, values=fails(plant, "agent_read_file", error))
    assert state is OperationState.SUCCEEDED
    assert words["values"] == "the controller does not say what became of its retained values"
    assert plant.store.outcomes[operation]["outcome"] == "given"


def test_a_host_that_is_lost_again_at_the_last_question_fails_no_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = lost_world(tmp_path)
    words = said(plant, monkeypatch)

    def gone() -> None:
        def get(name: str) -> Any:
            raise HostUnreachable("refused", host=name)

        monkeypatch.setattr(plant.ports.hypervisors, "get", get)

    _operation, state = stepwise(plant, values=gone)
    assert state is OperationState.SUCCEEDED
    assert words["values"] == "the controller does not say what became of its retained values"


def test_a_second_attempt_keeps_the_name_of_the_copy_that_was_given(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7),)
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    # The program has run meanwhile: what lies there is of its own by now.
    guest(plant).files[RETAIN] = retained(70)
    record = plant.store.operation(operation)
    again = replace(record, attempt=2, state=OperationState.QUEUED, steps=())
    plant.store.operations[operation] = again
    assert plant.engine().run(operation) is OperationState.SUCCEEDED
    assert number_in(guest(plant).files[RETAIN]) == 70
    assert plant.store.outcomes[operation]["outcome"] == "given"
    assert plant.store.outcomes[operation]["scan"] == 7


def test_what_keeps_its_disk_is_given_nothing(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(7),)
    plant.store.shared_storage = True
    plant.pool.host("h2")._pools = plant.pool.host("h1")._pools
    operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    assert "outcome" not in plant.store.outcomes.get(operation, {})
    assert RETAIN not in guest(plant).files
    # No other operation gives any: a machine that moves, starts or is delivered to has its disk.
    assert [kind for kind, saga in SAGAS.items() if "retained" in {s.name for s in saga.steps}] == [
        "recover"
    ]


def test_a_copy_of_the_present_placement_is_not_given_to_it(tmp_path: Path) -> None:
    plant = lost_world(tmp_path)
    plant.store.retained = (offer(9, generation=2), offer(7))
    _operation, state = rebuilt(plant)
    assert state is OperationState.SUCCEEDED
    assert plant.store.machines[plant.machine].generation == 2
    assert number_in(guest(plant).files[RETAIN]) == 7
