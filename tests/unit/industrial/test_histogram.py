"""Buckets of start lateness: every microsecond has one, and the C twin has as many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from industrial.runtime.build import NATIVE
from industrial.runtime.histogram import FINE, bucket_of, edges, percentile


def test_every_bucket_begins_where_the_one_before_ends() -> None:
    for number in range(FINE - 1):
        low, high = edges(number)
        assert edges(number + 1)[0] == high
        assert bucket_of(low) == bucket_of(high - 1) == number
        assert (high - low) * 8 <= max(8, low)
    assert bucket_of(10**9) == FINE - 1


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentiles_are_exact_to_an_eighth(share: float, expected: int) -> None:
    buckets = [0] * FINE
    for us in range(100):
        buckets[bucket_of(us)] += 1
    assert percentile(buckets, share) == pytest.approx(expected, rel=1 / 8)
    assert percentile([0] * FINE, share) == 0


def test_the_engine_has_as_many() -> None:
    header = (Path(NATIVE) / "vplc_shm.h").read_text()
    found = re.search(r"#define VPLC_FINE (\d+)u", header)
    assert found is not None
    assert int(found[1]) == FINE
