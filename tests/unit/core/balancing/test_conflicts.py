"""The conflict finder: agrees with trying everything, names as few rules as make it, says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    ConflictLevel,
    Host,
    HostState,
    Movability,
    Plant,
    Rule,
    RuleKind,
    Vm,
    balance,
    barred,
    conflicts,
    conflicts_of,
    violations,
)

GIB = 2**30
NEVER, NOW, STAYS, VAIN = (
    ConflictLevel.NEVER,
    ConflictLevel.NOW,
    ConflictLevel.STAYS,
    ConflictLevel.VAIN,
)


def plant(hosts: int | list[Host], vms: int | list[Vm], *rules: Rule) -> Plant:
    """Hosts h1… and machines a, b, … without a place, unless they are given."""
    rows = [host(f"h{n}") for n in range(1, hosts + 1)] if isinstance(hosts, int) else hosts
    machines = [vm(chr(97 + n)) for n in range(vms)] if isinstance(vms, int) else vms
    return Plant(tuple(rows), tuple(machines), rules=rules)


def host(name: str, **changes: object) -> Host:
    return replace(Host(name, cpus=64, memory_bytes=999 * GIB), **changes)  # type: ignore[arg-type]


def vm(name: str, **changes: object) -> Vm:
    return replace(Vm(name, vcpus=1, memory_bytes=GIB), **changes)  # type: ignore[arg-type]


def rule(name: str, kind: str, vms: str, hosts: str = "", **changes: object) -> Rule:
    made = Rule(name, RuleKind(kind), tuple(vms.split()), tuple(hosts.split()))
    return replace(made, **changes)  # type: ignore[arg-type]


def by_trying(where: Plant, rules: tuple[Rule, ...]) -> bool:
    """Is there any way at all? Every one is put before the independent checker."""
    names = [row.name for row in where.hosts]
    trial = replace(where, rules=tuple(replace(row, hard=True) for row in rules))
    return any(
        not violations(
            replace(
                trial,
                vms=tuple(
                    replace(row, host=spot) for row, spot in zip(trial.vms, spots, strict=True)
                ),
            )
        )
        for spots in product(names, repeat=len(trial.vms))
    )


@st.composite
def small(draw: st.DrawFn) -> Plant:
    names = [f"h{n}" for n in range(draw(st.integers(1, 3)))]
    rows = [host(name, domain=draw(st.sampled_from(["", "r", "s"]))) for name in names]
    machines = [vm(chr(97 + n)) for n in range(draw(st.integers(1, 4)))]
    known = [row.name for row in machines]
    rules = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(list(RuleKind)))
        members = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
        where = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
        rules.append(
            Rule(
                f"r{number}",
                kind,
                tuple(members),
                tuple(where) if kind in (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS) else (),
                minimum=draw(st.sampled_from([None, 1, 2]))
                if kind is RuleKind.SPREAD and len(members) > 1
                else None,
            )
        )
    return plant(rows, machines, *rules)


@settings(max_examples=60, deadline=None)
@given(small())
def test_it_agrees_with_trying_everything(where: Plant) -> None:
    found = conflicts(where)
    assert bool(found) is not by_trying(where, where.rules)
    named = {row.name: row for row in where.rules}
    for conflict in found:
        rules = [named[name] for name in conflict.rules]
        assert not by_trying(where, tuple(rules))
        for fewer in combinations(rules, len(rules) - 1):
            assert by_trying(where, fewer), "a rule could be left out"
        for row in rules:
            assert row.name in conflict.message


@settings(max_examples=30, deadline=None)
@given(small())
def test_of_one_rule_it_says_whether_it_is_its_doing(where: Plant) -> None:
    mine, *others = where.rules
    found = [row for row in conflicts_of(where, mine.name) if row.level is NEVER]
    for conflict in found:
        assert mine.name in conflict.rules
    if by_trying(where, tuple(others)):
        assert bool(found) is not by_trying(where, where.rules)


@settings(max_examples=20, deadline=None)
@given(small())
def test_a_round_lives_with_rules_that_cannot_hold(where: Plant) -> None:
    names = [row.name for row in where.hosts]
    placed = replace(
        where,
        vms=tuple(replace(row, host=names[n % len(names)]) for n, row in enumerate(where.vms)),
    )
    before = {(row.kind, row.subject) for row in violations(placed)}
    made = balance(placed)
    moved = {move.vm: move.target for move in made.moves}
    after = replace(
        placed, vms=tuple(replace(row, host=moved.get(row.name, row.host)) for row in placed.vms)
    )
    assert {(row.kind, row.subject) for row in violations(after)} <= before


def test_five_apart_over_four_hosts_names_all_of_them() -> None:
    (found,) = conflicts_of(plant(4, 5, rule("five", "apart", "a b c d e")), "five")
    assert (found.level, found.rules, found.vms) == (NEVER, ("five",), ("a", "b", "c", "d", "e"))
    assert found.message == (
        "five keeps a, b, c, d, e on different hosts; they can be on 4 hosts: h1, h2, h3, h4: "
        "this can never hold in this pool"
    )
    assert not conflicts_of(plant(5, 5, rule("five", "apart", "a b c d e")), "five")


def test_a_crowd_that_only_several_rules_make_is_found_with_those_of_it_only() -> None:
    where = plant(
        5,
        5,
        rule("five", "apart", "a b c d e"),
        rule("near-press", "on_hosts", "a b c", "h1 h2"),
        rule("far", "off_hosts", "e", "h5"),
    )
    (found,) = conflicts_of(where, "near-press")
    assert set(found.rules) == {"five", "near-press"}
    assert (found.vms, found.hosts) == (("a", "b", "c"), ("h1", "h2"))


def test_contradictions_with_several_rules_are_all_told() -> None:
    where = plant(
        3,
        3,
        rule("pair", "together", "a b"),
        rule("racks", "spread", "a b c"),
        rule("mine", "apart", "a b c"),
    )
    told = conflicts_of(where, "pair")
    assert sorted(sorted(row.rules) for row in told) == [["mine", "pair"], ["pair", "racks"]]


def test_what_the_others_cannot_do_anyway_is_not_laid_at_its_door() -> None:
    where = plant(
        2,
        3,
        rule("pair", "together", "a b"),
        rule("split", "apart", "a b"),
        rule("mine", "off_hosts", "b c", "h1"),
    )
    assert conflicts_of(where, "mine") == []
    assert [set(row.rules) for row in conflicts(where)] == [{"pair", "split"}]


def test_a_host_that_is_gone_or_away() -> None:
    gone = plant(2, 1, rule("mine", "on_hosts", "a"))
    (found,) = conflicts_of(gone, "mine")
    assert "names no host that is still in the pool for a" in found.message
    hosts = [host("h1"), host("h2"), host("h3", state=HostState.DOWN)]
    away = plant(hosts, 3, rule("mine", "apart", "a b c"))
    (now,) = conflicts_of(away, "mine")
    assert now.level is NOW
    assert "h3 is down" in now.message
    assert not conflicts(away)
    # Whoever is on a cordoned host may stay there.
    closed = [host("h1"), host("h2", state=HostState.CORDONED)]
    stays = [vm("a", host="h2"), vm("b")]
    assert not conflicts_of(plant(closed, stays, rule("mine", "apart", "a b")), "mine")


def test_machines_that_never_move_can_stand_in_the_way() -> None:
    pinned = [vm(name, host="h1", movability=Movability.NEVER) for name in "ab"]
    (found,) = conflicts_of(plant(2, pinned, rule("mine", "apart", "a b")), "mine")
    assert found.level is STAYS
    assert "a is on h1 and never moves by itself" in found.message


def test_a_soft_rule_in_vain_is_told_from_both_sides() -> None:
    soft = rule("wish", "near", "a b", hard=False)
    hard = rule("racks", "spread", "a b")
    for name in ("wish", "racks"):
        (found,) = conflicts_of(plant(2, 2, soft, hard), name)
        assert found.level is VAIN
        assert set(found.rules) == {"wish", "racks"}
    assert conflicts(plant(2, 2, soft, hard)) == []


def test_many_machines_and_hosts_are_counted_and_not_tried() -> None:
    names = " ".join(f"v{n}" for n in range(201))
    machines = [vm(name) for name in names.split()]
    crowd = plant(200, machines, rule("all", "apart", names))
    (found,) = conflicts_of(crowd, "all")
    assert found.level is NEVER
    assert "and 194 more" in found.message
    assert not conflicts_of(plant(201, machines, rule("all", "apart", names)), "all")


def test_what_is_too_hard_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millwright.core.balancing.feasible.MOST_WORK", 2)
    rules = [rule(f"r{x}{y}", "apart", f"{x} {y}") for x, y in combinations("abcd", 2)]
    (found,) = conflicts_of(plant(3, 4, *rules), "rab")
    assert found.level is ConflictLevel.UNKNOWN
    assert "too many possibilities" in found.message


def test_where_a_machine_would_break_a_rule() -> None:
    where = plant(
        [host("h1", domain="r"), host("h2", domain="r"), host("h3", domain="s"), host("h4")],
        [vm("a", host="h3"), vm("b", host="h1"), vm("c", host="h3")],
        rule("split", "apart", "a b"),
        rule("racks", "spread", "a b"),
        rule("not-there", "off_hosts", "a", "h4"),
        rule("joined", "together", "a c"),
    )
    assert barred(where, "a") == {"h1": "split", "h2": "racks", "h4": "not-there"}
    # One that is on its way is met at neither end.
    assert barred(where, "a", {"b": "h3"})["h3"] == "split"
    assert barred(where, "c") == {}
