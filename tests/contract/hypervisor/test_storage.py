"""Volumes: verified, owned, never half taken for whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.hypervisor import (
    Capability,
    Conflict,
    InvalidSpec,
    NoSpace,
    NotFound,
    OwnershipError,
    UploadSource,
)

from tests.contract.hypervisor.subjects import MIB, Subject, source

pytestmark = pytest.mark.needs(Capability.UPLOAD, Capability.OVERLAY)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    path.write_bytes(hashlib.sha256(b"seed").digest() * (MIB // 32))
    return path


def test_an_upload_is_verified_and_idempotent(subject: Subject, image: Path) -> None:
    host, name = subject.hypervisor, subject.volume("image")
    given = source(image)
    seen: list[tuple[int, int]] = []
    assert not host.volume_exists("default", name)
    first = host.upload_volume("default", name, given, progress=lambda *p: seen.append(p))
    assert first.sha256 == given.sha256
    assert not first.uploading
    assert first.capacity_bytes == given.size_bytes
    assert seen[-1] == (given.size_bytes, given.size_bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert host.upload_volume("default", name, given) == first
    assert host.volume("default", name) == first
    assert host.volume_exists("default", name, given.sha256)
    assert not host.volume_exists("default", name, "0" * 64)
    assert [v for v in host.list_volumes("default") if v.name == name] == [first]
    assert host.remove_volume("default", name) is True
    assert host.remove_volume("default", name) is False
    assert host.volume("default", name) is None


def test_a_file_that_is_not_what_was_announced_leaves_nothing(
    subject: Subject, image: Path
) -> None:
    host, name = subject.hypervisor, subject.volume("image")
    with pytest.raises(InvalidSpec, match="sha256"):
        host.upload_volume("default", name, replace(source(image), sha256="0" * 64))
    assert host.volume("default", name) is None
    assert not [v for v in host.list_volumes("default") if v.name.startswith(name)]


def test_other_content_under_a_taken_name_is_refused(
    subject: Subject, image: Path, tmp_path: Path
) -> None:
    host, name = subject.hypervisor, subject.volume("image")
    host.upload_volume("default", name, source(image))
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(Conflict, match=name):
        host.upload_volume("default", name, source(other))
    assert host.volume_exists("default", name, source(image).sha256)


def test_an_upload_that_was_cut_short_is_seen_and_done_again(subject: Subject, image: Path) -> None:
    host, name = subject.hypervisor, subject.volume("image")
    given = source(image)
    assert subject.leave_partial_upload is not None
    subject.leave_partial_upload(name, given.sha256)
    partial = host.volume("default", name)
    assert partial is not None
    assert partial.uploading
    assert partial.sha256 is None
    assert not host.volume_exists("default", name)
    with pytest.raises(NotFound, match="not complete"):
        host.ensure_overlay(
            "default",
            subject.volume("disk"),
            base=name,
            capacity_bytes=MIB,
            owner=subject.owner(uuid4()),
        )
    assert host.upload_volume("default", name, given).sha256 == given.sha256
    assert host.volume_exists("default", name, given.sha256)


def test_foreign_volumes_are_never_touched(subject: Subject, image: Path) -> None:
    host, name = subject.hypervisor, subject.unique("foreign")
    assert subject.add_foreign_volume is not None
    subject.add_foreign_volume(name)
    with pytest.raises(OwnershipError):
        host.upload_volume("default", name, source(image))
    with pytest.raises(OwnershipError):
        host.remove_volume("default", name)
    read = host.volume("default", name)
    assert read is not None
    assert read.present
    assert read.owner is None
    # Taken away as its owner would: what carries our upload mark is ours to remove.
    assert subject.leave_partial_upload is not None
    try:
        subject.leave_partial_upload(name, "1" * 64)
    except Exception as error:  # libvirt refuses the second creation; the marker is made
        assert "exist" in str(error)
    assert host.remove_volume("default", name)


def test_what_cannot_fit_is_refused_before_anything_is_made(subject: Subject, image: Path) -> None:
    host, name = subject.hypervisor, subject.volume("image")
    huge = UploadSource(path=image, sha256=source(image).sha256, size_bytes=1 << 60)
    with pytest.raises(NoSpace, match="bytes free") as caught:
        host.upload_volume("default", name, huge)
    assert caught.value.details["needed_bytes"] == 1 << 60
    assert host.volume("default", name) is None


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "x.mw-ok.1", "a" * 200])
def test_names_that_could_leave_the_pool_are_refused(
    subject: Subject, image: Path, name: str
) -> None:
    with pytest.raises(InvalidSpec, match="volume name"):
        subject.hypervisor.upload_volume("default", name, source(image))


def test_an_overlay_is_owned_and_idempotent(subject: Subject, image: Path) -> None:
    host = subject.hypervisor
    base, disk, machine = subject.volume("base"), subject.volume("disk"), uuid4()
    subject._volumes.reverse()
    uploaded = host.upload_volume("default", base, source(image))

    def ensure(**changes: object) -> object:
        values: dict[str, object] = {
            "base": base,
            "capacity_bytes": 8 * MIB,
            "owner": subject.owner(machine),
        }
        values.update(changes)
        return host.ensure_overlay("default", disk, **values)  # type: ignore[arg-type]

    with pytest.raises(InvalidSpec, match="capacity_bytes"):
        ensure(capacity_bytes=1024)
    assert host.volume("default", disk) is None
    first = host.ensure_overlay(
        "default", disk, base=base, capacity_bytes=8 * MIB, owner=subject.owner(machine)
    )
    assert first.owner == subject.owner(machine)
    assert first.backing_path == uploaded.path
    assert first.capacity_bytes == 8 * MIB
    assert first.format == "qcow2"
    assert ensure() == first
    with pytest.raises(Conflict, match=str(machine)):
        ensure(owner=subject.owner(uuid4()))
    with pytest.raises(NotFound, match="never-there"):
        ensure(base="never-there")
    with pytest.raises(Conflict, match=disk):
        host.remove_volume("default", base)
    assert host.remove_volume("default", disk)
    assert host.remove_volume("default", base)
    assert not [v for v in host.list_volumes("default") if v.name in (base, disk)]


def test_a_missing_pool_is_named(subject: Subject, image: Path) -> None:
    host = subject.hypervisor
    with pytest.raises(NotFound, match="no-such-pool"):
        host.list_volumes("no-such-pool")
    with pytest.raises(NotFound, match="no-such-pool"):
        host.upload_volume("no-such-pool", "x", source(image))
    with pytest.raises(NotFound, match="no-such-pool"):
        host.ensure_pool("no-such-pool")
    with pytest.raises(NotFound, match="no-such-pool"):
        host.refresh_pool("no-such-pool")


def test_a_pool_that_was_looked_at_again_has_what_it_had(subject: Subject, image: Path) -> None:
    host, name = subject.hypervisor, subject.volume("base")
    host.upload_volume(subject.pool, name, source(image))
    before = host.volume(subject.pool, name)
    host.refresh_pool(subject.pool)
    assert host.volume(subject.pool, name) == before


def test_the_pool_tells_its_space(subject: Subject) -> None:
    info = subject.hypervisor.ensure_pool("default")
    assert info.path.startswith("/")
    assert 0 < info.available_bytes <= info.capacity_bytes
