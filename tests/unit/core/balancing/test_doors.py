"""Each door of the balancer on plants small enough to check by hand, its plans by the independent checker."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from millwright.core.balancing import (
    BalanceState,
    Code,
    Entry,
    Gpu,
    Host,
    HostState,
    Mode,
    Movability,
    Move,
    Node,
    Plant,
    Pool,
    Round,
    Rule,
    RuleKind,
    Settings,
    StoragePool,
    Vm,
    Why,
    admit,
    after,
    allotments,
    at,
    balance,
    capacity,
    drain,
    explain,
    failure_capacity,
    next_window,
    order,
    recover,
    replan,
    rolling_drain,
    verify,
    violations,
)
from millwright.core.lifecycle import ServiceClass

GIB = 2**30


def host(name: str, cpus: float = 8, memory: int = 32, **more: Any) -> Host:
    return Host(name, cpus, memory * GIB, **more)


def vm(name: str, where: str | None, demand: float = 0.5, memory: int = 2, **more: Any) -> Vm:
    kinds: dict[str, Any] = {"vcpus": 4, "demand_short": demand, "demand_long": demand} | more
    return Vm(name, memory_bytes=memory * GIB, host=where, **kinds)


def plant(hosts: Sequence[Host], vms: Sequence[Vm], **more: Any) -> Plant:
    settings = more.pop("settings", Settings(mode=Mode.AUTOMATIC, sustain_rounds=1))
    return Plant(tuple(hosts), tuple(vms), settings=settings, **more)


def moves_of(*ways: tuple[str, str, str]) -> list[Move]:
    return [Move(name, here, there, Why.ASKED, "", 0.0) for name, here, there in ways]


def hot_plant(**more: Any) -> Plant:
    """Four machines that want 3 cores each on a host of 8; two idle hosts beside it."""
    vms = [vm(f"v{i}", "h1", 3, demand_peak=3.0) for i in range(4)]
    return plant([host("h1"), host("h2"), host("h3")], vms, **more)


def rounds(start: Plant, count: int) -> tuple[Plant, list[Round]]:
    """Play rounds, each automatic move carried out at once."""
    state, now, found = BalanceState(), start, []
    for _ in range(count):
        made = balance(now, state)
        now, state = after(now, made.moves), made.state
        found.append(made)
    return now, found


# -- balance ---------------------------------------------------------------


def test_a_crowded_host_is_relieved_with_a_reason_and_then_left_alone() -> None:
    end, found = rounds(hot_plant(), 6)
    first = found[0].moves
    assert 1 <= len(first) <= 2
    assert {move.source for move in first} == {"h1"}
    assert all(move.why is Why.CONTENTION and move.effect.net > 0 for move in first)
    assert "h1 has been above 88% of its CPUs" in first[0].text
    assert found[0].after.contended < found[0].before.contended
    assert all(not made.moves for made in found[1:])
    assert not violations(end)
    assert not verify(hot_plant(), order(hot_plant(), first))


def test_an_imbalance_is_acted_upon_only_when_it_lasts() -> None:
    start = hot_plant(settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=3))
    _, found = rounds(start, 3)
    assert [bool(made.moves) for made in found] == [False, False, True]
    assert found[0].refused[-1].codes == (Code.NOT_SUSTAINED,)


def test_nothing_is_decided_while_moves_run() -> None:
    start = hot_plant(settings=Settings(mode=Mode.AUTOMATIC, sustain_rounds=1, moves_running=2))
    made = balance(start)
    assert not made.moves
    assert made.refused[0].codes == (Code.MOVES_RUNNING,)
    assert made.state.hot == {"h1": 1}


def test_level_1_mends_and_does_not_balance() -> None:
    start = hot_plant(settings=Settings(mode=Mode.AUTOMATIC, level=1, sustain_rounds=1))
    assert not balance(start).moves
    apart = (Rule("r", RuleKind.APART, ("v0", "v1")),)
    made = balance(replace(start, rules=apart))
    assert [move.why for move in made.moves] == [Why.RULE]
    assert made.violations[0].subject == "r"
    assert not violations(after(replace(start, rules=apart), made.moves))


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.RECOMMEND, Mode.AUTOMATIC])
def test_a_move_carries_the_mode_of_its_machine(mode: Mode) -> None:
    made = balance(hot_plant(settings=Settings(mode=mode, sustain_rounds=1)))
    assert made.moves
    assert {move.mode for move in made.moves} == {mode}
    assert bool(made.state.moved) == (mode is Mode.AUTOMATIC)


def test_a_pool_set_off_is_not_moved_and_one_by_approval_is_only_recommended() -> None:
    off = hot_plant()
    vms = tuple(replace(entry, pool="p") for entry in off.vms)
    assert not balance(replace(off, vms=vms, pools=(Pool("p", mode=Mode.OFF),))).moves
    asked = tuple(replace(entry, movability=Movability.APPROVAL) for entry in off.vms)
    made = balance(replace(off, vms=asked))
    assert {(move.mode, move.approval) for move in made.moves} == {(Mode.RECOMMEND, True)}


def test_an_overcommitted_host_is_relieved_of_what_suffices() -> None:
    vms = [
        vm(f"v{i}", "h1", 0.1, memory, memory_active_bytes=GIB)
        for i, memory in enumerate((16, 12, 8, 4))
    ]
    # What is left has promised all that the host has; making that less has patience.
    patient = Settings(mode=Mode.AUTOMATIC, sustain_rounds=2)
    start = plant([host("h1"), host("h2")], vms, settings=patient)
    made = balance(start)
    assert [(move.vm, move.why) for move in made.moves] == [("v2", Why.OVERCOMMIT)]
    assert not violations(after(start, made.moves))


def test_a_realtime_machine_is_never_moved_for_balance() -> None:
    own = [
        vm(f"r{i}", "h1", 2, service_class=ServiceClass.REALTIME, cpu_reservation=2)
        for i in range(4)
    ]
    start = plant([host("h1"), host("h2")], [*own, vm("s", "h1", 2)])
    made = balance(start)
    assert {move.vm for move in made.moves} <= {"s"}


def test_the_calendar_opens_a_window_and_changes_shares() -> None:
    night = Entry("night", vms=("v",), start="22:00", end="06:00", window=True, shares=9000)
    held = vm("v", "h1", movability=Movability.WINDOW)
    start = plant([host("h1", state=HostState.DRAINING), host("h2")], [held], calendar=(night,))
    noon, late = datetime(2026, 5, 4, 12), datetime(2026, 5, 4, 23)
    assert balance(start, now=noon).refused[0].codes == (Code.WINDOW_CLOSED,)
    assert [move.vm for move in balance(start, now=late).moves] == ["v"]
    assert at(start, late).vms[0].shares == 9000
    assert next_window(start, held, noon) == datetime(2026, 5, 4, 22)


def test_the_same_plant_gives_the_same_round() -> None:
    assert balance(hot_plant()) == balance(hot_plant())


def test_a_round_does_not_use_up_the_room_for_a_host_to_die() -> None:
    vms = [
        vm("a", "h2", 2, 8),
        vm("b", "h0", 3, 8),
        vm("c", "h1", 1, 6),
        vm("d", "h1", 3, 6),
        vm("e", "h0", 4, 4),
        vm("f", "h0", 3, 10),
    ]
    free = plant([host("h0", memory=22), host("h1"), host("h2", memory=22)], vms)
    assert failure_capacity(free, 1).ok
    assert not failure_capacity(after(free, balance(free).moves), 1).ok
    kept = balance(replace(free, settings=replace(free.settings, spare_hosts=1)))
    assert failure_capacity(after(free, kept.moves), 1).ok
    assert Code.SPARE in {entry.codes[0] for entry in kept.refused}


def test_a_round_says_who_would_be_left_if_a_host_died() -> None:
    full = [vm(f"v{i}", f"h{i % 2 + 1}", memory=10, memory_active_bytes=GIB) for i in range(6)]
    settings = Settings(mode=Mode.AUTOMATIC, spare_hosts=1)
    made = balance(plant([host("h1"), host("h2")], full, settings=settings))
    assert {entry.codes[0] for entry in made.refused} == {Code.SPARE}
    assert len(made.refused) == 6


# -- drain -----------------------------------------------------------------


def test_a_drain_spreads_over_the_others_and_can_be_carried_out() -> None:
    vms = [vm(f"v{i}", "h1", 1) for i in range(6)]
    start = plant([host(f"h{i}") for i in range(1, 5)], vms)
    made = drain(start, ["h1"])
    assert made.possible
    assert sorted(move.vm for move in made.moves) == [f"v{i}" for i in range(6)]
    assert len({move.target for move in made.moves}) == 3
    assert made.seconds > 0
    schedule = order(start, made.moves)
    assert not schedule.dropped
    assert not verify(start, schedule)


def test_a_drain_says_what_cannot_leave() -> None:
    start = plant(
        [host("h1"), host("h2", memory=4)],
        [
            vm("big", "h1", memory=8),
            vm("pinned", "h1", movability=Movability.NEVER),
            vm("asked", "h1", movability=Movability.APPROVAL),
        ],
    )
    made = drain(start, ["h1"])
    assert not made.possible
    assert {entry.vm: entry.codes[0] for entry in made.blockers} == {
        "big": Code.NO_HOST,
        "pinned": Code.NEVER_MOVES,
    }
    assert [(move.vm, move.approval) for move in made.moves] == [("asked", True)]


def test_a_drain_makes_room_by_moving_another() -> None:
    start = plant(
        [host("h1", memory=8), host("h2", memory=8), host("h3", memory=8)],
        [vm("large", "h1", memory=6), vm("a", "h2", memory=4), vm("b", "h3", memory=4)],
    )
    made = drain(start, ["h1"])
    assert made.possible
    assert made.moves[-1].vm == "large"
    schedule = order(start, made.moves)
    assert not schedule.dropped
    assert not verify(start, schedule)


def test_a_rolling_drain_takes_each_host_in_turn() -> None:
    start = plant([host("h1"), host("h2"), host("h3")], [vm("a", "h1"), vm("b", "h2")])
    made = rolling_drain(start, 600)
    assert sorted(entry.hosts for entry in made.drains) == [("h1",), ("h2",), ("h3",)]
    assert all(entry.possible for entry in made.drains)
    assert not made.blocked
    # Each host has 2 GiB to send, over half of a link of 125 MB/s, and is worked on for 600 s.
    each = 2 * GIB / (125e6 / 2)
    assert [entry.seconds for entry in made.drains] == pytest.approx([each] * 3)
    assert made.seconds == pytest.approx(3 * (600 + each))


# -- failure and recovery --------------------------------------------------


def test_failure_capacity_counts_what_would_be_left() -> None:
    full = [vm(f"v{i}", f"h{i % 3 + 1}", memory=10) for i in range(9)]
    start = plant([host("h1"), host("h2"), host("h3")], full)
    verdict = failure_capacity(start, 1)
    assert not verdict.ok
    assert verdict.complete
    assert verdict.checked == 3
    assert len(verdict.broken[0].left) == 3
    assert failure_capacity(replace(start, vms=start.vms[:6]), 1).ok
    assert not failure_capacity(replace(start, vms=start.vms[:6]), 2).ok
    with pytest.raises(ValueError, match="at least 1"):
        failure_capacity(start, 0)


def test_failure_capacity_knows_percentages_do_not_suffice() -> None:
    """Half of the memory is free and yet the large machine fits nowhere else."""
    start = plant(
        [host("h1"), host("h2"), host("h3")],
        [vm("large", "h1", memory=20), vm("a", "h2", memory=14), vm("b", "h3", memory=14)],
    )
    assert [entry.hosts for entry in failure_capacity(start, 1).broken] == [("h1",)]


def test_recovery_goes_by_dependency_and_priority() -> None:
    start = plant(
        [host("h1"), host("h2"), host("h3")],
        [
            vm("app", "h1", after=("db",), priority=9),
            vm("db", "h1", priority=1),
            vm("low", "h1", priority=0),
            vm("plc", "h1", service_class=ServiceClass.REALTIME),
            vm("bare", "h1", protected=False),
        ],
    )
    made = recover(start, ["h1"])
    assert [(entry.vm, entry.wave) for entry in made.restarts] == [
        ("db", 0),
        ("low", 0),
        ("app", 1),
    ]
    assert {entry.vm: entry.codes[0] for entry in made.waiting} == {
        "plc": Code.AUTONOMOUS,
        "bare": Code.UNPROTECTED,
    }
    assert "plc" in {entry.vm for entry in recover(start, ["h1"], gone=["h1"]).restarts}


def test_recovery_rebuilds_what_lay_on_the_lost_disks() -> None:
    hosts = [host(name, storage={"local": 100 * GIB, "san": 0}) for name in ("h1", "h2")]
    start = plant(
        hosts,
        [vm("a", "h1", disks={"local": GIB}), vm("b", "h1", disks={"san": GIB})],
        storage=(StoragePool("san", 1000 * GIB),),
    )
    assert {entry.vm: entry.rebuild for entry in recover(start, ["h1"]).restarts} == {
        "a": True,
        "b": False,
    }


# -- admit, capacity, explain ----------------------------------------------


def test_admission_names_every_refusing_host_and_the_parts_of_the_others() -> None:
    start = plant(
        [
            host("h1"),
            host("h2", memory=4),
            host("h3", state=HostState.CORDONED),
            host("h4", labels=frozenset({"gpu"})),
        ],
        [vm("there", "h1", 6)],
    )
    made = admit(start, [vm("new", None, memory=8)])
    assert made.ok
    placed = made.placed[0]
    assert placed.host == "h4"
    answers = {entry.host: entry for entry in placed.answers}
    assert answers["h2"].codes == (Code.MEMORY,)
    assert answers["h2"].texts == ("it asks for 8.0 GiB of memory, 4.0 GiB are free on h2",)
    assert answers["h3"].codes == (Code.HOST_STATE,)
    assert answers["h1"].accepted
    assert answers["h4"].score <= answers["h1"].score
    nowhere = admit(start, [vm("huge", None, memory=64)])
    assert not nowhere.ok
    assert nowhere.placed[0].host is None


def test_admission_keeps_hosts_free_to_die() -> None:
    start = plant([host("h1"), host("h2")], [vm("a", "h1", memory=20)])
    assert admit(start, [vm("new", None, memory=12)]).ok
    held = admit(start, [vm("new", None, memory=16)], k=1)
    assert held.spare is not None
    assert not held.spare.ok
    assert not held.ok


def test_a_pinned_machine_gets_a_node_that_holds_it() -> None:
    numa = host("h1", cores=8, nodes=(Node(4), Node(4)))
    taken = vm("a", "h1", cores=3, node=0)
    start = plant([numa], [taken])
    made = admit(start, [vm("b", None, cores=4)])
    assert (made.placed[0].host, made.placed[0].node) == ("h1", 1)
    refused = admit(start, [vm("b", None, cores=4), vm("c", None, cores=2)])
    assert {entry.vm: entry.host for entry in refused.placed} == {"b": "h1", "c": None}


def test_capacity_counts_copies_and_days() -> None:
    start = plant([host("h1"), host("h2")], [vm("a", "h1", memory=8)])
    made = capacity(start, vm("t", None, memory=8), growth_per_day=0.5)
    assert made.fits == 7
    assert made.per_host == {"h1": 3, "h2": 4}
    assert made.limited_by == {"memory": 2}
    assert made.days_left == 14
    assert made.with_one_more == 11
    spare = capacity(start, vm("t", None, memory=8), k=1)
    assert spare.fits == 3


def test_an_explanation_says_what_holds_it_and_what_others_answer() -> None:
    start = plant([host("h1"), host("h2", memory=1)], [vm("a", "h1", movability=Movability.NEVER)])
    made = explain(start, "a")
    assert made.host == "h1"
    assert made.holds[0].codes == (Code.NEVER_MOVES,)
    assert {entry.host: entry.codes for entry in made.answers}["h2"] == (Code.MEMORY,)
    with pytest.raises(KeyError):
        explain(start, "nobody")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (HostState.DOWN, "a is on h1, which is down: it is recovered, not moved"),
        (
            HostState.SUSPECT,
            "a is on h1, which does not answer at the moment: nothing moves from there",
        ),
    ],
)
def test_a_machine_of_a_host_that_does_not_answer_is_not_said_to_stay_for_its_price(
    state: HostState, words: str
) -> None:
    start = plant([host("h1", state=state), host("h2")], [vm("a", "h1", 3)])
    made = explain(start, "a")
    assert (made.host, made.text) == ("h1", words)
    assert {entry.host: entry.codes for entry in made.answers} == {
        "h1": (Code.HOST_STATE,),
        "h2": (),
    }


# -- order -----------------------------------------------------------------


def exchange() -> Plant:
    return plant(
        [host("h1", memory=8), host("h2", memory=8), host("h3", memory=8)],
        [vm("a", "h1", memory=6), vm("b", "h2", memory=6)],
    )


def test_an_exchange_goes_over_a_third_host() -> None:
    start = exchange()
    schedule = order(start, moves_of(("a", "h1", "h2"), ("b", "h2", "h1")))
    assert not schedule.dropped
    assert sum(leg.detour for leg in schedule.legs) == 1
    assert {entry.name: entry.host for entry in after(start, schedule.legs).vms} == {
        "a": "h2",
        "b": "h1",
    }
    assert not verify(start, schedule)
    assert schedule.makespan_s >= schedule.bound_s > 0


def test_an_exchange_without_a_third_host_is_left_with_its_reason() -> None:
    start = replace(exchange(), hosts=exchange().hosts[:2])
    schedule = order(start, moves_of(("a", "h1", "h2"), ("b", "h2", "h1")))
    assert not schedule.legs
    assert {entry.codes for entry in schedule.dropped} == {(Code.BLOCKED,)}


def test_a_schedule_is_made_anew_when_a_move_fails() -> None:
    start = plant(
        [host("h1", memory=8), host("h2", memory=8), host("h3", memory=8)],
        [vm("a", "h1", memory=6), vm("b", "h2", memory=6), vm("c", "h1", memory=1)],
    )
    schedule = order(start, moves_of(("b", "h2", "h3"), ("a", "h1", "h2"), ("c", "h1", "h3")))
    assert not schedule.dropped
    rest = replan(start, schedule, failed=["b"])
    assert [leg.vm for leg in rest.legs] == ["c"]
    assert {entry.vm for entry in rest.dropped} == {"a", "b"}
    again = replan(start, schedule, failed=["b"], retry=True)
    assert {leg.vm for leg in again.legs} == {"a", "b", "c"}
    assert not verify(start, again)


def test_the_checker_finds_a_schedule_that_meets_on_one_host() -> None:
    start = replace(exchange(), rules=(Rule("r", RuleKind.APART, ("a", "b")),))
    wide = replace(start, hosts=tuple(replace(h, memory_bytes=32 * GIB) for h in start.hosts))
    good = order(wide, moves_of(("b", "h2", "h3"), ("a", "h1", "h2")))
    assert not verify(wide, good)
    bad = replace(
        good, legs=tuple(replace(leg, start_s=0.0, batch=i) for i, leg in enumerate(good.legs))
    )
    assert "apart" in {entry.kind for entry in verify(wide, bad)}


# -- what hosts give before anything moves ---------------------------------


def test_a_crowded_host_shares_as_the_plant_wants() -> None:
    vms = [
        vm("much", "h1", 8, vcpus=8, shares=3000, cpu_limit=6.0),
        vm("less", "h1", 8, vcpus=8, shares=1000),
    ]
    given = allotments(plant([host("h1")], vms))
    assert given["much"].cpu_weight == 3 * given["less"].cpu_weight
    assert (given["much"].cpu_quota, given["less"].cpu_quota) == (6.0, None)


def test_a_crowded_host_shares_as_the_plant_wants_though_another_one_idles() -> None:
    """Eight CPUs of sixteen are wanted twice on h1: by shares, within the pools' reservations and limits."""
    vms = [
        vm("much", "h1", 8, vcpus=8, shares=3000),
        vm("less", "h1", 8, vcpus=8, shares=1000),
        vm("calm", "h2", 1),
    ]
    given = allotments(plant([host("h1"), host("h2")], vms))
    assert given["much"].cpu_weight == 3 * given["less"].cpu_weight
    # The same by pools: shares of the pools, whatever their machines say.
    pools = (Pool("day", shares=3000), Pool("night", shares=1000))
    pooled = [
        replace(entry, shares=1000, pool=name)
        for entry, name in zip(vms, ("day", "night", ""), strict=True)
    ]
    given = allotments(plant([host("h1"), host("h2")], pooled, pools=pools))
    assert given["much"].cpu_weight == 3 * given["less"].cpu_weight
    # A limit of four cores for the pool, all of which are wanted here.
    pools = (Pool("day", shares=3000, limit=2), Pool("night", shares=1000))
    given = allotments(plant([host("h1"), host("h2")], pooled, pools=pools))
    assert given["less"].cpu_weight == 3 * given["much"].cpu_weight
    # What the other pool has reserved counts by the part that lies here: half of six cores.
    reserved = [*pooled, vm("there", "h2", 8, vcpus=8, pool="night")]
    pools = (Pool("day", shares=9000), Pool("night", shares=1, reservation=6))
    given = allotments(plant([host("h1"), host("h2")], reserved, pools=pools))
    assert 0.5 < given["less"].cpu_weight / given["much"].cpu_weight < 0.7


