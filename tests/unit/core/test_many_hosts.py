"""Plans of large pools: counts by reason, a few verdicts one by one, and each verdict made only when it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from millwright.core.lifecycle import HostAdministration, HostPower
from millwright.core.placement import (
    IN_BRIEF,
    HostSnapshot,
    HostVerdict,
    PoolRoom,
    ReasonCode,
    Snapshot,
    Wake,
    or_woken,
    place,
)

from tests.unit.core.test_placement import GIB, host, vplc

CLOSED = HostAdministration.CORDONED


def pool(taking: int) -> Snapshot:
    """Twenty-five hosts that take nothing, most for one reason and some for two, beside those that do."""
    hosts = [host(f"open-{n:02}") for n in range(taking)]
    for n in range(14):
        full = {"memory_promised_bytes": 8 * GIB} if n % 2 else {}
        hosts.append(host(f"closed-{n:02}", administration=CLOSED, **full))
    hosts += [host(f"full-{n:02}", memory_promised_bytes=8 * GIB) for n in range(10)]
    hosts.append(host("asleep", power=HostPower.ASLEEP, wake=Wake(60.0)))
    return Snapshot(tuple(hosts))


def test_every_code_is_said_of_many_hosts_too() -> None:
    assert set(IN_BRIEF) == set(ReasonCode)


@pytest.mark.parametrize(("most", "told"), [(None, 30), (8, 8), (50, 30)])
def test_what_is_kept_is_the_first_verdicts_and_counts_of_all(most: int | None, told: int) -> None:
    report: Any = place(pool(5), vplc()).as_dict(most)
    assert len(report["hosts"]) == told and report["asked"] == 30
    assert [row["host"] for row in report["hosts"][:6]] == [
        *(f"open-{n:02}" for n in range(5)),
        "asleep",
    ]
    assert [(row["code"], row["count"]) for row in report["counts"]] == [
        (None, 5),
        ("host_cordoned", 14),
        ("no_memory", 10),
        ("host_asleep", 1),
    ]
    # Every host stands under the first reason against it, whatever is told one by one.
    by_code = {row["code"]: row["hosts"] for row in report["counts"]}
    assert by_code["no_memory"] == [f"full-{n:02}" for n in range(10)]
    assert by_code["host_cordoned"] == [f"closed-{n:02}" for n in range(14)]
    assert by_code[None] == [f"open-{n:02}" for n in range(5)]


def test_many_refusals_are_told_by_their_number_and_few_host_by_host() -> None:
    plan = place(pool(5), vplc())
    assert plan.explain() == (
        "14 × cordoned (closed-00: the host is cordoned: it takes nothing new); "
        "10 × too little memory free (full-00: memory: 704 MiB wanted, 0 MiB free of 8192 MiB); "
        "1 × asleep, falling asleep or waking (asleep: the host is asleep and can be woken in about 60 s)"
    )
    briefs = dict.fromkeys(ReasonCode, "gesperrt")
    assert plan.explain(str.upper, briefs).startswith("14 × gesperrt (closed-00: THE HOST IS")
    few = place(Snapshot(pool(5).hosts[:7]), vplc())
    assert few.explain(str.upper) == (
        "closed-00: THE HOST IS CORDONED: IT TAKES NOTHING NEW; "
        "closed-01: THE HOST IS CORDONED: IT TAKES NOTHING NEW, MEMORY: 704 MIB WANTED, "
        "0 MIB FREE OF 8192 MIB"
    )


def test_a_pool_s_limit_is_told_of_many_hosts_with_its_numbers_behind_whatever_it_stands() -> None:
    room = PoolRoom("press", 2 * GIB, GIB, 8 * GIB)
    limit = (
        "memory of resource pool 'press': 2048 MiB wanted, 1024 MiB free of its limit of 8192 MiB"
    )
    some = place(pool(5), vplc(pool_room=room)).explain()
    assert f"5 × the memory limit of its resource pool is reached (open-00: {limit})" in some
    assert some.count(limit) == 1
    none = place(pool(0), vplc(pool_room=room)).explain()
    assert none.startswith("14 × cordoned (") and none.endswith(f"; {limit}")
    assert (
        "resource pool"
        not in place(pool(0), vplc(pool_room=replace(room, free_bytes=2 * GIB))).explain()
    )


def test_a_host_that_is_woken_leads_and_the_others_follow_as_they_were() -> None:
    before = place(pool(0), vplc())
    plan = or_woken(before)
    assert plan.chosen is not None and plan.chosen.host == "asleep"
    assert len(plan.verdicts) == 25 and plan.verdicts[0] == plan.chosen
    assert [row.host for row in plan.verdicts[1:]] == [
        row.host for row in before.verdicts if row.host != "asleep"
    ]
    report: Any = plan.as_dict(1)
    assert [row["host"] for row in report["hosts"]] == ["asleep"]
    assert Counter({row["code"]: row["count"] for row in report["counts"]}) == Counter(
        {None: 1, "host_cordoned": 14, "no_memory": 10}
    )


def test_verdicts_are_made_for_those_hosts_that_are_told_of_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    init = HostVerdict.__init__

    def noted(self: HostVerdict, host: str, *given: Any, **named: Any) -> None:
        made.append(host)
        init(self, host, *given, **named)

    monkeypatch.setattr(HostVerdict, "__init__", noted)
    place(pool(5), vplc()).as_dict(3)
    assert made == ["open-00", "open-01", "open-02"]
    del made[:]
    # The sleeping host is judged as it is, awake, and told of as the one to wake.
    plan = or_woken(place(pool(0), vplc()))
    plan.as_dict(2)
    assert set(made) == {"asleep", "closed-00"}


def test_the_same_hosts_in_another_order_are_told_of_alike() -> None:
    hosts: tuple[HostSnapshot, ...] = pool(3).hosts
    assert place(Snapshot(hosts), vplc()).as_dict(9) == place(
        Snapshot(tuple(reversed(hosts))), vplc()
    ).as_dict(9)
