"""Whatever the plant: no answer breaks a hard rule that was kept, at no moment, and answers repeat."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    HostState,
    Mode,
    Movability,
    Move,
    Plant,
    Vm,
    Why,
    admit,
    after,
    balance,
    drain,
    failure_capacity,
    order,
    read_plant,
    recover,
    verify,
    violations,
    write_plant,
)

from .plants import machines, plants

relaxed = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def broken(plant: Plant) -> set[tuple[str, str]]:
    return {(entry.kind, entry.subject) for entry in violations(plant)}


def placed(plant: Plant, where: dict[str, tuple[str, int | None]]) -> Plant:
    return replace(
        plant,
        vms=tuple(
            replace(vm, host=where[vm.name][0], node=where[vm.name][1]) if vm.name in where else vm
            for vm in plant.vms
        ),
    )


def checked(plant: Plant, moves: Iterable[Move]) -> None:
    """The moves end in a plant that is no worse, and their order is right at every moment."""
    listed = list(moves)
    note(str([(move.vm, move.source, move.target, move.why) for move in listed]))
    assert broken(after(plant, listed)) <= broken(plant)
    schedule = order(plant, listed)
    assert not verify(plant, schedule)
    end = {vm.name: vm.host for vm in after(plant, schedule.legs).vms}
    if not schedule.dropped:
        assert all(end[move.vm] == move.target for move in listed)
    assert schedule.makespan_s >= schedule.bound_s * (1 - 1e-9) or schedule.dropped


@relaxed
@given(plants())
def test_a_round_keeps_every_rule_and_every_policy(plant: Plant) -> None:
    made = balance(plant)
    machines_ = {vm.name: vm for vm in plant.vms}
    checked(plant, made.moves)
    assert len(made.moves) <= 2 * plant.settings.max_moves
    for move in made.moves:
        assert machines_[move.vm].moves in (Movability.FREE, Movability.APPROVAL)
        assert machines_[move.vm].mode is not Mode.OFF
        assert move.approval or machines_[move.vm].moves is not Movability.APPROVAL
        assert machines_[move.vm].host == move.source != move.target
    assert balance(plant) == made


@relaxed
@given(plants(), st.data())
def test_a_drain_that_is_possible_empties_its_hosts(plant: Plant, data: st.DataObject) -> None:
    names = [host.name for host in plant.hosts]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    made = drain(plant, chosen)
    checked(plant, made.moves)
    there = {vm.name for vm in after(plant, made.moves).vms if vm.host in chosen}
    blocked = {entry.vm for entry in made.blockers}
    # Of hosts that do not answer nobody can say that they are empty.
    states = {host.name: host.state for host in plant.hosts}
    silent = {name for name in chosen if states[name] in (HostState.SUSPECT, HostState.DOWN)}
    held = {vm.host for vm in plant.vms}
    assert ("" in blocked) == bool(silent - held)
    assert made.possible == (not there and not blocked)
    assert blocked - {""} <= there
    assert not {move.target for move in made.moves} & set(chosen)
    assert drain(plant, chosen) == made


@relaxed
@given(plants(), st.data())
def test_what_is_admitted_breaks_nothing(plant: Plant, data: st.DataObject) -> None:
    fresh: list[Vm] = [data.draw(machines(f"n{index}", ["h0"])) for index in range(2)]
    made = admit(plant, fresh)
    grown = replace(plant, vms=(*plant.vms, *(replace(vm, host=None) for vm in fresh)))
    where = {entry.vm: (entry.host, entry.node) for entry in made.placed if entry.host}
    assert broken(placed(grown, where)) <= broken(plant)
    up = {host.name for host in plant.hosts if host.state is HostState.UP}
    for entry in made.placed:
        assert entry.host is None or entry.host in up
        assert {answer.host for answer in entry.answers} == {host.name for host in plant.hosts}
        assert all(answer.accepted or answer.texts for answer in entry.answers)
    assert admit(plant, fresh) == made


@relaxed
@given(plants(), st.data())
def test_recovery_breaks_nothing_and_forgets_nobody(plant: Plant, data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from([host.name for host in plant.hosts]))
    made = recover(plant, [lost], gone=[lost])
    where = {entry.vm: (entry.target, entry.node) for entry in made.restarts}
    off = replace(
        plant, vms=tuple(replace(vm, host=None) if vm.host == lost else vm for vm in plant.vms)
    )
    assert broken(placed(off, where)) <= broken(plant)
    told = [entry.vm for entry in (*made.restarts, *made.waiting, *made.left)]
    assert sorted(told) == sorted(vm.name for vm in plant.vms if vm.host == lost)
    assert lost not in {entry.target for entry in made.restarts}


@relaxed
@given(plants())
def test_a_good_verdict_holds_when_a_host_dies(plant: Plant) -> None:
    """Where any host may die, recovery leaves nobody; where none is left, nothing was said to be."""
    verdict = failure_capacity(plant, 1)
    assert verdict.complete
    assert failure_capacity(plant, 1) == verdict
    bad = {entry.hosts[0]: {refusal.vm for refusal in entry.left} for entry in verdict.broken}
    for host in plant.hosts:
        if host.name not in bad:
            left = recover(plant, [host.name], gone=[host.name]).left
            assert not left, (host.name, left)


@relaxed
@given(plants(), st.data())
def test_any_order_of_any_moves_keeps_every_rule(plant: Plant, data: st.DataObject) -> None:
    """Moves as they come: what is in the order is right at each moment, the rest is named."""
    names = [host.name for host in plant.hosts]
    moves = [
        Move(vm.name, vm.host, target, Why.ASKED, "", 0.0)
        for vm in plant.vms
        if vm.host is not None
        for target in [data.draw(st.sampled_from(names))]
        if target != vm.host
    ]
    schedule = order(plant, moves)
    assert not verify(plant, schedule)
    assert order(plant, moves) == schedule


@relaxed
@given(plants())
def test_a_plant_is_written_and_read_back(plant: Plant) -> None:
    assert read_plant(write_plant(plant)) == plant
