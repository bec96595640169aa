"""Domains: defined, started, stopped and forgotten, and only ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.hypervisor import (
    AlreadyExists,
    Capability,
    Conflict,
    DomainState,
    Event,
    EventKind,
    InvalidSpec,
    NotFound,
    OwnershipError,
    Share,
    Unsupported,
    VcpuSpec,
)

from tests.contract.hypervisor.subjects import Subject


def test_facts_describe_a_host(subject: Subject) -> None:
    facts = subject.hypervisor.facts()
    assert facts.name == subject.hypervisor.name
    assert facts.memory_bytes > 2**28
    numbers = {cpu.id for cpu in facts.cpus}
    assert len(numbers) == len(facts.cpus) > 0
    assert all(cpu.id in cpu.siblings <= numbers for cpu in facts.cpus)
    assert {cpu.numa_node for cpu in facts.cpus} <= {node.id for node in facts.numa}
    assert facts.libvirt_version.count(".") == 2


def test_define_is_idempotent_and_read_back(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec(autostart=True)
    first, second = host.define(spec), host.define(spec)
    assert first.uuid == second.uuid == spec.uuid
    assert first.state is DomainState.STOPPED
    read = host.domain(spec.uuid)
    assert read is not None
    assert read.metadata == spec.metadata
    assert read.name == spec.name
    assert read.autostart
    assert [s.name for s in host.bulk_state()].count(spec.name) == 1


def test_an_unknown_domain_is_none_and_nothing_to_do(subject: Subject) -> None:
    host, nobody = subject.hypervisor, uuid4()
    assert host.domain(nobody) is None
    assert host.destroy(nobody) is False
    assert host.undefine(nobody) is False
    with pytest.raises(NotFound):
        host.start(nobody)
    with pytest.raises(NotFound):
        host.pins(nobody)
    with pytest.raises(NotFound):
        host.set_autostart(nobody, True)


def test_autostart_follows(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec(autostart=False)
    host.define(spec)
    for wanted in (True, True, False):
        host.set_autostart(spec.uuid, wanted)
        read = host.domain(spec.uuid)
        assert read is not None
        assert read.autostart is wanted


def test_a_name_that_is_taken_is_refused(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    other = subject.spec(name=spec.name)
    with pytest.raises(AlreadyExists, match=spec.name):
        host.define(other)
    assert host.domain(other.uuid) is None


def test_an_older_generation_is_refused(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    newer = replace(spec, metadata=replace(spec.metadata, generation=5))
    host.define(newer)
    with pytest.raises(Conflict, match="generation 5"):
        host.define(spec)
    read = host.domain(spec.uuid)
    assert read is not None
    assert read.metadata == newer.metadata


def test_another_site_is_refused(subject: Subject) -> None:
    uuid = uuid4()
    spec = subject.spec(uuid=uuid, metadata=subject.mark(uuid, site="elsewhere"))
    with pytest.raises(InvalidSpec, match=r"metadata\.site"):
        subject.hypervisor.define(spec)
    assert subject.hypervisor.domain(uuid) is None


def test_foreign_domains_are_listed_and_left_alone(subject: Subject) -> None:
    host = subject.hypervisor
    name = subject.unique("foreign")
    uuid = subject.make_foreign_domain(name)
    try:
        (listed,) = [state for state in host.bulk_state() if state.name == name]
        assert listed.metadata is None
        assert not listed.owned_by(host.site)
        for action in (
            lambda: host.destroy(uuid),
            lambda: host.undefine(uuid),
            lambda: host.shutdown(uuid),
            lambda: host.start(uuid),
            lambda: host.set_autostart(uuid, True),
            lambda: host.define(subject.spec(uuid=uuid, metadata=subject.mark(uuid), name=name)),
        ):
            with pytest.raises(OwnershipError):
                action()
        read = host.domain(uuid)
        assert read is not None
        assert read.metadata is None
    finally:
        if uuid in subject._domains:
            subject._domains.remove(uuid)
        subject.remove_foreign_domain(uuid)


def test_start_and_destroy_are_idempotent(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    assert host.start(spec.uuid, generation=1) is True
    assert host.start(spec.uuid, generation=1) is False
    read = host.domain(spec.uuid)
    assert read is not None
    assert read.state is DomainState.RUNNING
    with pytest.raises(Conflict, match="running"):
        host.undefine(spec.uuid)
    assert host.destroy(spec.uuid) is True
    assert host.destroy(spec.uuid) is False
    assert host.shutdown(spec.uuid) is False
    assert host.undefine(spec.uuid) is True
    assert host.undefine(spec.uuid) is False
    assert host.domain(spec.uuid) is None


def test_a_generation_that_was_not_placed_does_not_start(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    with pytest.raises(Conflict, match="generation 2 was placed"):
        host.start(spec.uuid, generation=2)
    read = host.domain(spec.uuid)
    assert read is not None
    assert read.state is DomainState.STOPPED


def test_state_changes_are_told(subject: Subject) -> None:
    host = subject.hypervisor
    seen: list[Event] = []
    unsubscribe = host.subscribe(seen.append)
    spec = subject.spec()
    host.define(spec)

    def told(detail: str) -> bool:
        return any(
            e.kind is EventKind.DOMAIN and e.uuid == spec.uuid and e.detail == detail
            for e in tuple(seen)
        )

    subject.until("defined is told", lambda: told("defined"), 10)
    host.start(spec.uuid)
    subject.until("started is told", lambda: told("started"), 10)
    host.destroy(spec.uuid)
    subject.until("destroyed is told", lambda: told("destroyed"), 10)
    unsubscribe()
    unsubscribe()
    seen.clear()
    host.undefine(spec.uuid)
    assert seen == []


def test_a_subscriber_that_fails_harms_nobody(subject: Subject) -> None:
    if subject.hypervisor.name.startswith("fake"):
        pytest.skip("the fake shows a test's own faults")

    def broken(_: Event) -> None:
        raise RuntimeError("subscriber")

    seen: list[Event] = []
    first, second = subject.hypervisor.subscribe(broken), subject.hypervisor.subscribe(seen.append)
    subject.hypervisor.define(subject.spec())
    subject.until("the other one is told", lambda: bool(seen), 10)
    first()
    second()


@pytest.mark.needs(Capability.PINNING)
def test_pins_are_what_was_specified(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec(vcpus=(VcpuSpec(cpus=frozenset({0})), VcpuSpec(cpus=frozenset({1}))))
    host.define(spec)
    for _ in range(2):  # stored, then live
        assert host.pins(spec.uuid).vcpus == {0: frozenset({0}), 1: frozenset({1})}
        host.start(spec.uuid)


@pytest.mark.needs(Capability.BOOT, Capability.UPLOAD, Capability.NWFILTER)
def test_a_realtime_machine_with_disk_and_filtered_nic_runs(
    subject: Subject, tmp_path: Path
) -> None:
    image = tmp_path / "base.raw"
    image.write_bytes(b"\0" * (1 << 20))
    host = subject.hypervisor
    spec = subject.full_spec(image)
    host.define(spec)
    assert host.start(spec.uuid, generation=1)
    pins = host.pins(spec.uuid)
    assert pins.vcpus == {0: frozenset({0}), 1: frozenset({1})}
    assert pins.emulator == frozenset({0})
    assert pins.iothreads == {1: frozenset({0})}
    (state,) = [s for s in host.bulk_state() if s.uuid == spec.uuid]
    assert state.state is DomainState.RUNNING
    assert state.metadata == spec.metadata
    assert len(state.vcpus) == 2
    assert state.memory_bytes == spec.memory_bytes
    disk = spec.disks[0].path.rsplit("/", 1)[1]
    for action in (
        lambda: host.remove_volume("default", disk),
        lambda: host.remove_filter(spec.nics[0].filter or ""),
    ):
        with pytest.raises(Conflict):
            action()


@pytest.mark.needs(Capability.BOOT)
def test_what_a_domain_needs_must_be_there(subject: Subject) -> None:
    from millwright.hypervisor import DiskSpec, Final

    host = subject.hypervisor
    spec = subject.spec(disks=(DiskSpec(path="/var/lib/libvirt/images/never-made.qcow2"),))
    host.define(spec)
    with pytest.raises(Final, match=r"never-made\.qcow2"):
        host.start(spec.uuid)
    read = host.domain(spec.uuid)
    assert read is not None
    assert read.state is DomainState.STOPPED


@pytest.mark.needs(Capability.MIGRATION)
def test_no_job_when_nothing_moves(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    assert host.job(spec.uuid) is None
    assert host.abort_job(spec.uuid) is False


@pytest.mark.needs(Capability.SHARES, Capability.BOOT)
def test_a_running_domain_gets_its_part_of_the_host(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    with pytest.raises(Conflict, match="off"):
        host.set_share(spec.uuid, Share(100))
    host.start(spec.uuid)
    less = spec.memory_bytes - 2**24
    try:
        given = host.set_share(spec.uuid, Share(300, 0.5, less))
    except Unsupported as error:
        # Guests that share their manager's control group cannot be weighed: the host says so, and nothing else.
        assert "CPU controller" in str(error)
        return
    assert (given.cpu_weight, given.cpu_quota) == (300, 0.5)
    given = host.set_share(spec.uuid, Share(200, None))
    assert (given.cpu_weight, given.cpu_quota) == (200, None)
    assert host.share(spec.uuid).cpu_weight == 200
    for bad in (Share(1), Share(20_000), Share(100, 0.0), Share(100, None, spec.memory_bytes * 2)):
        with pytest.raises(InvalidSpec):
            host.set_share(spec.uuid, bad)
    assert host.share(spec.uuid).cpu_weight == 200
    # Of the run, not of the description: the next start begins anew.
    host.destroy(spec.uuid)
    host.start(spec.uuid)
    assert host.share(spec.uuid).cpu_weight != 200
