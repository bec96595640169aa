"""What a host cannot give is not asked of it, and is said."""

from __future__ import annotations

from itertools import combinations

import pytest
from millwright.hypervisor import Accel, ProbeKind, ServiceClass, Shortfall, tune

ALL = frozenset(ProbeKind)
SETS = [frozenset(c) for n in range(len(ALL) + 1) for c in combinations(sorted(ALL), n)]


def test_a_full_host_gives_everything() -> None:
    plan = tune(ServiceClass.REALTIME, ALL, hugepage_bytes=2**21)
    assert plan.shortfalls == ()
    assert plan.accel is Accel.KVM
    assert plan.tuning.fifo_priority == 1
    assert plan.tuning.locked_memory
    assert plan.tuning.hugepage_bytes == 2**21
    assert not plan.tuning.balloon


def test_an_empty_host_gives_nothing_and_says_so() -> None:
    plan = tune(ServiceClass.REALTIME, frozenset())
    assert plan.accel is Accel.EMULATION
    assert set(plan.shortfalls) == {
        Shortfall.EMULATED,
        Shortfall.NO_FIFO,
        Shortfall.NO_MEMORY_LOCK,
        Shortfall.NO_HUGEPAGES,
        Shortfall.NO_ISOLATION,
    }
    assert plan.tuning.fifo_priority is None
    assert not plan.tuning.locked_memory


@pytest.mark.parametrize("abilities", SETS, ids=lambda s: "+".join(sorted(s)) or "none")
def test_each_missing_ability_is_one_shortfall(abilities: frozenset[ProbeKind]) -> None:
    plan = tune(ServiceClass.REALTIME, abilities, hugepage_bytes=2**21)
    relevant = ALL - {ProbeKind.NWFILTER, ProbeKind.CGROUP_CPU}
    assert len(plan.shortfalls) == len(relevant - abilities)
    assert (plan.tuning.fifo_priority is not None) == (ProbeKind.FIFO in abilities)
    assert plan.tuning.locked_memory == (ProbeKind.MEMORY_LOCK in abilities)
    assert (plan.tuning.hugepage_bytes is not None) == (ProbeKind.HUGEPAGES in abilities)


def test_shares_only_where_the_cgroup_gives_them() -> None:
    with_shares = tune(ServiceClass.GUARANTEED, ALL)
    without = tune(ServiceClass.GUARANTEED, ALL - {ProbeKind.CGROUP_CPU})
    shared = tune(ServiceClass.SHARED, ALL)
    assert with_shares.tuning.cpu_shares is not None
    assert shared.tuning.cpu_shares is not None
    assert with_shares.tuning.cpu_shares > shared.tuning.cpu_shares
    assert without.tuning.cpu_shares is None
    assert without.shortfalls == (Shortfall.NO_CPU_SHARES,)
    assert shared.shortfalls == ()


def test_others_keep_balloon_and_merging() -> None:
    tuning = tune(ServiceClass.SHARED, ALL, hugepage_bytes=2**21).tuning
    assert tuning.balloon
    assert not tuning.no_shared_pages
    assert tuning.hugepage_bytes is None
