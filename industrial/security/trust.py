"""Certificates of applications: trusted ones, rejected ones, and one-time tokens that make one trusted."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography import x509

#: Rejected certificates that are kept: an attacker must not fill the disk.
MAX_REJECTED = 50
TOKEN_LASTS_S = 600


def fingerprint_of(der: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(der).hexdigest()


class TrustStore:
    """A folder with `trusted/` and `rejected/` (DER, named by fingerprint) and `token.json`."""

    def __init__(self, folder: Path, named: Iterable[str] = ()) -> None:
        self.folder = folder
        self._named = set(named)

    def _path(self, kind: str, fingerprint: str) -> Path:
        return self.folder / kind / f"{fingerprint}.der"

    def is_trusted(self, der: bytes) -> bool:
        """Whether security.toml names it, or a person has trusted it here."""
        fingerprint = fingerprint_of(der)
        return fingerprint in self._named or self._path("trusted", fingerprint).exists()

    def reject(self, der: bytes) -> str:
        """Keep it for a person to look at; returns its fingerprint."""
        fingerprint = fingerprint_of(der)
        folder = self.folder / "rejected"
        folder.mkdir(parents=True, exist_ok=True)
        path = self._path("rejected", fingerprint)
        if not path.exists() and len(list(folder.glob("*.der"))) < MAX_REJECTED:
            path.write_bytes(der)
        return fingerprint

    def trust(self, fingerprint: str) -> None:
        """Trust a rejected certificate.

        Raises:
            KeyError: none is rejected with that fingerprint.
        """
        source = self._path("rejected", fingerprint)
        if not source.exists():
            raise KeyError(fingerprint)
        target = self._path("trusted", fingerprint)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)

    def trust_certificate(self, der: bytes) -> str:
        """Trust a certificate that is at hand."""
        fingerprint = fingerprint_of(der)
        target = self._path("trusted", fingerprint)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(der)
        self._path("rejected", fingerprint).unlink(missing_ok=True)
        return fingerprint

    def remove(self, fingerprint: str) -> None:
        """Forget a certificate, trusted or rejected.

        Raises:
            KeyError: neither.
        """
        found = [path for kind in ("trusted", "rejected") if (path := self._path(kind, fingerprint)).exists()]  # fmt: skip
        if not found:
            raise KeyError(fingerprint)
        for path in found:
            path.unlink()

    def rows(self) -> list[dict[str, Any]]:
        """All certificates, for people."""
        rows: list[dict[str, Any]] = [
            {"state": "named", "fingerprint": fingerprint, "subject": "", "ends": ""}
            for fingerprint in sorted(self._named)
        ]
        for kind in ("trusted", "rejected"):
            for path in sorted((self.folder / kind).glob("*.der")):
                try:
                    found = x509.load_der_x509_certificate(path.read_bytes())
                    subject, ends = (
                        found.subject.rfc4514_string(),
                        f"{found.not_valid_after_utc:%F}",
                    )
                except (OSError, ValueError):
                    subject, ends = "not readable", ""
                rows.append({"state": kind, "fingerprint": path.stem, "subject": subject, "ends": ends})  # fmt: skip
        return rows

    # --- one-time tokens ------------------------------------------------------------------------------

    def make_token(self) -> str:
        """A token with which one unknown application may sign in, once, within ten minutes, and is trusted then."""
        token = secrets.token_urlsafe(18)
        self.folder.mkdir(parents=True, exist_ok=True)
        data = {"sha256": hashlib.sha256(token.encode()).hexdigest(), "until": time.time() + TOKEN_LASTS_S}  # fmt: skip
        path = self.folder / "token.json"
        scratch = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(data, file)
        scratch.rename(path)
        return token

    def use_token(self, token: str) -> bool:
        """Whether a token is right; it is gone then. A wrong one ends it as well: there is no guessing."""
        path = self.folder / "token.json"
        try:
            data = json.loads(path.read_text())
            path.unlink()
        except (OSError, ValueError):
            return False
        digest = hashlib.sha256(token.encode()).hexdigest()
        return time.time() < float(data["until"]) and hmac.compare_digest(digest, data["sha256"])
