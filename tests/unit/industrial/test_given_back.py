"""Retained values that come from a copy: read outside the engine, taken by a controller that has none."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from industrial.runtime.inbox import Inbox
from industrial.runtime.paths import Paths
from industrial.runtime.retained import (
    HEAD_BYTES,
    MOST_BYTES,
    RetainedError,
    check_package,
    read_head,
    read_retained,
)
from tests.support.retained import LAYOUT, retained


def test_a_file_says_layout_scan_and_time_and_is_alike_where_its_values_are() -> None:
    file = read_retained(retained(7, scan=12, saved_ns=5_000_000_000))
    assert (file.layout_hash, file.scan, file.saved_ns) == (LAYOUT, 12, 5_000_000_000)
    later = read_retained(retained(7, scan=13, saved_ns=6_000_000_000))
    assert later.values_sha256 == file.values_sha256
    for other in (retained(8), retained(7, layout="2" * 64)):
        assert read_retained(other).values_sha256 != file.values_sha256


@pytest.mark.parametrize("at", [24, 60, HEAD_BYTES, -1])
def test_a_bit_that_turned_is_found(at: int) -> None:
    data = bytearray(retained(7))
    data[at] ^= 1
    with pytest.raises(RetainedError, match="damaged: checksum"):
        read_retained(bytes(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes: its head alone has 80"),
        (b"VPLCRET1" + bytes(72), "expected b'VPLCRET2'"),
        (retained(7)[:-1], "its head promises"),
        (retained(7) + b"x", "its head promises"),
        (bytes(MOST_BYTES + 1), "at most"),
    ],
)
def test_what_is_no_file_of_retained_values_is_told_why(data: bytes, words: str) -> None:
    with pytest.raises(RetainedError, match=words):
        read_head(data)


def _symbols(layout: Any) -> bytes:
    return json.dumps({"layout_hash": layout, "symbols": []}).encode()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "retain.bin is missing"),
        ({"retain.bin": retained(1), "program.so": b""}, "program.so"),
        ({"retain.bin": retained(1), "symbols.json": b"{"}, "does not say its layout"),
        ({"retain.bin": retained(1), "symbols.json": _symbols("3" * 64)}, "symbols.json: layout"),
        ({"retain.bin": retained(1)[:-2] + b"\1\1"}, "damaged"),
    ],
)
def test_a_package_that_breaks_a_rule_is_refused(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(RetainedError, match=words):
        check_package(files)
    assert check_package({"retain.bin": retained(1), "symbols.json": _symbols(LAYOUT)}).scan == 1


@dataclass
class Guest:
    """An inbox without a scan process, and the plant's key."""

    paths: Paths
    key: Ed25519PrivateKey
    inbox: Inbox

    def deliver(self, kind: str, files: dict[str, bytes], delivery: str = "1") -> dict[str, Any]:
        bundle = pack(kind, "copy", "1", files, self.key)
        digest = hashlib.sha256(bundle).hexdigest()
        (self.paths.inbox / f"{digest}.bundle").write_bytes(bundle)
        (self.paths.inbox / f"{digest}.ready").write_text(
            json.dumps({"sha256": digest, "size": len(bundle), "delivery": delivery})
        )
        self.inbox.take_all()
        return dict(json.loads((self.paths.inbox / f"{digest}.result").read_text()))


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    paths, key = Paths(tmp_path / "state", tmp_path / "run"), Ed25519PrivateKey.generate()
    paths.prepare()
    return Guest(paths, key, Inbox(paths, [key.public_key()]))


def test_a_new_disk_takes_the_copy_and_says_the_same_when_it_is_asked_again(guest: Guest) -> None:
    answer = guest.deliver("retain", {"retain.bin": retained(7)})
    assert (answer["ok"], answer["how"]) == (True, "given")
    assert guest.paths.retain.read_bytes() == retained(7)
    # Killed before the answer, and asked by another attempt: it is this copy that lies there.
    assert guest.deliver("retain", {"retain.bin": retained(7)}, "2")["how"] == "given"


@pytest.mark.parametrize("own", ["retain.bin", "retain.bin.old", "active"])
def test_nothing_of_its_own_is_overwritten(guest: Guest, own: str) -> None:
    if own == "active":
        guest.paths.active.symlink_to(guest.paths.packages)
    else:
        (guest.paths.retain.parent / own).write_bytes(retained(99))
    answer = guest.deliver("retain", {"retain.bin": retained(7)})
    assert (answer["ok"], answer["how"]) == (True, "own")
    assert "of its own: they stay" in answer["message"]
    assert not guest.paths.retain.exists() or guest.paths.retain.read_bytes() == retained(99)


def test_a_damaged_copy_is_refused_and_nothing_lies_there(guest: Guest) -> None:
    answer = guest.deliver("retain", {"retain.bin": retained(7)[:-1] + b"\xff"})
    assert not answer["ok"]
    assert "damaged: checksum" in answer["message"]
    assert not guest.paths.retain.exists()
    stranger = Guest(guest.paths, Ed25519PrivateKey.generate(), guest.inbox)
    assert "signature" in stranger.deliver("retain", {"retain.bin": retained(7)})["message"]
    assert not guest.paths.retain.exists()


def test_a_configuration_in_between_leaves_the_variables_of_the_older_layout(guest: Guest) -> None:
    guest.inbox.order = lambda _verb: ""
    older = {"layout_hash": LAYOUT, "symbols": [_row("Main.n", 0), _row("Main.gone", 8)]}
    copy = {"retain.bin": retained(7), "symbols.json": json.dumps(older).encode()}
    assert guest.deliver("retain", copy)["how"] == "given"
    assert guest.deliver("config", {"security.toml": b"format = 1\n"})["ok"]
    newer = {"layout_hash": "2" * 64, "symbols": [_row("Main.n", 16)]}
    program = {"program.so": b"", "symbols.json": json.dumps(newer).encode()}
    answer = guest.deliver("program", program)
    assert answer["ok"], answer
    assert (answer["carry"]["kept"], answer["carry"]["removed"]) == (1, ["Main.gone"])
    data = (guest.paths.active / "carry.bin").read_bytes()
    assert data[8:72].hex() == LAYOUT + "2" * 64
    assert struct.unpack_from("<4I", data, 80) == (0, 0, 16, 8)
    # The program runs: what it brought along is not wanted any more.
    kinds = [
        json.loads(path.read_text())["kind"] for path in guest.paths.packages.glob("*/about.json")
    ]
    assert sorted(kinds) == ["config", "program"]


def _row(path: str, offset: int) -> dict[str, Any]:
    return {"path": path, "type": "LINT", "area": "arena", "offset": offset, "bit": None, "size": 8}


def test_of_another_layout_that_nobody_describes_nothing_is_planned(guest: Guest) -> None:
    assert guest.deliver("retain", {"retain.bin": retained(7)})["how"] == "given"
    newer = {"layout_hash": "2" * 64, "symbols": []}
    answer = guest.deliver(
        "program", {"program.so": b"", "symbols.json": json.dumps(newer).encode()}
    )
    assert answer["ok"] and "carry" not in answer
    assert not (guest.paths.active / "carry.bin").exists()
