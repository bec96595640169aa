"""Deliveries that are announced while they are looked for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