def test_balloons_shrink_where_memory_lacks_and_not_below_their_minimum() -> None:
    vms = [
        vm("fixed", "h1", memory=16),
        vm("a", "h1", memory=12, memory_minimum_bytes=6 * GIB),
        vm("b", "h1", memory=12, memory_minimum_bytes=4 * GIB),
    ]
    given = allotments(plant([host("h1")], vms))
    assert given["fixed"].balloon_bytes == 16 * GIB
    assert given["a"].balloon_bytes >= 6 * GIB
    assert given["b"].balloon_bytes >= 4 * GIB
    assert sum(entry.balloon_bytes for entry in given.values()) <= 32 * GIB


@pytest.mark.parametrize("hosts", [[], [host("h1")]])
@pytest.mark.parametrize("vms", [[], [vm("a", None)]])
def test_an_empty_pool_gives_empty_answers(hosts: list[Host], vms: list[Vm]) -> None:
    start = plant(hosts, vms)
    names = [entry.name for entry in hosts]
    assert not balance(start).moves
    assert drain(start, names).possible
    assert failure_capacity(start, 1).ok
    assert not recover(start, names).restarts
    assert admit(start, [vm("new", None)], k=1).placed[0].host == (names[0] if names else None)
    assert capacity(start, vm("t", None, memory=8), 1.0).fits == 4 * len(hosts)
    assert not order(start, []).legs
    assert not violations(start)


def test_where_a_host_may_die_everybody_finds_the_place_that_was_counted() -> None:
    """Two small shares of cards come first and would take a card each; the third machine wants a whole one."""
    cards = (Gpu("a16", {"a16-2q": 4}),)
    hosts = (host("h0"), host("h1", gpus=cards), host("h2", gpus=cards))
    wants = ({"a16-2q": 1}, {"a16-2q": 1}, {"a16": 1})
    vms = [vm(f"v{n}", "h0", 0.1, gpus=each, priority=2 - n) for n, each in enumerate(wants)]
    start = plant(hosts, vms)
    assert failure_capacity(start, 1).ok
    found = recover(start, ["h0"], gone=["h0"])
    assert not found.left
    assert len(found.restarts) == 3
    places = {entry.vm: entry.target for entry in found.restarts}
    assert places["v0"] == places["v1"] != places["v2"]
    # Where not all can be had, those of higher priority come first as ever.
    one = recover(replace(start, hosts=hosts[:2]), ["h0"], gone=["h0"])
    assert [refusal.vm for refusal in one.left] == ["v2"]
