"""A snapshot read with its errors named; rules that cannot hold; CPU divided by reservation, limit, shares."""

import dataclasses
import json
import math
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    BOUNDS,
    BalanceState,
    Claim,
    Entry,
    Gpu,
    Host,
    Node,
    Pool,
    Rule,
    Settings,
    SnapshotError,
    StoragePool,
    Vm,
    drain,
    entitlements,
    read_plant,
    read_state,
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


LINE = {"name": "n", "vms": ["v0"], "mode": "off"}


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
        ({"settings": {"level": 6}}, "settings.level: 6: must be 1 .conservative."),
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
        (
            {"pools": [{"name": "p", "reservation": 10, "limit": 5}]},
            "pool p.reservation: 10.0: above its limit of 5",
        ),
        (
            {"calendar": [LINE | {"since": "2026-05-04T06:00", "until": "2025-01-01"}]},
            "calendar n.until: '2025-01-01': must be after its since, 2026-05-04T06:00",
        ),
        (
            {"calendar": [LINE | {"since": "2026-05-04T06:00+02:00", "until": "2026-05-01"}]},
            "calendar n.until: '2026-05-01': must be after",
        ),
        (
            {"calendar": [LINE | {"since": "9999-12-31", "until": "0001-01-01T00:00+14:00"}]},
            "calendar n.until: .*must be after",
        ),
        (
            {"calendar": [LINE | {"reservation": 3, "limit": 2}]},
            "calendar n.reservation: 3.0: above its limit of 2",
        ),
        (
            {"pools": [{"name": f"p{i}", "parent": f"p{i - 1}" if i else ""} for i in range(3000)]},
            "pool p[0-9]+.parent: 'p[0-9]+': more than 32 pools deep",
        ),
        (
            {"rules": [rule("apart", ["v0", "v1"], name="a\nb")]},
            r"rules\[0\].name: 'a\\nb': must be",
        ),
        ({"rules": [rule("apart", ["v0"], name="\u202ev")]}, r"must be without control characters"),
        ({"settings": {"mo\x1bde": "off"}}, r"settings.mo\\x1bde: .*without control"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SnapshotError, match=words):
        read_plant(snapshot(**changes))


@pytest.mark.parametrize(
    ("kind", "field", "value", "rule_of_it"),
    [
        ("vms", "memory_bytes", 10**30, f"must be from 1 to {2**60}"),
        ("vms", "memory_bytes", 0, f"must be from 1 to {2**60}"),
        ("vms", "demand_short", 10**400, "must be from 0 to 1000000"),
        ("vms", "demand_long", float("nan"), "must be from 0 to 1000000"),
        ("vms", "demand_peak", 1e308, "must be from 0 to 1000000"),
        ("vms", "vcpus", 10**18, "must be from 1 to 1000000"),
        ("vms", "shares", 10**30, "must be from 1 to 100000"),
        ("vms", "priority", -(10**7), "must be from -1000 to 1000"),
        ("vms", "dirty_bytes_s", float("inf"), "must be from 0 to 1000000000000"),
        ("vms", "memory_minimum_bytes", 2 * GIB, f"above its memory of {GIB} bytes"),
        ("vms", "node", 7, "h1 has 1, counted from 0"),
        ("vms", "name", [10**5000], "a text is wanted"),
        ("vms", "protected", 1, "true or false is wanted"),
        ("hosts", "link_bytes_s", 1e-300, "must be from 1000 to 1000000000000"),
        ("hosts", "cpus", float("inf"), "must be from 0 to 1000000"),
        ("settings", "horizon_s", 1e300, "must be from 1 to 31622400"),
        ("settings", "horizon_s", 0, "must be from 1 to 31622400"),
        ("settings", "max_moves", 10**30, "must be from 0 to 1000000"),
    ],
)
def test_every_number_has_a_least_and_a_greatest(
    kind: str, field: str, value: Any, rule_of_it: str
) -> None:
    data = snapshot()
    (data.setdefault(kind, {}) if kind == "settings" else data[kind][0])[field] = value
    with pytest.raises(SnapshotError) as caught:
        read_plant(data)
    assert caught.value.field.endswith(field)
    assert caught.value.rule == rule_of_it
    assert len(str(caught.value)) < 300


