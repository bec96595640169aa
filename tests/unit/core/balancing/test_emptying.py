"""Balancing and the emptying of hosts for sleep, round by round over days in virtual time: neither undoes the other."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from millwright.core.balancing import (
    BalanceState,
    Consolidation,
    Demand,
    Emptying,
    Forecast,
    Host,
    HostState,
    Hour,
    Mode,
    Movability,
    Move,
    Plant,
    Rule,
    RuleKind,
    Said,
    Settings,
    Sleeper,
    SleepSettings,
    Vm,
    Why,
    balance,
    consolidate,
    drain,
    forecast,
    parts_of,
    say,
)

GIB = 2**30
ROUND, HOUR = timedelta(minutes=5), timedelta(hours=1)
MONDAY = datetime(2026, 5, 4)
#: The day shift, and what a machine wants beside it.
DAY = range(6, 18)


class Days:
    """A plant of which machines want little by night; each round empties at most two machines of a host further."""

    def __init__(self, seed: int, level: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - play, not secrets
        self.hosts = [f"h{n}" for n in range(4)]
        self.appetite = {f"v{n}": rng.uniform(0.5, 1.7) for n in range(14)}
        self.noise = rng
        vms = tuple(
            Vm(name, 2, 4 * GIB, rng.choice(self.hosts), movability=Movability.FREE)
            for name in self.appetite
        )
        self.plant = Plant(
            tuple(Host(name, 8.0, 64 * GIB) for name in self.hosts),
            vms,
            settings=Settings(mode=Mode.AUTOMATIC, level=level, spare_hosts=1),
        )
        self.state = BalanceState()
        self.emptying: Emptying | None = None
        self.since: dict[str, datetime] = {}
        self.until: dict[str, datetime] = {}
        #: (when, machine, from, to, for sleep)
        self.moves: list[tuple[datetime, str, str, str, bool]] = []
        self.slept = 0
        #: hosts that each machine has left for sleep and that have not slept and woken since
        self.left: dict[str, set[str]] = defaultdict(set)
        self._past: tuple[datetime, list[Hour]] | None = None

    def wants(self, at: datetime, name: str) -> float:
        return self.appetite[name] * (1.0 if at.hour in DAY else 0.15)

    def past(self, now: datetime) -> list[Hour]:
        first = now.replace(minute=0)
        if self._past is None or self._past[0] != first:
            self._past = (first, self._hours(first))
        return self._past[1]

    def _hours(self, first: datetime) -> list[Hour]:
        rows = [first - number * HOUR for number in range(1, 14 * 24 + 1)]
        memory = float(len(self.appetite) * 4 * GIB)
        return [
            Hour(at, Demand(sum(self.wants(at, n) for n in self.appetite), memory)) for at in rows
        ]

    def load(self, now: datetime) -> None:
        """What is measured: as in every week, give or take a tenth."""

        def vm(row: Vm) -> Vm:
            wanted = self.wants(now, row.name) * self.noise.uniform(0.9, 1.1)
            return replace(row, demand_short=wanted, demand_long=wanted, demand_peak=wanted)

        self.plant = replace(self.plant, vms=tuple(vm(row) for row in self.plant.vms))

    def go(self, now: datetime, moves: list[Move], *, sleep: bool) -> None:
        to = {move.vm: move.target for move in moves}
        for move in moves:
            # Whatever the round was for.
            assert move.target not in self.left[move.vm], (now, move)
            if sleep:
                self.left[move.vm].add(move.source)
        self.moves += [(now, move.vm, move.source, move.target, sleep) for move in moves]
        vms = tuple(replace(row, host=to.get(row.name, row.host)) for row in self.plant.vms)
        self.plant = replace(self.plant, vms=vms)

    def set(self, name: str, state: HostState) -> None:
        hosts = tuple(replace(h, state=state) if h.name == name else h for h in self.plant.hosts)
        self.plant = replace(self.plant, hosts=hosts)

    def decided(self, now: datetime) -> Consolidation:
        measured = Demand(
            sum(vm.demand_long for vm in self.plant.vms),
            float(sum(vm.memory_bytes for vm in self.plant.vms)),
        )
        expected = forecast(self.past(now), now, measured)
        sleepers = [
            Sleeper(name, since=self.since.get(name), until=self.until.get(name))
            for name in self.hosts
        ]
        return consolidate(
            self.plant,
            sleepers,
            expected,
            now,
            SleepSettings(),
            state=self.state,
            emptying=self.emptying,
        )

    def round(self, now: datetime) -> None:
        self.load(now)
        self._emptied(now)
        made = balance(self.plant, self.state, now)
        self.state = made.state
        self.go(now, [move for move in made.moves if move.mode is Mode.AUTOMATIC], sleep=False)
        told = self.decided(now)
        for order in told.wake:
            self.set(order.host, HostState.UP)
            self.since[order.host] = now
            for hosts in self.left.values():
                hosts.discard(order.host)
        if told.call_off is not None:
            self.set(told.call_off.host, HostState.UP)
            self.emptying = None
        if told.sleep is not None and told.sleep.until is not None:
            self._sleep(told.sleep.host, now, told.sleep.until)
        if told.empty is not None:
            self.set(told.empty.host, HostState.DRAINING)
            self.emptying = Emptying(told.empty.host)
        if told.going is not None and told.going.until is not None:
            self.until[told.going.host] = told.going.until

    def _emptied(self, now: datetime) -> None:
        """As rounds do it: two at once, remembered for balancing; the empty host sleeps and is open again."""
        if self.emptying is None:
            return
        name = self.emptying.host
        moves = list(drain(self.plant, [name]).moves)[:2]
        if moves:
            self.state = self.state.record(tuple(moves))
            self.go(now, moves, sleep=True)
        elif not any(vm.host == name for vm in self.plant.vms):
            self.emptying = None
            self._sleep(name, now, self.until[name])

    def _sleep(self, name: str, now: datetime, until: datetime) -> None:
        self.set(name, HostState.ASLEEP)
        self.since[name], self.until[name] = now, until
        self.slept += 1


@pytest.mark.parametrize(("seed", "level", "days"), [(1, 3, 1), (2, 4, 1), (3, 5, 2)])
def test_over_days_nobody_is_sent_to_and_fro(seed: int, level: int, days: int) -> None:
    """That nobody comes back to a host that it left for sleep, before that has slept and woken, is looked at each move."""
    played, now = Days(seed, level), MONDAY + 16 * HOUR
    end = now + timedelta(days=days)
    while now < end:
        played.round(now)
        now += ROUND
    # Hosts do sleep, and are emptied for it: it is no rest by doing nothing.
    assert played.slept > days
    assert any(sleep for *_, sleep in played.moves)
    # A machine moves a few times a day at most, for both together.
    for (_day, name), count in Counter(
        ((at - 12 * HOUR).date(), name) for at, name, *_ in played.moves
    ).items():
        assert count <= 4, (name, count)


# -- what is asked of a host that is being emptied -----------------------------------

NOW = datetime(2026, 5, 4, 19, 20)
QUIET = Forecast(NOW.replace(minute=0), (Demand(0.5, GIB),) * 72)
TWO = Plant(
    (Host("a", 8.0, 64 * GIB), Host("b", 8.0, 64 * GIB, state=HostState.DRAINING)),
    (Vm("v", 2, GIB, "b", movability=Movability.FREE), Vm("w", 2, GIB, "a")),
    settings=Settings(mode=Mode.AUTOMATIC),
)


def asked(
    plant: Plant = TWO,
    expected: Forecast = QUIET,
    settings: SleepSettings | None = None,
    *,
    approved: bool = False,
    wanted: dict[str, Said] | None = None,
) -> str:
    """The code for which it is called off; "" if it goes on."""
    told = settings or SleepSettings(keep_awake=1)
    made = consolidate(
        plant,
        [Sleeper("a"), Sleeper("b")],
        expected,
        NOW,
        told,
        emptying=Emptying("b", approved),
        wanted=wanted,
    )
    assert made.sleep is made.empty is None
    assert (made.going is None) is (made.call_off is not None)
    return "" if made.call_off is None else str(parts_of(made.call_off.why)[0]["code"])


def _with(**fields: object) -> Plant:
    return replace(TWO, vms=(replace(TWO.vms[0], **fields), TWO.vms[1]))


def test_it_goes_on_while_moves_run_and_half_of_the_hours_are_left() -> None:
    busy = replace(TWO, settings=replace(TWO.settings, moves_running=2))
    assert asked(busy) == ""
    for hours, code in ((3, ""), (1, "consolidate.needed")):
        soon = Forecast(QUIET.begins, (*((Demand(0.5, GIB),) * hours), *((Demand(9.0, GIB),) * 60)))
        assert asked(expected=soon) == code


def test_why_it_is_called_off() -> None:
    down = (Host("c", 8.0, 64 * GIB, state=HostState.DOWN), *TWO.hosts)
    lost = replace(TWO, hosts=down, vms=(*TWO.vms, Vm("x", 1, GIB, "c")))
    assert asked(lost) == "consolidate.lost"
    assert asked(wanted={"b": say("consolidate.wanted", name="order")}) == "consolidate.wanted"
    assert asked(settings=SleepSettings(keep_awake=2)) == "consolidate.kept"
    late = SleepSettings(keep_awake=1, begin="22:00", end="04:00")
    assert asked(settings=late) == "consolidate.hours"
    assert asked(_with(movability=Movability.APPROVAL)) == "consolidate.control"
    rule = Rule("two", RuleKind.SPREAD, ("v", "w"), hard=True)
    assert asked(replace(TWO, rules=(rule,))) == "consolidate.rule"
    spare = replace(TWO, settings=replace(TWO.settings, spare_hosts=1))
    assert asked(spare) == "consolidate.spare"


@pytest.mark.parametrize(
    ("mode", "by_itself", "approved"),
    [
        (Mode.AUTOMATIC, "", ""),
        (Mode.RECOMMEND, "consolidate.mode", ""),
        (Mode.SHADOW, "consolidate.mode", "consolidate.mode"),
        (Mode.OFF, "consolidate.mode", "consolidate.mode"),
    ],
)
def test_a_machines_own_mode_holds_unless_a_person_said_so(
    mode: Mode, by_itself: str, approved: str
) -> None:
    assert asked(_with(mode=mode)) == by_itself
    assert asked(_with(mode=mode), approved=True) == approved


def test_what_is_called_off_counts_as_awake_at_once() -> None:
    """Nobody is woken for what the host bears that takes machines again."""
    hosts = (*TWO.hosts, Host("c", 8.0, 64 * GIB, state=HostState.ASLEEP))
    wanted = Forecast(QUIET.begins, (Demand(9.0, GIB),) * 72)
    plant = replace(TWO, hosts=hosts)
    sleepers = [Sleeper(name) for name in "abc"]
    made = consolidate(
        plant, sleepers, wanted, NOW, SleepSettings(keep_awake=1), emptying=Emptying("b")
    )
    assert made.call_off is not None
    assert not made.wake


def awake(**fields: object) -> Plant:
    """Both hosts take machines; the cheaper one to empty is `b`."""
    plant = _with(**fields)
    return replace(plant, hosts=(TWO.hosts[0], replace(TWO.hosts[1], state=HostState.UP)))


@pytest.mark.parametrize(
    ("mine", "theirs", "order"),
    [
        (Mode.AUTOMATIC, Mode.AUTOMATIC, Mode.AUTOMATIC),
        (Mode.AUTOMATIC, Mode.RECOMMEND, Mode.RECOMMEND),
        (Mode.RECOMMEND, Mode.AUTOMATIC, Mode.RECOMMEND),
        (Mode.SHADOW, Mode.SHADOW, Mode.SHADOW),
        (Mode.AUTOMATIC, Mode.SHADOW, None),
        (Mode.SHADOW, Mode.OFF, None),
    ],
)
def test_the_milder_of_both_modes_holds(mine: Mode, theirs: Mode, order: Mode | None) -> None:
    made = consolidate(
        awake(mode=theirs), [Sleeper("b")], QUIET, NOW, SleepSettings(keep_awake=1), mode=mine
    )
    assert (made.empty.mode if made.empty is not None else None) is order
    milder = {parts_of(row.why)[0]["code"] for row in made.kept} == {"consolidate.mode"}
    assert milder is (order is None or order is not mine)


def test_what_is_done_by_itself_comes_before_what_is_asked_for() -> None:
    plant = replace(
        awake(mode=Mode.RECOMMEND), vms=(*_with(mode=Mode.RECOMMEND).vms, Vm("x", 2, GIB, "a"))
    )
    sleepers, told = [Sleeper("a"), Sleeper("b")], SleepSettings(keep_awake=1)
    made = consolidate(plant, sleepers, QUIET, NOW, told)
    assert made.empty is not None
    # The other one has more on it.
    assert (made.empty.host, made.empty.mode) == ("a", Mode.AUTOMATIC)


def test_nobody_moves_who_moved_lately_or_goes_back() -> None:
    move = Move("v", "a", "b", Why.EVEN, "", 0.0)
    told = SleepSettings(keep_awake=1)

    def code(state: BalanceState) -> str:
        made = consolidate(awake(), [Sleeper("b")], QUIET, NOW, told, state=state)
        return "" if made.empty is not None else str(parts_of(made.kept[0].why)[0]["code"])

    moved = replace(BalanceState(), number=1).record((move,))
    rest = TWO.settings.cooldown_rounds
    assert code(BalanceState()) == ""
    assert code(moved) == "consolidate.rests"
    assert code(replace(moved, number=1 + rest)) == "consolidate.returns"
    assert code(replace(moved, number=2 + 4 * rest)) == ""
