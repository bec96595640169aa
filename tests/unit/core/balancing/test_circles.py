"""Exchanges of which neither move finds room alone: decided as a whole, with an order that keeps every rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Code,
    Host,
    Mode,
    Movability,
    Move,
    Plant,
    Rule,
    RuleKind,
    Settings,
    Vm,
    Why,
    after,
    balance,
    order,
    verify,
    violations,
)

GIB = 2**30


def vm(name: str, where: str, cpus: float, memory: int, *, stays: bool = False) -> Vm:
    return Vm(
        name,
        8,
        memory * GIB,
        where,
        demand_short=cpus,
        demand_long=cpus,
        demand_peak=cpus,
        memory_active_bytes=GIB,
        movability=Movability.NEVER if stays else None,
    )


def crossed(**changes: object) -> Plant:
    """h1 lacks CPUs, h2 memory, h3 has memory for one and no CPUs."""
    hosts = tuple(Host(f"h{n}", 8, 32 * GIB) for n in (1, 2, 3))
    vms = (
        vm("busy", "h1", 4.0, 8),
        vm("stays1", "h1", 3.6, 24, stays=True),
        vm("idle", "h2", 0.2, 6),
        vm("stays2", "h2", 1.0, 24, stays=True),
        vm("stays3", "h3", 6.7, 24, stays=True),
    )
    told = Settings(mode=Mode.AUTOMATIC, sustain_rounds=1)
    return replace(Plant(hosts, vms, settings=told), **changes)  # type: ignore[arg-type]  # fields by name


def test_a_move_that_lacks_only_room_is_made_by_exchange_over_a_third_host() -> None:
    start = crossed()
    made = balance(start)
    (circle,) = made.circles
    assert [(m.vm, m.target, m.circle, m.why) for m in made.moves] == [
        ("busy", "h2", 1, Why.CONTENTION),
        ("idle", "h1", 1, Why.CONTENTION),
    ]
    assert [(leg.vm, leg.target, leg.detour) for leg in circle.legs] == [
        ("idle", "h3", True),
        ("busy", "h2", False),
        ("idle", "h1", False),
    ]
    assert "idle by way of h3" in circle.text
    assert made.after.contended == 0
    assert not verify(start, order(start, made.moves, eager=False))
    end = after(start, made.moves)
    assert not violations(end)
    assert not balance(end, made.state).moves


def test_where_the_other_goes_first_no_third_host_is_needed() -> None:
    start = crossed()
    roomy = tuple(replace(host, memory_bytes=39 * GIB) for host in start.hosts[:1])
    made = balance(replace(start, hosts=(*roomy, *start.hosts[1:])))
    (circle,) = made.circles
    assert [(leg.vm, leg.target, leg.detour) for leg in circle.legs] == [
        ("idle", "h1", False),
        ("busy", "h2", False),
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"max_moves": 2}, "a round may not make three migrations"),
        ({"horizon_s": 300.0}, "it would not last"),
        ({"level": 1}, "this level only mends"),
        ({"moves_running": 1}, "moves run"),
    ],
)
def test_it_is_not_made_where_it_may_not_or_is_not_worth_it(
    changes: dict[str, object], why: str
) -> None:
    start = crossed()
    made = balance(replace(start, settings=replace(start.settings, **changes)))  # type: ignore[arg-type]
    assert (made.moves, made.circles) == ((), ()), why


def uneven(level: int = 5, **changes: object) -> Plant:
    """h1 is crowded; neither of its machines is worth moving, unless one of h2 comes for it. There is room for all."""
    hosts = tuple(Host(f"h{n}", 3, 64 * GIB) for n in (1, 2))
    vms = (
        vm("busy", "h1", 1.7, 8),
        vm("stays1", "h1", 1.3, 24, stays=True),
        vm("idle", "h2", 0.6, 6),
        vm("stays2", "h2", 0.7, 24, stays=True),
    )
    told = Settings(mode=Mode.AUTOMATIC, level=level, sustain_rounds=1)
    return replace(Plant(hosts, vms, settings=told), **changes)  # type: ignore[arg-type]


def test_machines_that_change_places_are_one_plan_though_each_would_find_room() -> None:
    start = uneven()
    made = balance(start)
    (circle,) = made.circles
    assert {(m.vm, m.target, m.circle) for m in made.moves} == {
        ("busy", "h2", 1),
        ("idle", "h1", 1),
    }
    assert {(leg.vm, leg.target, leg.detour) for leg in circle.legs} == {
        ("busy", "h2", False),
        ("idle", "h1", False),
    }
    assert "busy goes to h2 and idle comes from there" in circle.text
    # One without the other would make it worse, or no better.
    for move in made.moves:
        half = after(start, [move])
        assert balance(half).before.contended > made.after.contended
    assert made.after.contended < made.before.contended
    assert not balance(after(start, made.moves), made.state).moves


def test_machines_that_stay_together_are_not_parted_by_an_exchange() -> None:
    start = uneven()
    pair = replace(start.vms[0], name="pair", demand_short=0.0, demand_long=0.0, demand_peak=0.0)
    rule = Rule("pair", RuleKind.TOGETHER, ("busy", "pair"))
    joined = replace(start, vms=(*start.vms, pair), rules=(rule,))
    assert (balance(joined).moves, balance(joined).circles) == ((), ())


@pytest.mark.parametrize("name", ["busy", "idle"])
def test_each_of_both_must_be_free_to_move(name: str) -> None:
    start = crossed()
    fixed = tuple(
        replace(row, movability=Movability.NEVER) if row.name == name else row for row in start.vms
    )
    assert not balance(replace(start, vms=fixed)).circles


def test_a_rule_over_the_third_host_holds_on_the_way_too() -> None:
    rule = Rule("off", RuleKind.OFF_HOSTS, ("idle", "busy"), ("h3",))
    made = balance(crossed(rules=(rule,)))
    assert (made.moves, made.circles) == ((), ())
    assert made.refused[-1].text.startswith("h1 above 88% of its CPUs, and no move")
    # Of only one of them: the other one stands there.
    made = balance(crossed(rules=(replace(rule, vms=("idle",)),)))
    assert [leg.vm for leg in made.circles[0].legs if leg.detour] == ["busy"]


def test_room_for_a_host_to_die_is_kept_by_taking_the_whole_back() -> None:
    start = crossed()
    sizes = {"stays2": 23, "stays3": 23}
    rows = [
        replace(
            row,
            memory_bytes=sizes.get(row.name, row.memory_bytes // GIB) * GIB,
            protected=not row.name.startswith("stays"),
        )
        for row in start.vms
    ]
    # With the busy machine beside this one on h2 nobody could take both if h2 died.
    rows.append(vm("beside", "h2", 0.1, 3, stays=True))
    hosts = tuple(
        replace(host, memory_bytes=34 * GIB) if host.name == "h2" else host for host in start.hosts
    )
    tight = replace(start, hosts=hosts, vms=tuple(rows))
    assert len(balance(tight).circles) == 1
    made = balance(replace(tight, settings=replace(tight.settings, spare_hosts=1)))
    assert (made.moves, made.circles) == ((), ())
    assert [entry.codes for entry in made.refused] == [(Code.SPARE,)]
    assert "would leave no room for 1 hosts to die" in made.refused[0].text
    assert made.after.imbalance == pytest.approx(made.before.imbalance)


def test_a_way_that_failed_is_avoided() -> None:
    start = crossed()
    fourth = (*start.hosts, Host("h4", 8, 32 * GIB, state=start.hosts[0].state))
    wide = replace(start, hosts=fourth)
    moves = [
        Move("busy", "h1", "h2", Why.ASKED, "", 0.0),
        Move("idle", "h2", "h1", Why.ASKED, "", 0.0),
    ]
    first = order(wide, moves, eager=False)
    aside = {(leg.vm, leg.target) for leg in first.legs if leg.detour}
    assert len(aside) == 1
    second = order(wide, moves, avoid=aside, eager=False)
    other = {(leg.vm, leg.target) for leg in second.legs if leg.detour}
    assert other
    assert not other & aside
    assert not verify(wide, second)
    every = [(name, host) for name in ("busy", "idle") for host in ("h3", "h4")]
    assert len(order(wide, moves, avoid=every, eager=False).dropped) >= 1
    with pytest.raises(KeyError):
        order(wide, moves, avoid=[("busy", "nowhere")])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_circle_can_be_carried_out_without_a_broken_moment(data: st.DataObject) -> None:
    hosts = tuple(Host(f"h{n}", 8, 32 * GIB) for n in range(4))
    vms = []
    for n, load in enumerate((7.0, 1.0, 6.8, data.draw(st.sampled_from([0.5, 4.0, 7.0])))):
        left, sizes = (
            32,
            data.draw(st.lists(st.sampled_from([4, 6, 8, 10]), min_size=1, max_size=3)),
        )
        for k, size in enumerate(sizes):
            left -= size
            vms.append(vm(f"v{n}{k}", f"h{n}", data.draw(st.sampled_from([0.1, 1.0, 3.0])), size))
        room = data.draw(st.sampled_from([0, 2, 6, 10]))
        vms.append(vm(f"f{n}", f"h{n}", load, max(left - room, 1), stays=True))
    told = Settings(
        mode=Mode.AUTOMATIC, sustain_rounds=1, level=data.draw(st.integers(2, 5)), max_moves=6
    )
    start = Plant(hosts, tuple(vms), settings=told)
    made = balance(start)
    for circle in made.circles:
        asked = [move for move in made.moves if move.circle == circle.number]
        assert {leg.vm for leg in circle.legs} == {move.vm for move in asked}
        assert len(asked) >= 2
    if made.circles and all(move.circle for move in made.moves):
        # Where nothing else was decided they start from the plant as it is.
        schedule = order(start, made.moves, eager=False)
        assert not schedule.dropped
        assert not verify(start, schedule)
        assert (
            made.after.contended < made.before.contended
            or made.after.imbalance < made.before.imbalance
            or (made.after.memory_imbalance < made.before.memory_imbalance)
        )
