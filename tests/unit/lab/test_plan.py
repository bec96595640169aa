"""Names, addresses and CPU sets of labs, for any machine."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millwright.lab import LabError, plan_lab
from millwright.lab.plan import MAX_HOSTS


def test_two_cpus_make_one_realtime_core_on_the_first_host() -> None:
    first, second = plan_lab(0, 2, [0, 1]).hosts
    assert first.policy == {
        "cpus": "0-1",
        "housekeeping_cpus": "0",
        "realtime_cpus": "1",
        "shared_cpus": "0",
        "best_effort": True,
    }
    assert second.policy["realtime_cpus"] == ""
    assert second.cpus == {0}


@given(
    st.integers(0, 9),
    st.integers(1, MAX_HOSTS),
    st.frozensets(st.integers(0, 255), min_size=1, max_size=40),
)
def test_cores_are_shared_out_and_only_housekeeping_is_common(
    index: int, hosts: int, cpus: frozenset[int]
) -> None:
    plan = plan_lab(index, hosts, cpus)
    house = frozenset([min(cpus)])
    owned: list[int] = []
    for host in plan.hosts:
        assert host.housekeeping == house
        assert house <= host.cpus <= cpus
        assert host.realtime <= host.cpus - house
        assert host.shared
        assert host.shared <= host.cpus - host.realtime
        owned += sorted(host.cpus - house)
    # Each other CPU belongs to exactly one host.
    assert sorted(owned) == sorted(cpus - house)
    sizes = [len(host.cpus) for host in plan.hosts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(0, 9), st.integers(1, MAX_HOSTS))
def test_names_fit_the_kernel_and_addresses_the_networks(index: int, hosts: int) -> None:
    plan = plan_lab(index, hosts, [0])
    links = [plan.management_bridge, plan.cell_bridge, f"{plan.gateway_netns}c"]
    for host in plan.hosts:
        links += [host.management_link, host.cell_link]
    links.append(f"{plan.device_netns(40)}c")
    assert len(set(links)) == len(links)
    # A link's name has at most 15 characters.
    assert all(len(link) <= 15 for link in links)
    cell = ipaddress.ip_network(plan.cell_cidr)
    assert all(ipaddress.ip_address(plan.cell_address(last)) in cell for last in (1, 2, 50, 199))
    addresses = {host.address for host in plan.hosts}
    assert len(addresses) == hosts
    assert plan.management_address not in addresses


def test_two_instances_share_no_name_and_no_address() -> None:
    one, two = plan_lab(0, MAX_HOSTS, [0]), plan_lab(1, MAX_HOSTS, [0])
    assert not {host.name for host in one.hosts} & {host.name for host in two.hosts}
    assert not {host.address for host in one.hosts} & {host.address for host in two.hosts}
    assert one.cell_cidr != two.cell_cidr


@pytest.mark.parametrize(
    ("hosts", "cpus", "words"),
    [
        (0, [0], "hosts = 0: 1 to 8"),
        (9, [0], "hosts = 9: 1 to 8"),
        (1, [], "this process may use no CPU"),
    ],
)
def test_impossible_labs_are_refused(hosts: int, cpus: list[int], words: str) -> None:
    with pytest.raises(LabError, match=words):
        plan_lab(0, hosts, cpus)
