"""A real guest's disk is lost: what the guest agent read of it goes into another one with a new disk."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from millwright.orchestrator.retaining import PATH

from industrial.package import pack
from industrial.runtime.delivery import Source
from industrial.runtime.retained import read_retained
from tests.integration.vmtemplates.test_boot import image
from tests.support.guest import Guest, modbus_answers
from tests.support.lab import need_root

#: Shows in its first register how often it was started, which is what it retains.
SOURCE = """PROGRAM Main
VAR RETAIN starts : INT; END_VAR
VAR seen AT %QW0 : INT; once : BOOL; END_VAR
IF NOT once THEN starts := starts + 1; once := TRUE; END_IF;
seen := starts;
END_PROGRAM
"""
TOML = 'format = 1\nname = "press"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 20000\nprograms = ["Main"]\n'
KEY = Ed25519PrivateKey.generate()


def _guest(folder: Path) -> Guest:
    folder.mkdir()
    public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Guest(
        image("vplc"), folder, memory_mib=512, ports=(502,), disk_size="3G",
        credentials={
            "vplc.trust": json.dumps([base64.b64encode(public).decode()]),
            "vplc.identity": "{}",
        },
        cmdline=f"systemd.machine_id={'0123456789abcdef' * 2} systemd.hostname=guest",
    )  # fmt: skip


def _deliver(guest: Guest, bundle: bytes) -> dict[str, Any]:
    base = f"/var/lib/vplc/inbox/{hashlib.sha256(bundle).hexdigest()}"
    guest.write(f"{base}.bundle", bundle)
    ready = {"sha256": base[-64:], "size": len(bundle), "delivery": "1"}
    guest.write(f"{base}.ready", json.dumps(ready).encode())
    answer = guest.until(lambda: guest.read(f"{base}.result"), limit_s=900)
    return dict(json.loads(answer))


def _starts(guest: Guest) -> int:
    """What the program shows, once it scans."""

    def shown() -> int:
        body = modbus_answers(guest.ports[502])
        return int.from_bytes(body[2:4], "big") if body[:1] == b"\x03" else 0

    return int(guest.until(shown, limit_s=900))


@pytest.mark.lab
@pytest.mark.vplc_guest
@pytest.mark.full
def test_a_controller_on_a_new_disk_goes_on_with_what_the_lost_one_retained(tmp_path: Path) -> None:
    need_root()
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src/main.st").write_text(SOURCE)
    (project / "vplc.toml").write_text(TOML)
    program = Source.read(project).bundle(KEY, "gcc")
    lost = _guest(tmp_path / "lost")
    try:
        lost.start()
        lost.until(lambda: lost.agent("guest-ping") == {}, limit_s=900)
        assert _deliver(lost, program)["ok"]
        assert _starts(lost) == 1
        first = read_retained(lost.until(lambda: lost.read(PATH), limit_s=900)).saved_ns
        # A save that began after the first scan, and one more.
        lost.until(lambda: read_retained(lost.read(PATH)).saved_ns > first, limit_s=900)
        copy = lost.read(PATH)
    finally:
        lost.kill()
    lost.disk.unlink()
    again = _guest(tmp_path / "again")
    try:
        again.start()
        again.until(lambda: again.agent("guest-ping") == {}, limit_s=900)
        given = _deliver(again, pack("retain", "press", "1", {"retain.bin": copy}, KEY))
        assert (given["ok"], given["how"]) == (True, "given")
        assert _deliver(again, program)["ok"]
        assert _starts(again) == 2

        def told() -> Any:
            status = json.loads(again.read("/run/vplc/status.json"))
            return status if status["program"] else None

        status = again.until(told, limit_s=900)
        assert (status["start"], status["retain"]["result"]) == ("warm", "kept")
        assert (
            _deliver(again, pack("retain", "press", "2", {"retain.bin": copy}, KEY))["how"] == "own"
        )
    finally:
        again.kill()
