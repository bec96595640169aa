"""A simulated guest: boots after a while, keeps files, takes program deliveries.

It plays the guest's side of the delivery contract: a bundle and a `.ready` manifest in the
inbox become a `.result` and a new `/run/vplc/status.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Sequence
from typing import Any

from millwright.hypervisor.types import ExecResult

INBOX = "/var/lib/vplc/inbox/"
STATUS = "/run/vplc/status.json"
#: Values that outlive a stop; a copy of them is taken where there are none and no program.
RETAIN = "/var/lib/vplc/retain/retain.bin"


class FakeGuest:
    """State of one guest's inside; survives a stop as its disk would.

    Set `reject_next` to a message to have the next delivery refused by the guest.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reject_next: str | None = None
        self.program: dict[str, Any] | None = None
        self.commands: list[tuple[str, ...]] = []

    def boot(self, boot_id: str) -> None:
        """Power came: volatile files are gone, the status is written anew."""
        self.files = {
            path: data for path, data in self.files.items() if not path.startswith("/run/")
        }
        self._status(boot_id)

    def _status(self, boot_id: str) -> None:
        status = {
            "boot_id": boot_id,
            "scan_pid": 1,
            "state": "run" if self.program else "no_program",
            "program": self.program,
            "scans": {},
            "overruns": {},
            "message": "",
            "start": "warm" if RETAIN in self.files else "cold",
            "retain": {"result": "kept" if RETAIN in self.files else "none"},
        }
        self.files[STATUS] = json.dumps(status).encode()

    def write(self, path: str, data: bytes) -> None:
        """A file was written through the agent; a manifest in the inbox is acted on."""
        self.files[path] = data
        if path.startswith(INBOX) and path.endswith(".ready"):
            result = self._take_over(path, data)
            with contextlib.suppress(ValueError, TypeError, KeyError):
                result["delivery"] = json.loads(data)["delivery"]
            answer = path.removesuffix(".ready") + ".result"
            self.files[answer] = json.dumps(result).encode()

    def run(self, argv: Sequence[str], stdin: bytes) -> ExecResult:
        """A command was run: it is noted, and succeeds silently."""
        self.commands.append(tuple(argv))
        return ExecResult(exit_code=0, signal=None, stdout=b"", stderr=b"")

    def _take_over(self, path: str, data: bytes) -> dict[str, object]:
        refused, self.reject_next = self.reject_next, None
        try:
            ready = json.loads(data)
            digest, size = str(ready["sha256"]), int(ready["size"])
        except (ValueError, KeyError, TypeError):
            return self._result(False, "manifest: not the JSON that was agreed")
        bundle = self.files.get(path.removesuffix(".ready") + ".bundle")
        if bundle is None:
            return self._result(False, "the bundle is missing")
        if len(bundle) != size or hashlib.sha256(bundle).hexdigest() != digest:
            return self._result(False, "the bundle is not the one announced")
        if refused is not None:
            return self._result(False, refused)
        manifest = _manifest(bundle)
        if manifest.get("kind") == "retain":
            return self._given(bundle)
        if manifest.get("kind", "program") == "program":
            self.program = {
                "name": manifest.get("name", "unnamed"),
                "version": manifest.get("version", "0"),
                "sha256": digest,
            }
            boot_id = json.loads(self.files.get(STATUS, b"{}")).get("boot_id", "")
            self._status(boot_id)
        return self._result(True, "active")

    def _given(self, bundle: bytes) -> dict[str, object]:
        values = _member(bundle, "retain.bin")
        if self.files.get(RETAIN) != values:
            if RETAIN in self.files or self.program:
                return self._result(True, "it has values of its own") | {"how": "own"}
            self.files[RETAIN] = values
        return self._result(True, "they lie ready") | {"how": "given"}

    def _result(self, ok: bool, message: str) -> dict[str, object]:
        return {"ok": ok, "message": message, "active": {"program": self.program}}


def _member(bundle: bytes, name: str) -> bytes:
    """A file of the bundle; empty when a test delivers something that is no bundle."""
    try:
        with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
            member = archive.extractfile(name)
            return member.read() if member is not None else b""
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error):
        return b""


def _manifest(bundle: bytes) -> dict[str, Any]:
    """The bundle's manifest; empty when there is none."""
    try:
        loaded = json.loads(_member(bundle, "manifest.json"))
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
