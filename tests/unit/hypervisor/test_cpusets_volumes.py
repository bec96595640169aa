"""CPU lists and the names of marker volumes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millwright.hypervisor import InvalidSpec, VolumeInfo, VolumeOwner
from millwright.hypervisor.cpusets import format_cpuset, parse_cpuset
from millwright.hypervisor.volumes import (
    check_name,
    fold,
    is_marker,
    owner_marker,
    read_markers,
    uploading_marker,
    verified_marker,
)

SHA = "a" * 64


@given(st.frozensets(st.integers(0, 300)))
def test_a_cpu_list_survives_the_round_trip(cpus: frozenset[int]) -> None:
    assert parse_cpuset(format_cpuset(cpus)) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", set()), ("0-3,7", {0, 1, 2, 3, 7}), ("0-3,^2", {0, 1, 3}), (" 1 , 2 ", {1, 2})],
)
def test_libvirt_s_cpu_lists(text: str, cpus: set[int]) -> None:
    assert parse_cpuset(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-x", "1;2"])
def test_what_is_no_cpu_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="cpuset"):
        parse_cpuset(text)


def volume(name: str) -> VolumeInfo:
    return VolumeInfo(
        pool="p", name=name, path=f"/p/{name}", capacity_bytes=1, allocation_bytes=1, format="raw"
    )


def folded(*names: str) -> dict[str, VolumeInfo]:
    return {v.name: v for v in fold([volume(n) for n in names], "p", "/p")}


OWNER = VolumeOwner(site="mw0", machine="m-1", generation=2)


def test_marks_are_folded_into_their_volume() -> None:
    found = folded(
        "image", verified_marker("image", SHA),
        "half", uploading_marker("half", SHA),
        "disk.qcow2", owner_marker("disk.qcow2", OWNER),
        "foreign",
    )  # fmt: skip
    assert set(found) == {"image", "half", "disk.qcow2", "foreign"}
    assert found["image"].sha256 == SHA
    assert not found["image"].uploading
    assert found["half"].uploading
    assert found["half"].sha256 is None
    assert found["disk.qcow2"].owner == OWNER
    assert found["foreign"].owner is None
    assert all(v.present for v in found.values())


def test_marks_without_a_volume_are_shown_as_absent() -> None:
    found = folded(owner_marker("gone", OWNER), verified_marker("lost", SHA))
    assert not found["gone"].present
    assert found["gone"].owner == OWNER
    # A verified image whose file is gone is not a verified image.
    assert found["lost"].sha256 is None
    assert not found["lost"].present


def test_the_newest_generation_counts() -> None:
    newer = VolumeOwner(site="mw0", machine="m-1", generation=10)
    found = folded("d", owner_marker("d", OWNER), owner_marker("d", newer))
    assert found["d"].owner == newer


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,40}\Z"))
def test_a_marker_always_tells_its_volume(name: str) -> None:
    if ".mw-" in name:
        with pytest.raises(InvalidSpec):
            check_name(name)
        return
    check_name(name)
    marker = owner_marker(name, OWNER)
    assert is_marker(marker)
    assert not is_marker(name)
    assert read_markers([marker, name])[name].owners == {OWNER}


@pytest.mark.parametrize("part", ["", "a.b", "a/b", "x" * 64])
def test_owners_that_would_not_be_read_back_are_refused(part: str) -> None:
    with pytest.raises(InvalidSpec, match=r"owner\.machine"):
        owner_marker("d", VolumeOwner(site="mw0", machine=part, generation=1))


def test_a_hash_is_a_hash() -> None:
    with pytest.raises(InvalidSpec, match="sha256"):
        uploading_marker("x", "A" * 64)
