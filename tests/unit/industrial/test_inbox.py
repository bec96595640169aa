"""Deliveries that are announced while they are looked for."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from industrial.runtime.inbox import ANNOUNCING_S, Inbox
from industrial.runtime.paths import Paths


def test_an_announcement_that_is_being_written_is_left_until_it_is_whole(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    inbox = Inbox(paths, [Ed25519PrivateKey.generate().public_key()])
    ready = paths.inbox / "abc.ready"
    for text in ("", '{"sha256": "abc", "si'):
        ready.write_text(text)
        assert inbox.take_all() == []
        assert not ready.with_suffix(".result").exists()
    # One that was never finished is answered in the end.
    long_ago = time.time() - 2 * ANNOUNCING_S
    os.utime(ready, (long_ago, long_ago))
    assert inbox.take_all() == []
    assert json.loads(ready.with_suffix(".result").read_text())["ok"] is False


def test_what_was_there_before_can_be_delivered_again(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    inbox = Inbox(paths, [key.public_key()])
    first, second = (
        pack(
            "config", "line", version, {"security.toml": f"format = 1\n# {version}\n".encode()}, key
        )
        for version in ("1", "2")
    )

    def deliver(bundle: bytes, delivery: str, **more: str) -> dict[str, object]:
        digest = hashlib.sha256(bundle).hexdigest()
        announced = {"sha256": digest, "size": len(bundle), "delivery": delivery, **more}
        (paths.inbox / f"{digest}.bundle").write_bytes(bundle)
        (paths.inbox / f"{digest}.ready").write_text(json.dumps(announced))
        assert inbox.waiting()
        inbox.take_all()
        assert not inbox.waiting()
        answer = json.loads((paths.inbox / f"{digest}.result").read_text())
        assert answer["ok"] and answer["delivery"] == delivery
        assert not (paths.inbox / f"{digest}.bundle").exists()
        return dict(answer)

    def counts() -> str:
        return (paths.config / "security.toml").read_text().split()[-1]

    for bundle, delivery, version in (
        (first, "a", "1"),
        (second, "b", "2"),
        (first, "c", "1"),
        (second, "d", "2"),
    ):
        assert "already" not in str(deliver(bundle, delivery)["message"])
        assert counts() == version
    # What is in force is not taken over anew.
    assert "already" in str(deliver(second, "e")["message"])
    assert counts() == "2"
