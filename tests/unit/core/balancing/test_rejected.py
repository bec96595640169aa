"""To what a person said no is not decided, and what else can be done is, as if there were no such way."""

from dataclasses import replace

from millwright.core.balancing import (
    Code,
    Host,
    Mode,
    Plant,
    Rule,
    RuleKind,
    Settings,
    Vm,
    balance,
    violations,
)
from millwright.core.lifecycle import Movability

from tests.unit.core.balancing.test_circles import crossed

GIB = 2**30


def plant(mode: Mode = Mode.AUTOMATIC) -> Plant:
    """Three machines that want 3 cores each on a host of 8; two idle ones beside it. One move a round."""
    vms = tuple(
        Vm(f"v{n}", 4, GIB, "h1", demand_short=3.0, demand_long=3.0, demand_peak=3.0)
        for n in range(3)
    )
    hosts = tuple(Host(f"h{n}", 8, 32 * GIB) for n in (1, 2, 3))
    return Plant(hosts, vms, settings=Settings(mode=mode, sustain_rounds=1, max_moves=1))


def test_another_way_is_taken_and_the_no_is_told() -> None:
    start = plant()
    first = balance(start).moves[0]
    seen = {(first.vm, first.target)}
    # Each no closes one way; nothing is asked twice and every other way is found.
    for _ in range(5):
        made = balance(start, rejected=seen)
        (move,) = made.moves
        assert (move.vm, move.target) not in seen
        told = [refusal for refusal in made.refused if Code.REJECTED in refusal.codes]
        assert {refusal.vm for refusal in told} == {vm for vm, _host in seen}
        seen.add((move.vm, move.target))
    assert len(seen) == 6
    assert not balance(start, rejected=seen).moves


def test_a_rule_is_mended_by_another_way() -> None:
    rules = (
        Rule("one", RuleKind.APART, ("v0", "v1")),
        Rule("two", RuleKind.OFF_HOSTS, ("v2",), ("h1",)),
    )
    start = replace(plant(), rules=rules, settings=replace(plant().settings, max_moves=2))
    free = {(move.vm, move.target) for move in balance(start).moves}
    assert len(free) == 2
    made = balance(start, rejected=free)
    after = {(move.vm, move.target) for move in made.moves}
    assert after and not after & free
    assert {entry.subject for entry in violations(start)} == {"one", "two"}


def test_a_circle_with_such_a_move_is_not_made() -> None:
    start = crossed()
    moves = {(move.vm, move.target) for move in balance(start).moves}
    assert moves == {("busy", "h2"), ("idle", "h1")}
    for move in moves:
        assert not balance(start, rejected=[move]).moves


def test_a_host_that_has_promised_too_much_is_relieved_by_another_way() -> None:
    """Three machines of 4 GiB on a host of 9; each no closes one way, and none is asked twice."""
    vms = tuple(Vm(f"v{n}", 1, 4 * GIB, "h1") for n in range(3))
    hosts = tuple(Host(f"h{n}", 8, 9 * GIB) for n in (1, 2, 3))
    start = Plant(hosts, vms, settings=Settings(mode=Mode.RECOMMEND, sustain_rounds=1, max_moves=1))
    seen: set[tuple[str, str]] = set()
    for _ in range(6):
        (move,) = balance(start, rejected=seen).moves
        assert (move.vm, move.target) not in seen
        seen.add((move.vm, move.target))
    assert not balance(start, rejected=seen).moves


def test_what_waits_for_the_next_round_is_not_said_to_be_without_a_way() -> None:
    """Two hosts have promised too much, and a round may make one move."""
    vms = tuple(Vm(f"v{n}{host}", 1, 4 * GIB, host) for n in range(3) for host in ("h1", "h2"))
    hosts = tuple(Host(f"h{n}", 8, 9 * GIB) for n in (1, 2, 3, 4))
    settings = Settings(mode=Mode.AUTOMATIC, sustain_rounds=1, max_moves=1)
    made = balance(Plant(hosts, vms, settings=settings))
    assert len(made.moves) == 1
    assert [(entry.vm, entry.codes) for entry in made.refused] == [("", (Code.LIMIT,))]
    assert "the next one goes on" in made.refused[0].text
    both = balance(Plant(hosts, vms, settings=replace(settings, max_moves=2)))
    assert (len(both.moves), both.refused) == (2, ())
    # What may not leave is not said to wait for a round.
    fixed = tuple(replace(vm, movability=Movability.NEVER) if vm.host == "h2" else vm for vm in vms)
    assert balance(Plant(hosts, fixed, settings=settings)).refused == ()


def test_names_that_are_not_there_any_more_bar_nothing() -> None:
    start = plant()
    assert balance(start, rejected=[("gone", "h2"), ("v0", "gone")]) == balance(start)
