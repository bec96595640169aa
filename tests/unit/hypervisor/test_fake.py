"""The fake's own handles: faults, frozen and killed hosts, the simulated guest, scale."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from millwright.hypervisor import (
    Busy,
    DeadlineExceeded,
    DirectBoot,
    DomainSpec,
    DomainState,
    Event,
    EventKind,
    HostUnreachable,
    MigrationSpec,
    NoSpace,
    UploadSource,
)
from millwright.hypervisor.fake import FakeHypervisor, FakePool

from tests.unit.hypervisor.specs import BASE, MIB

IMAGES = "/var/lib/libvirt/images/"


class Killed(BaseException):
    """What a crash suite raises to play a killed process."""


@pytest.fixture
def pool() -> FakePool:
    return FakePool("mw0")


def source(folder: Path) -> UploadSource:
    path = folder / "blob"
    path.write_bytes(b"x" * 1000)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return UploadSource(path=path, sha256=digest, size_bytes=1000)


def machine(host: FakeHypervisor, folder: Path, uuid: UUID | None = None) -> DomainSpec:
    from dataclasses import replace

    host.upload_volume("default", "k", source(folder))
    host.upload_volume("default", "i", source(folder))
    uuid = uuid or uuid4()
    return replace(
        BASE,
        uuid=uuid,
        name=f"mw-{uuid.hex[:8]}",
        disks=(),
        nics=(),
        boot=DirectBoot(kernel=IMAGES + "k", initrd=IMAGES + "i"),
        autostart=False,
    )


def test_a_fault_before_has_no_effect_and_one_after_has(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.fail_next("define", Busy("no"), effect="before")
    with pytest.raises(Busy):
        host.define(spec)
    assert host.domain(spec.uuid) is None
    host.fail_next("define", Busy("lost"), effect="after")
    with pytest.raises(Busy):
        host.define(spec)
    assert host.domain(spec.uuid) is not None
    host.define(spec)
    assert host.faults.pending == 0


def test_a_fault_may_be_a_kill_and_may_come_twice(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.fail_next("*", Killed(), times=2)
    for _ in range(2):
        with pytest.raises(Killed):
            host.define(spec)
    host.define(spec)


def test_a_frozen_host_costs_the_deadline_and_nothing_else(pool: FakePool) -> None:
    host = pool.add_host("h1")
    host.freeze()
    before = pool.clock.now()
    with pytest.raises(DeadlineExceeded):
        host.bulk_state(deadline_s=3.0)
    assert pool.clock.now() - before == 3.0
    assert not host.connected
    host.thaw()
    assert host.bulk_state() == ()


def test_a_cut_leaves_the_guests_and_tells(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.define(spec)
    host.start(spec.uuid)
    seen: list[Event] = []
    host.subscribe(seen.append)
    host.cut()
    with pytest.raises(HostUnreachable):
        host.bulk_state()
    host.restore()
    assert host.bulk_state()[0].state is DomainState.RUNNING
    assert [e.kind for e in seen] == [EventKind.DISCONNECTED, EventKind.CONNECTED]


@pytest.mark.parametrize("autostart", [True, False])
def test_a_power_loss_takes_the_guests(pool: FakePool, tmp_path: Path, autostart: bool) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.define(spec)
    host.set_autostart(spec.uuid, autostart)
    host.start(spec.uuid)
    host.kill()
    host.restore()
    wanted = DomainState.RUNNING if autostart else DomainState.STOPPED
    assert host.bulk_state()[0].state is wanted


def test_a_crash_is_not_a_stop(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.define(spec)
    host.start(spec.uuid)
    host.crash_domain(spec.uuid)
    assert host.bulk_state()[0].state is DomainState.CRASHED


def test_memory_is_finite(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1", memory_bytes=1200 * MIB)
    first, second = machine(host, tmp_path), machine(host, tmp_path)
    for spec in (first, second):
        host.define(spec)
    host.start(first.uuid)
    with pytest.raises(NoSpace, match="memory"):
        host.start(second.uuid)


def bundle() -> bytes:
    buffer = io.BytesIO()
    manifest = json.dumps({"kind": "program", "name": "filling", "version": "1.2.0"}).encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
    return buffer.getvalue()


def deliver(host: FakeHypervisor, uuid: UUID, data: bytes, digest: str | None = None) -> dict:  # type: ignore[type-arg]
    digest = digest or hashlib.sha256(data).hexdigest()
    inbox = f"/var/lib/vplc/inbox/{digest}"
    host.agent_write_file(uuid, f"{inbox}.bundle", data)
    ready = json.dumps({"sha256": digest, "size": len(data)}).encode()
    host.agent_write_file(uuid, f"{inbox}.ready", ready)
    result: dict = json.loads(host.agent_read_file(uuid, f"{inbox}.result"))  # type: ignore[type-arg]
    return result


def test_the_simulated_guest_takes_a_program(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.define(spec)
    host.start(spec.uuid)
    pool.clock.advance(host.boot_s)
    status = json.loads(host.agent_read_file(spec.uuid, "/run/vplc/status.json"))
    assert status["state"] == "no_program"
    result = deliver(host, spec.uuid, bundle())
    assert result["ok"]
    assert result["active"]["program"]["name"] == "filling"
    running = json.loads(host.agent_read_file(spec.uuid, "/run/vplc/status.json"))
    assert (running["state"], running["boot_id"]) == ("run", status["boot_id"])
    # A reboot keeps the program and changes the boot id.
    host.destroy(spec.uuid)
    host.start(spec.uuid)
    pool.clock.advance(host.boot_s)
    again = json.loads(host.agent_read_file(spec.uuid, "/run/vplc/status.json"))
    assert again["program"]["version"] == "1.2.0"
    assert again["boot_id"] != status["boot_id"]


def test_the_simulated_guest_refuses(pool: FakePool, tmp_path: Path) -> None:
    host = pool.add_host("h1")
    spec = machine(host, tmp_path)
    host.define(spec)
    host.start(spec.uuid)
    pool.clock.advance(host.boot_s)
    assert not deliver(host, spec.uuid, bundle(), digest="0" * 64)["ok"]
    host.guest(spec.uuid).reject_next = "signature: unknown key"
    refused = deliver(host, spec.uuid, bundle())
    assert (refused["ok"], refused["message"]) == (False, "signature: unknown key")
    assert deliver(host, spec.uuid, bundle())["ok"]


def test_a_migration_ends_on_exactly_one_host(pool: FakePool, tmp_path: Path) -> None:
    from dataclasses import replace

    one, two = pool.add_host("h1"), pool.add_host("h2")
    spec = machine(one, tmp_path)
    machine(two, tmp_path)
    one.define(spec)
    one.start(spec.uuid)
    target = replace(spec, metadata=replace(spec.metadata, generation=4))
    two.fail_next("receive", NoSpace("full"))
    with pytest.raises(NoSpace):
        one.migrate(spec.uuid, two, target, MigrationSpec())
    assert one.bulk_state()[0].state is DomainState.RUNNING
    assert two.bulk_state() == ()
    one.migrate(spec.uuid, two, target, MigrationSpec())
    assert one.bulk_state() == ()
    (arrived,) = two.bulk_state()
    assert arrived.state is DomainState.RUNNING
    assert arrived.metadata == target.metadata


def test_a_thousand_hosts_are_cheap(tmp_path: Path) -> None:
    pool = FakePool("mw0")
    given = source(tmp_path)
    for number in range(1000):
        host = pool.add_host(f"h{number}")
        host.upload_volume("default", "k", given)
        host.add_foreign_domain("other")
    assert len(pool) == 1000
    assert sum(len(host.bulk_state()) for host in pool) == 1000


def test_a_host_s_name_is_taken_once(pool: FakePool) -> None:
    pool.add_host("h1")
    with pytest.raises(ValueError, match="h1"):
        pool.add_host("h1")
