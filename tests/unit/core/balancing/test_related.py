"""Few trials prove what all sets of hosts would show: machines that rules speak of find a place whoever dies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Host,
    HostState,
    Plant,
    Rule,
    RuleKind,
    Vm,
    failure_capacity,
    related_survive,
)

from .plants import plants

GIB = 2**30


def bound(on: int, of: int = 5) -> Plant:
    """A machine that may be only on the first so many hosts; whatever is on the others are amounts."""
    hosts = tuple(Host(f"h{n}", 8, 32 * GIB, domain=f"d{n // 3}") for n in range(of))
    rule = Rule("on", RuleKind.ON_HOSTS, ("a",), tuple(f"h{n}" for n in range(on)))
    return Plant(hosts, (Vm("a", 2, 8 * GIB, "h0"),), rules=(rule,))


@pytest.mark.parametrize(("on", "k", "ok"), [(1, 1, False), (2, 1, True), (2, 2, False), (3, 2, True), (3, 3, False), (4, 3, True)])  # fmt: skip
def test_hosts_to_which_it_would_go_are_tried_as_lost_too(on: int, k: int, ok: bool) -> None:
    start = bound(on)
    assert related_survive(start, k, ["h0"]) is ok
    assert failure_capacity(start, k).ok is ok


def test_a_full_host_is_no_place_and_a_host_that_is_down_is_not_lost_again() -> None:
    start = bound(2)
    full = replace(start.hosts[1], memory_aside_bytes=30 * GIB)
    assert not related_survive(replace(start, hosts=(start.hosts[0], full)), 1, ["h0"])
    down = replace(start.hosts[0], state=HostState.DOWN)
    assert related_survive(replace(start, hosts=(down, full)), 1, ["h0"])


def test_neighbours_stay_neighbours() -> None:
    hosts = tuple(Host(f"h{n}", 8, 32 * GIB, domain="abb"[n]) for n in range(3))
    near = Rule("near", RuleKind.NEAR, ("a", "b"))
    start = Plant(hosts, (Vm("a", 2, GIB, "h1"), Vm("b", 2, GIB, "h2")), rules=(near,))
    assert related_survive(start, 1, ["h1", "h2"])
    # If both die there is another rack, and they go there together.
    assert related_survive(start, 2, ["h1", "h2"])
    narrow = replace(start, hosts=(*hosts[:2], replace(hosts[2], memory_aside_bytes=31 * GIB)))
    assert not related_survive(narrow, 1, ["h1", "h2"])
    assert not failure_capacity(narrow, 1).ok


def test_more_sets_than_are_tried_are_not_known() -> None:
    start = bound(4)
    assert not related_survive(start, 3, ["h0"], tries=2)
    assert not related_survive(start, 3, [host.name for host in start.hosts], tries=10)


def test_what_cannot_be_asked_is_named() -> None:
    with pytest.raises(ValueError, match="k: 0: must be at least 1"):
        related_survive(bound(2), 0, ["h0"])
    with pytest.raises(KeyError):
        related_survive(bound(2), 1, ["nowhere"])


@settings(max_examples=150, deadline=None)
@given(plants(), st.integers(1, 3))
def test_what_it_says_holds_for_every_set_of_hosts(start: Plant, k: int) -> None:
    """Machines stand on few hosts, and the others have only room: all sets are tried beside it."""
    extra = tuple(
        replace(host, name=f"x{number}-{host.name}", state=HostState.UP)
        for number in range(2)
        for host in start.hosts
    )
    wide = replace(start, hosts=(*extra, *start.hosts))
    on = {vm.host for vm in wide.vms if vm.host is not None}
    if k < len(wide.hosts) and related_survive(wide, k, sorted(map(str, on))):
        verdict = failure_capacity(wide, k)
        assert verdict.complete
        assert verdict.ok, verdict.broken[0]
