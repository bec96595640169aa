"""A day of load: contention falls, no machine comes back within two hours, few moves beside another rule."""

import pytest

from tests.bench.balancing.__main__ import none, own, proxlb, replay


@pytest.mark.parametrize("seed", [0, 7])
def test_a_day_is_balanced_without_ping_pong(seed: int) -> None:
    day = 288
    idle, ours, other = (replay(seed, day, rule) for rule in (none, own, proxlb))
    assert 0 < ours["moves"] <= 0.6 * other["moves"]
    assert ours["lack"] <= 0.5 * idle["lack"]
    assert ours["back"] == 0
    assert replay(seed, day, own) == ours
