"""Bundles: whatever a damaged one looks like, it is refused in words."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import BundleError, pack, unpack


def test_every_damage_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    data = pack("program", "p", "1", {"program.so": bytes(range(256)) * 8, "src/a.st": b"x"}, key)
    assert unpack(data, [key.public_key()]).manifest.name == "p"
    whole = dict(unpack(data, [key.public_key()]).files)
    refused = 0
    for place in range(len(data)):
        for damaged in (
            data[:place],
            data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :],
        ):
            try:
                # A byte that says nothing (the time in the archive's head) may differ; content may not.
                assert dict(unpack(damaged, [key.public_key()]).files) == whole
            except BundleError:
                refused += 1
    assert refused > len(data)


def test_nothing_leaves_its_folder() -> None:
    key = Ed25519PrivateKey.generate()
    with pytest.raises(BundleError):
        unpack(pack("program", "p", "1", {"../evil": b"x"}, key), [key.public_key()])
