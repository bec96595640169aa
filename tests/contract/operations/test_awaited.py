"""A machine that has room on a sleeping host alone has it woken, disturbed everywhere; two share one host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from millwright.core.lifecycle import HostAdministration, HostPower, OperationState
from millwright.core.placement import Wake
from millwright.operations import SAGAS, Killed, StepFailed

from tests.contract.operations.test_asleep import Sleeper, disturb, ordered
from tests.contract.operations.test_crash import NONE, ONE
from tests.support.operations import world

STEPS = [step.name for step in SAGAS["provision"].steps]


class Night:
    """h2 sleeps and h1 takes nothing. What is told to wake is woken by its own operation while the machine waits."""

    def __init__(self, folder: Path, *, third: bool = False) -> None:
        self.plant = plant = world(folder, second="1")
        self.sleeper = Sleeper(plant)
        plant.ports = replace(plant.ports, sleeper=self.sleeper)
        self.operations: list[tuple[str, UUID]] = []
        hosts = plant.store.hosts
        hosts["h1"] = replace(hosts["h1"], administration=HostAdministration.CORDONED)
        if third:
            plant.pool.add_host("h3", cpus=2)
            hosts["h3"] = replace(hosts["h2"], name="h3")
        for name in sorted(hosts.keys() - {"h1"}):
            plant.pool.host(name).suspend(wake_after_s=3600)
            plant.store.powers[name] = HostPower.ASLEEP
            hosts[name] = replace(
                hosts[name], power=HostPower.ASLEEP, wake=Wake(120.0, watts=float(name[1:]))
            )
        # This world's own clock: whoever waits lets the sleeper go on meanwhile.
        self.sleep, plant.pool.clock.sleep = plant.pool.clock.sleep, self.tick  # type: ignore[method-assign]

    def counts(self) -> dict[str, int]:
        for fake in self.plant.pool:
            fake.wake()
        return self.plant.counts()

    def tick(self, seconds: float) -> None:
        """As the orchestrator, which runs the wakings beside: each order once."""
        self.sleep(seconds)
        store = self.plant.store
        while len(self.operations) < len(store.told_to_wake):
            name = store.told_to_wake[len(self.operations)]
            self.operations.append((name, ordered(self.plant, "wake_host", name)))
            ended = self.plant.engine().run(self.operations[-1][1])
            if ended is not OperationState.SUCCEEDED:
                store.hosts[name] = replace(
                    store.hosts[name], wake=None, left_asleep="did not wake"
                )


def test_the_host_is_woken_and_takes_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.sleeper.lost = 3
    assert night.plant.engine().run(night.plant.operation("provision")) is OperationState.SUCCEEDED
    assert night.plant.store.machines[night.plant.machine].host == "h2"
    assert night.counts() == ONE
    assert [name for name, _ in night.operations] == ["h2"]
    assert night.plant.store.power("h2") is HostPower.AWAKE
    said = "waiting for h2, which is being woken: about 120 s more"
    assert night.plant.store.progresses[0] == said


def test_nothing_is_woken_where_one_that_is_awake_takes_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    hosts = night.plant.store.hosts
    hosts["h1"] = replace(hosts["h1"], administration=HostAdministration.SCHEDULABLE)
    assert night.plant.engine().run(night.plant.operation("provision")) is OperationState.SUCCEEDED
    assert night.plant.store.machines[night.plant.machine].host == "h1"
    assert night.plant.store.told_to_wake == []


def test_one_that_does_not_wake_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(tmp_path, third=True)
    wake = night.sleeper.wake
    monkeypatch.setattr(night.sleeper, "wake", lambda name: "lost" if name == "h2" else wake(name))
    assert night.plant.engine().run(night.plant.operation("provision")) is OperationState.SUCCEEDED
    # The one that takes fewer watts first.
    assert [name for name, _ in night.operations] == ["h2", "h3"]
    assert night.plant.store.machines[night.plant.machine].host == "h3"
    assert night.counts() == ONE
    assert night.plant.store.power("h2") is HostPower.ASLEEP


def test_with_none_left_it_fails_and_names_those_that_did_not_wake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(tmp_path, third=True)
    monkeypatch.setattr(night.sleeper, "wake", lambda _name: "lost")
    operation = night.plant.operation("provision")
    assert night.plant.engine().run(operation) is OperationState.FAILED
    for name in ("h2", "h3"):
        assert f"{name}: the host is asleep and did not wake" in night.plant.store.errors[operation]
    assert night.counts() == NONE


def test_cancelled_while_it_waits_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(tmp_path)
    operation = night.plant.operation("provision")

    def wake(_name: str) -> str:
        night.plant.store.cancelled.add(operation)
        return "told"

    monkeypatch.setattr(night.sleeper, "wake", wake)
    assert night.plant.engine().run(operation) is OperationState.CANCELLED
    assert night.counts() == NONE


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_around_every_step_it_goes_on(
    tmp_path: Path, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(tmp_path)
    operation = night.plant.operation("provision")
    with monkeypatch.context() as patch:
        disturb(patch, "provision", step, effect, Killed(step))
        with pytest.raises(Killed):
            night.plant.engine().run(operation)
    assert night.plant.engine().run(operation) is OperationState.SUCCEEDED
    assert night.counts() == ONE
    assert night.plant.store.told_to_wake == ["h2"]


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_every_step_gives_the_room_back(
    tmp_path: Path, step: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(tmp_path)
    with monkeypatch.context() as patch:
        disturb(patch, "provision", step, effect, StepFailed(step))
        ended = night.plant.engine().run(night.plant.operation("provision"))
    assert ended is OperationState.FAILED
    assert night.counts() == NONE


def test_two_share_one_host_that_has_room_for_both(tmp_path: Path) -> None:
    night = Night(tmp_path, third=True)
    store, first = night.plant.store, night.plant.machine
    store.wants[first] = replace(store.wants[first], control_vcpus=())
    second, operation = uuid4(), uuid4()
    store.add_machine(
        replace(store.machines[first], id=second, domain_name="mw-other"), store.wants[first]
    )
    # h3 takes fewer watts by now: all the same the one that is waited for is shared.
    store.claim(first, operation)
    store.hosts["h3"] = replace(store.hosts["h3"], wake=Wake(10.0, watts=0.0))
    store.claim(second, operation)
    assert {store.machines[key].host for key in (first, second)} == {"h2"}
    assert night.plant.engine().run(night.plant.operation("provision")) is OperationState.SUCCEEDED
    assert [name for name, _ in night.operations] == ["h2"]
