"""A snapshot read with its errors named; rules that cannot hold; CPU divided by reservation, limit, shares."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Claim,
    SnapshotError,
    entitlements,
    read_plant,
    water_fill,
    write_plant,
)

GIB = 2**30


def snapshot(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "hosts": [
            {"name": name, "cpus": 4, "memory_bytes": 16 * GIB, "domain": rack}
            for name, rack in (("h1", "a"), ("h2", "a"), ("h3", "b"))
        ],
        "vms": [
            {"name": f"v{index}", "vcpus": 4, "memory_bytes": GIB, "host": "h1", "demand_short": 4}
            for index in range(4)
        ],
    }
    return base | changes


def rule(
    kind: str, vms: list[str], hosts: list[str] | None = None, name: str = "r"
) -> dict[str, Any]:
    return {"name": name, "kind": kind, "vms": vms, "hosts": hosts or []}


def test_a_plant_written_is_read_back_the_same() -> None:
    plant = read_plant(snapshot(rules=[rule("apart", ["v0", "v1"])], settings={"level": 5}))
    assert read_plant(json.loads(json.dumps(write_plant(plant)))) == plant


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"hosts": [{"name": "h", "cpus": -1, "memory_bytes": 1}]},
            r"hosts\[0\].cpus: -1: must be",
        ),
        ({"vms": [{"name": "v", "vcpus": 1}]}, r"vms\[0\].memory_bytes: None: is required"),
        ({"settings": {"level": 6}}, "settings.level: 6: must be 1"),
        ({"settings": {"mode": "wild"}}, "settings.mode: 'wild': one of off"),
        ({"colour": 1}, "colour: 1: unknown"),
        ({"pools": [{"name": "p", "parent": "q"}, {"name": "q", "parent": "p"}]}, "circle"),
        ({"rules": [rule("apart", ["v0", "nobody"])]}, "rule r: 'nobody': no such vm"),
        (
            {"rules": [rule("apart", ["v0", "v1", "v2", "v3"])]},
            "r keeps v0, v1, v2, v3 on different hosts; they can be on 3 hosts: h1, h2, h3",
        ),
        (
            {"rules": [rule("spread", ["v0", "v1", "v2"])]},
            "in different failure domains; they can be in 2 failure domains: a, b",
        ),
        (
            {"rules": [rule("on_hosts", ["v0"], ["h1"], "on"), rule("off_hosts", ["v0"], ["h1"])]},
            "no host is left",
        ),
        (
            {"rules": [rule("together", ["v0", "v1"], name="t"), rule("apart", ["v0", "v1"])]},
            "t keeps v0, v1 on one host; r keeps v0, v1 on different hosts: this can never",
        ),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SnapshotError, match=words):
        read_plant(snapshot(**changes))


def test_a_reservation_is_met_first_and_shares_divide_the_rest() -> None:
    given_out = water_fill(
        8, [Claim("a", 3, 8, 1000), Claim("b", 0, 8, 3000), Claim("c", 0, 0.5, 1000)]
    )
    assert given_out == pytest.approx({"a": 4.125, "b": 3.375, "c": 0.5})


def test_a_pool_limits_its_machines_and_leaves_the_rest_to_others() -> None:
    data = snapshot(pools=[{"name": "cae", "limit": 2}])
    for index in (0, 1):
        data["vms"][index]["pool"] = "cae"
    assert entitlements(read_plant(data)) == pytest.approx({"v0": 1, "v1": 1, "v2": 4, "v3": 4})


@settings(max_examples=150, deadline=None)
@given(
    st.floats(0, 100),
    st.lists(
        st.tuples(st.floats(0, 10), st.floats(0, 10), st.integers(1, 4000)), min_size=1, max_size=12
    ),
)
def test_nothing_is_given_twice_or_left_while_someone_hungers(
    capacity: float, rows: list[tuple[float, float, int]]
) -> None:
    claims = [
        Claim(str(index), min(low, high), max(low, high), shares)
        for index, (low, high, shares) in enumerate(rows)
    ]
    result = water_fill(capacity, claims)
    floors = sum(claim.floor for claim in claims)
    assert sum(result.values()) == pytest.approx(
        min(capacity, sum(claim.ceiling for claim in claims)), abs=1e-6
    )
    for claim in claims:
        assert result[claim.name] <= claim.ceiling + 1e-9
        if floors <= capacity:
            assert result[claim.name] >= claim.floor - 1e-9