def test_a_node_that_the_host_has_not_is_named() -> None:
    data = snapshot()
    data["hosts"][0] |= {"cores": 4, "nodes": [{"cores": 2}, {"cores": 2}]}
    data["vms"][0]["node"] = 1
    assert read_plant(data).vms[0].node == 1
    data["vms"][0]["node"] = 2
    with pytest.raises(SnapshotError, match=r"vm v0\.node: 2: h1 has 2, counted from 0"):
        read_plant(data)


def test_names_of_pools_and_devices_are_no_fields() -> None:
    data = snapshot()
    data["hosts"][0]["storage"] = {"priority": 2**40}
    data["vms"][0]["disks"] = {"priority": 2**40}
    assert read_plant(data).vms[0].disks == {"priority": 2**40}
    data["vms"][0]["disks"] = {"priority": 2**61}
    with pytest.raises(SnapshotError, match=r"vms\[0\].disks.priority: .*must be from 0 to"):
        read_plant(data)
    data = snapshot()
    data["hosts"][0]["gpus"] = [{"model": "x", "profiles": {"q": 10**7}}]
    with pytest.raises(SnapshotError, match=r"hosts\[0\].gpus\[0\].profiles.q: 10000000: must"):
        read_plant(data)


def test_lines_that_a_calendar_has_kept_are_read_whatever_bounds_have_come_since() -> None:
    backwards = {"since": "2026-05-04", "until": "2025-01-01", "shares": 10**6}
    data = snapshot(calendar=[LINE | {"name": "a\tb"} | backwards])
    (entry,) = read_plant(data, strict=False).calendar
    assert (entry.name, entry.shares) == ("a\tb", 10**6)
    with pytest.raises(SnapshotError):
        read_plant(data)


def test_each_number_of_the_model_is_in_the_table() -> None:
    for kind in (Host, Vm, Pool, StoragePool, Rule, Entry, Settings, BalanceState, Node, Gpu):
        for name, hint in get_type_hints(kind).items():
            words = str(hint)
            if "int" in words or "float" in words:
                low, high = BOUNDS[name]
                assert math.isfinite(low), name
                assert low < high < math.inf, name


def test_at_the_edges_of_the_table_every_answer_is_finite() -> None:
    data = snapshot()
    for host in data["hosts"]:
        host |= {"link_bytes_s": 1e3, "memory_bytes": 2**60, "cpus": 1e6}
    for vm in data["vms"]:
        vm |= {"dirty_bytes_s": 1e12, "memory_bytes": 2**50, "disks": {"local": 2**60}}
    for host in data["hosts"]:
        host["storage"] = {"local": 2**60}
    data["vms"] = data["vms"][:1]
    made = drain(read_plant(data), ["h1"])
    assert made.possible
    assert 0 < made.seconds < math.inf


def test_what_a_round_told_the_next_is_checked_too() -> None:
    kept = BalanceState(3, 1, {"h1": 2}, {"v0": 1}, {"v0": {"h2": 1}})
    assert read_state(json.loads(json.dumps(dataclasses.asdict(kept)))) == kept
    for data, words in (
        ({"hot": 3}, "state.hot: 3: an object of numbers is wanted"),
        ({"moved": [1]}, r"state.moved: \[1\]: an object of numbers is wanted"),
        ({"left": {"v0": 1}}, "state.left.v0: 1: an object of numbers is wanted"),
        ({"left": {"v0": {"h1": -1}}}, "state.left.v0.h1: -1: must be from 0"),
        ({"number": 1.5}, "state.number: 1.5: an integer is wanted"),
        ({"colour": 1}, "state.colour: 1: unknown"),
        ([], r"state: \[\]: an object is wanted"),
    ):
        with pytest.raises(SnapshotError, match=words):
            read_state(data)


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
