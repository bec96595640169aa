"""No is said to what cannot be: room that nobody gives, machines that do not run, hosts that do not answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from millwright.core.balancing import (
    Code,
    Gpu,
    HostState,
    Mode,
    Settings,
    admit,
    balance,
    capacity,
    drain,
    failure_capacity,
    recover,
    rolling_drain,
)

from tests.unit.core.balancing.test_doors import host, plant, vm


def test_with_as_many_to_lose_as_live_nobody_restarts() -> None:
    """Fewer live hosts than are asked for are all of them: never room that nobody gives."""
    hosts = [host("h1"), host("h2", state=HostState.DOWN), host("h3", state=HostState.DOWN)]
    one_lives = plant(hosts, [vm("a", "h1"), vm("bare", "h1", protected=False)])
    for k in (1, 2, 3):
        told = failure_capacity(one_lives, k)
        assert (told.ok, told.complete, told.checked) == (False, True, 1)
        assert [(entry.hosts, [refusal.vm for refusal in entry.left]) for entry in told.broken] == [
            (("h1",), ["a"])
        ]
    assert not admit(one_lives, [vm("new", None)], k=2).ok
    bare = plant(hosts, [vm("bare", "h1", protected=False)])
    assert failure_capacity(bare, 3).ok
    none_lives = plant(hosts[1:], [vm("a", "h2")])
    (gone,) = failure_capacity(none_lives, 1).broken
    assert (gone.hosts, gone.left[0].text) == ((), "a finds no host: none is alive")
    racks = [host(f"h{n}", domain="left" if n < 3 else "right") for n in range(1, 5)]
    spread = plant(racks, [vm("a", "h1"), vm("b", "h4")])
    assert failure_capacity(spread, 1, domains=True).ok
    for k in (2, 3):
        assert not failure_capacity(spread, k, domains=True).ok


def test_no_more_fit_where_nobody_would_be_left() -> None:
    three = plant([host("h1"), host("h2"), host("h3")], [])
    wanted = vm("t", None, memory=8)
    assert [capacity(three, wanted, k=k).fits > 0 for k in range(5)] == [True] * 3 + [False] * 2
    card = vm("t", None, memory=8, gpus={"a16": 1})
    cards = [replace(each, gpus=(Gpu("a16"), Gpu("a16"))) for each in three.hosts]
    assert [capacity(plant(cards, []), card, k=k).fits > 0 for k in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    # Who is not restarted anyway asks for no room.
    assert capacity(three, replace(wanted, protected=False), k=4).fits == 12


def test_rounds_tell_who_is_lost_where_as_many_may_die_as_live() -> None:
    settings = Settings(mode=Mode.AUTOMATIC, spare_hosts=2)
    start = plant(
        [host("h1"), host("h2", state=HostState.DOWN)], [vm("a", "h1")], settings=settings
    )
    told = [refusal for refusal in balance(start).refused if Code.SPARE in refusal.codes]
    assert [refusal.text for refusal in told] == ["a would find no host if h1 died"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("h2", "app starts after db, whose host h2 is down"),
        (None, "app starts after db, which has no host"),
    ],
)
def test_what_starts_after_a_machine_that_does_not_run_waits_for_it(
    where: str | None, words: str
) -> None:
    hosts = [host("h1"), host("h2", state=HostState.DOWN), host("h3")]
    start = plant(
        hosts,
        [
            vm("app", "h1", after=("db",)),
            vm("page", "h1", after=("app",)),
            vm("free", "h1", after=("lives", "of another plant")),
            vm("db", where),
            vm("lives", "h3"),
        ],
    )
    made = recover(start, ["h1"])
    assert [(entry.vm, entry.wave) for entry in made.restarts] == [("free", 0)]
    assert {entry.vm: (entry.codes, entry.text) for entry in made.left} == {
        "app": ((Code.DEPENDENCY,), words),
        "page": ((Code.DEPENDENCY,), "page starts after app, which cannot be started"),
    }
    # Lost with it they start together, in waves.
    both = recover(replace(start, vms=(*start.vms[:3], vm("db", "h2"), start.vms[4])), ["h1", "h2"])
    assert {entry.vm: entry.wave for entry in both.restarts} == {
        "db": 0,
        "free": 0,
        "app": 1,
        "page": 2,
    }


def test_a_host_that_does_not_answer_cannot_be_emptied() -> None:
    hosts = [
        host("h1", state=HostState.SUSPECT),
        host("h2", state=HostState.DOWN),
        host("h3", state=HostState.SUSPECT),
        host("h4"),
    ]
    start = plant(hosts, [vm("a", "h1"), vm("b", "h2")])
    silent = drain(start, ["h1"])
    assert not silent.possible
    assert not silent.moves
    assert [(entry.vm, entry.codes, entry.text) for entry in silent.blockers] == [
        ("a", (Code.SOURCE_SUSPECT,), "h1 does not answer at the moment: nothing moves from there")
    ]
    assert [entry.vm for entry in drain(start, ["h3"]).blockers] == [""]
    turns = rolling_drain(start, 600)
    assert [entry.hosts[0] for entry in turns.drains] == ["h1", "h2", "h3", "h4"]
    assert turns.blocked == ("h1", "h2", "h3")
