"""Networks and filters: there when ensured, once, and only ours removed."""

from __future__ import annotations

import pytest
from millwright.hypervisor import (
    Capability,
    Direction,
    FilterSpec,
    Flow,
    InvalidSpec,
    NetworkSpec,
    Protocol,
)

from tests.contract.hypervisor.subjects import Subject

pytestmark = pytest.mark.needs(Capability.NWFILTER)


def test_a_filter_is_idempotent_and_changeable(subject: Subject) -> None:
    host, name = subject.hypervisor, subject.filter()
    flow = Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=502)
    more = Flow(direction=Direction.OUTBOUND, peer="10.90.1.0/24", protocol=Protocol.UDP, port=53)
    ping = Flow(direction=Direction.INBOUND, peer="10.90.1.1", protocol=Protocol.ICMP)
    steps = ((), (flow,), (flow,), (flow, more, ping), (more,), (more,))
    changed = [host.ensure_filter(FilterSpec(name=name, flows=flows)) for flows in steps]
    assert changed == [True, True, False, True, True, False]
    assert host.remove_filter(name) is True
    assert host.remove_filter(name) is False


@pytest.mark.parametrize(
    ("flow", "field"),
    [
        (Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=0), "port"),
        (Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=None), "port"),
        (Flow(direction=Direction.INBOUND, peer="10.90.1.2/24", port=502), "peer"),
        (Flow(direction=Direction.INBOUND, peer="plc.example", port=502), "peer"),
        (Flow(direction=Direction.INBOUND, peer="0.0.0.0/0", port=502), "peer"),
        (
            Flow(direction=Direction.INBOUND, peer="10.0.0.1", protocol=Protocol.ICMP, port=1),
            "port",
        ),
    ],
)
def test_flows_that_do_not_say_what_may_pass_are_refused(
    subject: Subject, flow: Flow, field: str
) -> None:
    name = subject.filter()
    with pytest.raises(InvalidSpec, match=rf"flows\[0\]\.{field}"):
        subject.hypervisor.ensure_filter(FilterSpec(name=name, flows=(flow,)))
    assert subject.hypervisor.remove_filter(name) is False


def test_a_network_is_idempotent(subject: Subject) -> None:
    host, name = subject.hypervisor, subject.network()
    for _ in range(2):
        host.ensure_network(NetworkSpec(name=name, bridge=subject.bridge))
    assert host.remove_network(name) is True
    assert host.remove_network(name) is False


@pytest.mark.parametrize(
    ("name", "bridge", "field"),
    [("a b", "br0", "name"), ("ok", "b" * 16, "bridge"), ("ok", "b/0", "bridge")],
)
def test_bad_network_names_are_refused(
    subject: Subject, name: str, bridge: str, field: str
) -> None:
    with pytest.raises(InvalidSpec, match=rf"network\.{field}"):
        subject.hypervisor.ensure_network(NetworkSpec(name=name, bridge=bridge))
