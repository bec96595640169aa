"""A machine that finds room and starts after one that does not start waits, and nobody says that all is well."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Code,
    HostState,
    Mode,
    Plant,
    Rule,
    RuleKind,
    Settings,
    Vm,
    admit,
    balance,
    capacity,
    failure_capacity,
    recover,
    violations,
    waits_with,
)
from millwright.core.lifecycle import Recovery

from .plants import plants
from .test_doors import GIB, host, plant, vm

AUTO = Recovery.AUTONOMOUS
THREE = [host("h1", memory=32), host("h2", memory=32), host("h3", memory=32)]


def told(start: Plant, k: int = 1) -> list[tuple[str, str, str]]:
    """Host, machine, and what it waits for."""
    made = failure_capacity(start, k)
    assert made.ok is not bool(made.broken)
    return [
        (",".join(entry.hosts), refusal.vm, refusal.waits_for)
        for entry in made.broken
        for refusal in entry.left
    ]


def test_after_what_is_not_protected_or_autonomous_it_waits_for_ever() -> None:
    bare = vm("db", "h1", protected=False)
    start = plant(THREE, [bare, vm("app", "h1", after=("db",)), vm("top", "h1", after=("app",))])
    assert told(start) == [("h1", "app", "db"), ("h1", "top", "app")]
    made = failure_capacity(start)
    assert made.room
    assert not made.ok
    (first, second) = made.broken[0].left
    assert first.codes == second.codes == (Code.DEPENDENCY,)
    assert first.text == "app would wait for db, which is not protected: it starts after it"
    assert {row.vm for row in recover(start, ["h1"], gone=["h1"]).left} == {"app", "top"}
    # Autonomous: its own host starts it. What is autonomous too comes back with it.
    plc = replace(bare, protected=True, recovery=AUTO)
    for after, waits in ((Recovery.RECOVERABLE, True), (AUTO, False)):
        app = vm("app", "h1", after=("db",), recovery=after)
        assert told(plant(THREE, [plc, app])) == ([("h1", "app", "db")] if waits else [])
    (entry,) = failure_capacity(plant(THREE, [plc, vm("app", "h1", after=("db",))])).broken
    assert "is autonomous and waits for h1" in entry.left[0].text


def test_what_runs_on_elsewhere_holds_nobody_up() -> None:
    apart = plant(THREE, [vm("db", "h2", protected=False), vm("app", "h1", after=("db",))])
    assert told(apart) == []
    # If both die it waits; and if the other one was down before, by its own host's death alone.
    assert told(apart, 2) == [("h1,h2", "app", "db")]
    down = replace(apart, hosts=(THREE[0], replace(THREE[1], state=HostState.DOWN), THREE[2]))
    assert told(down) == [("h1", "app", "db")]
    assert "is on h2, which is down" in failure_capacity(down).broken[0].left[0].text
    lost = plant(THREE, [vm("db", None), vm("app", "h1", after=("db",))])
    assert told(lost) == [("h1", "app", "db")]


def test_what_finds_no_room_is_waited_for() -> None:
    tight = [host("h1", memory=40), host("h2", memory=10)]
    start = plant(tight, [vm("db", "h1", memory=30), vm("app", "h1", memory=4, after=("db",))])
    assert told(start) == [("h1", "db", ""), ("h1", "app", "db")]
    assert not failure_capacity(start).room


def test_kept_together_with_what_is_not_protected() -> None:
    pair = Rule("pair", RuleKind.TOGETHER, ("a", "b"))
    start = plant(THREE, [vm("a", "h1"), vm("b", "h1", protected=False)], rules=(pair,))
    assert told(start) == [("h1", "a", "b")]
    assert failure_capacity(start).broken[0].left[0].codes == (Code.TOGETHER,)


def test_a_placement_goes_where_nobody_waits_and_others_are_not_held_back() -> None:
    start = plant(THREE, [vm("db", "h1", protected=False), *(vm(f"x{n}", f"h{n}") for n in (2, 3))])
    app = vm("app", None, after=("db",))
    free = admit(replace(start, settings=Settings()), [app])
    (entry,) = admit(start, [app], k=1).placed
    assert free.placed[0].host == "h1"
    assert entry.host != "h1"
    # One that waits already keeps nobody else away, and is told.
    bad = plant(THREE, [vm("db", "h1", protected=False), vm("app", "h1", after=("db",))])
    made = admit(bad, [vm("new", None)], k=1)
    assert made.placed[0].host == "h2"
    assert made.spare is not None
    assert not made.ok
    assert capacity(bad, vm("t", None, memory=4), k=1).fits > 0
    # Two that come together: the one is not held back by the other's not being there yet.
    both = admit(plant(THREE, []), [vm("db", None, memory=2), vm("app", None, after=("db",))], k=1)
    assert both.ok


def test_who_would_wait_with_it_there() -> None:
    bare = vm("db", "h1", protected=False)
    app = vm("app", "h1", after=("db",))
    start = plant(THREE, [bare, app])
    for name in ("db", "app"):
        found = waits_with(start, name, 1)
        assert found is not None
        assert (found.hosts, [(row.vm, row.waits_for) for row in found.left]) == (
            ("h1",),
            [("app", "db")],
        )
    apart = plant(THREE, [bare, replace(app, host="h2")])
    assert waits_with(apart, "app", 1) is None
    found = waits_with(apart, "app", 2)
    assert found is not None
    assert set(found.hosts) == {"h1", "h2"}
    # What waits without it is not its fault.
    third = plant(THREE, [bare, app, vm("top", "h1", after=("app",)), vm("x", "h1")])
    assert waits_with(third, "x", 1) is None
    with pytest.raises(ValueError, match="k: 0: must be at least 1"):
        waits_with(start, "db", 0)
    with pytest.raises(KeyError):
        waits_with(start, "nobody", 1)
    with pytest.raises(KeyError):
        waits_with(plant(THREE, [vm("a", None)]), "a", 1)


def test_a_round_moves_nobody_to_where_it_would_wait() -> None:
    """What is on a crowded host goes, but not beside what it starts after and what is not protected."""
    hosts = [host("h1", cpus=8.0, memory=64), host("h2", cpus=8.0, memory=64)]
    crowd = [vm(f"v{n}", "h1", 3.0, memory=8, after=("db",)) for n in range(4)]
    start = plant(hosts, [*crowd, vm("db", "h2", 0.1, memory=8, protected=False)])
    eager = Settings(mode=Mode.AUTOMATIC, sustain_rounds=1)
    assert balance(replace(start, settings=eager)).moves
    kept = balance(replace(start, settings=replace(eager, spare_hosts=1)))
    assert not kept.moves
    assert any("a machine would wait for another" in row.text for row in kept.refused)


@st.composite
def chained(draw: st.DrawFn) -> Plant:
    """Drawn plants whose machines start after one another, some not protected, some autonomous."""
    start = draw(plants())
    vms: list[Vm] = []
    for number, each in enumerate(start.vms):
        before = [other.name for other in start.vms[:number]]
        after = draw(st.lists(st.sampled_from(before), max_size=2, unique=True)) if before else []
        vms.append(
            replace(
                each,
                after=tuple(after),
                protected=draw(st.sampled_from([True, True, True, False])),
                recovery=draw(st.sampled_from([None, Recovery.RECOVERABLE, AUTO])),
                memory_bytes=draw(st.sampled_from([GIB, each.memory_bytes])),
            )
        )
    random.Random(draw(st.integers(0, 9))).shuffle(vms)  # noqa: S311  # the order must not matter
    return replace(start, vms=tuple(vms))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(chained())
def test_a_good_verdict_holds_when_a_host_dies_whoever_speaks_of_it(start: Plant) -> None:
    """Recovery leaves nobody of whom nothing was said, and leaves everybody who was said to wait.

    What it does is put before the independent checker: with the machines of the host off, nothing is broken.
    """
    verdict = failure_capacity(start)
    bad = {entry.hosts[0]: entry.left for entry in verdict.broken if entry.hosts}
    before = {(row.kind, row.subject) for row in violations(start)}
    machines = {each.name: each for each in start.vms}
    for each in start.hosts:
        if each.state is HostState.DOWN:
            continue
        refused = bad.get(each.name, ())
        waits = {row.vm for row in refused if row.waits_for}
        for gone in ([], [each.name]):
            made = recover(start, [each.name], gone=gone)
            left, held = {row.vm for row in made.left}, {row.vm for row in made.waiting}
            if not refused:
                assert not left, (each.name, gone, made.left)
            if all(row.waits_for for row in refused):
                assert left <= waits, (each.name, gone, made.left)
            # What is autonomous is judged as if a person had spoken, the rest as if nobody had.
            judged = {name for name in waits if _alone(machines[name]) != bool(gone)}
            assert not judged & {row.vm for row in made.restarts}
            assert judged <= left | held
            where = {row.vm: (row.target, row.node) for row in made.restarts}
            off = [
                replace(vm_, host=where.get(vm_.name, (None, None))[0], node=where.get(vm_.name, (None, None))[1])
                if vm_.host == each.name
                else vm_
                for vm_ in start.vms
            ]  # fmt: skip
            after = {(row.kind, row.subject) for row in violations(replace(start, vms=tuple(off)))}
            assert after <= before


def _alone(machine: Vm) -> bool:
    return machine.restarts is Recovery.RECOVERABLE
