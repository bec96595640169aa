"""NUMA nodes of machines that are bound to one: what the checker finds, and that rounds and drains go by it."""

from __future__ import annotations

from dataclasses import replace

from millwright.core.balancing import (
    Code,
    Host,
    HostState,
    Movability,
    Node,
    Plant,
    Vm,
    admit,
    drain,
    failure_capacity,
    violations,
)
from millwright.core.lifecycle import Recovery

GIB = 2**30


def _host(name: str, *pages: int, cores: int = 2) -> Host:
    nodes = tuple(Node(cores, {"1G": count} if count else {}) for count in pages)
    return Host(
        name, 8, 64 * GIB, cores=cores * len(pages), nodes=nodes, hugepages={"1G": sum(pages)}
    )


def _vm(name: str, gib: int, host: str | None = "h1", **more: object) -> Vm:
    fields: dict[str, object] = {
        "vcpus": 1,
        "cores": 1,
        "hugepage": "1G",
        "movability": Movability.FREE,
        "recovery": Recovery.RECOVERABLE,
    }
    return Vm(name=name, memory_bytes=gib * GIB, host=host, **(fields | more))  # type: ignore[arg-type]  # by name


def test_the_checker_leaves_who_is_in_a_node_where_it_is() -> None:
    host = _host("h1", 4, 4)
    apart = Plant((host,), (_vm("a", 3, node=0), _vm("b", 3, node=1)))
    assert violations(apart) == ()
    # The same two in one node: that the other one would have room is no way out.
    both = Plant((host,), (_vm("a", 3, node=0), _vm("b", 3, node=0)))
    assert [entry.kind for entry in violations(both)] == ["numa"]
    # One that is on its way has no node there yet.
    coming = Plant((host, _host("h2", 4, 4)), (_vm("a", 3, node=0), _vm("b", 3, "h2", node=0)))
    assert violations(coming, {"b": "h1"}) == ()


def test_pages_of_other_nodes_do_not_help_who_is_bound() -> None:
    plant = Plant((_host("h1", 2, 2), _host("h2", 1, 3)), ())
    answer = admit(plant, [_vm("new", 3, None)]).placed[0]
    assert (answer.host, answer.node) == ("h2", 1)
    codes = {row.host: row.codes for row in answer.answers}
    assert codes["h1"] == (Code.NUMA,)
    # One that is bound to none takes them from both.
    loose = admit(plant, [_vm("new", 4, None, one_node=False)]).placed[0]
    assert loose.host is not None


def test_a_drain_finds_the_node_or_says_that_there_is_none() -> None:
    hosts = (replace(_host("h1", 4, 4), state=HostState.DRAINING), _host("h2", 2, 3))
    plant = Plant(hosts, (_vm("a", 3, node=0), _vm("b", 3, node=1)))
    planned = drain(plant, ["h1"])
    assert {(move.target, move.node) for move in planned.moves} == {("h2", 1)}
    assert {move.vm for move in planned.moves} | {row.vm for row in planned.blockers} == {"a", "b"}
    assert len(planned.blockers) == 1


def test_room_for_a_host_to_die_counts_nodes() -> None:
    vms = (_vm("a", 3, node=0), _vm("b", 3, node=1))
    enough = Plant((_host("h1", 4, 4), _host("h2", 3, 3)), vms)
    assert failure_capacity(enough, 1).ok
    # As many pages, in nodes that hold no machine whole.
    lacking = Plant((_host("h1", 4, 4), _host("h2", 2, 2, 2)), vms)
    assert not failure_capacity(lacking, 1).ok
