"""Samples that nobody looks at any more go in slices, the oldest first, once an hour."""

import datetime as dt

import pytest
from django.utils import timezone
from millwright.environments.models import DemandSample, Machine
from millwright.orchestrator.rounds import _Forgetting
from millwright.orchestrator.watcher import prune_samples

from tests.support.plant import build_plant, serving

NOW = timezone.now()


@pytest.fixture
def machine(db: None) -> Machine:
    return serving(build_plant())


def fill(machine: Machine, count: int) -> None:
    for index in range(count):
        at = NOW - dt.timedelta(days=20) + dt.timedelta(days=index)
        DemandSample.objects.create(machine=machine, at=at, cpu_ratio=1.0)


@pytest.mark.parametrize(("most", "left"), [(1000, 9), (4, 17)])
def test_the_oldest_go_in_slices_and_no_more_than_is_allowed(
    machine: Machine, most: int, left: int
) -> None:
    fill(machine, 21)
    removed = prune_samples(NOW, most=most, slice_rows=4)
    assert removed == 21 - left
    kept = sorted(DemandSample.objects.values_list("at", flat=True))
    assert len(kept) == left
    assert kept[-1] == NOW
    assert prune_samples(NOW, slice_rows=4) == left - 9


def test_it_is_done_at_once_and_then_hourly_whenever_a_pass_begins(machine: Machine) -> None:
    forget = _Forgetting()
    fill(machine, 21)
    assert forget(NOW) == 12
    fill(machine, 21)
    assert forget(NOW + dt.timedelta(minutes=59)) == 0
    # An hour on, two more of the earlier days are over their time.
    assert forget(NOW + dt.timedelta(minutes=61)) == 14
