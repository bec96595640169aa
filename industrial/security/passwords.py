"""Passwords are kept as scrypt hashes: `scrypt$n$r$p$salt$hash`, the last two in base64."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

#: 16 MiB and about 50 ms on a small machine.
_N, _R, _P = 2**14, 8, 1
_MOST = 128


def hash_password(password: str) -> str:
    """The text for security.toml.

    Raises:
        ValueError: shorter than 10 characters, or longer than 128.
    """
    if not 10 <= len(password) <= _MOST:
        raise ValueError(f"a password has 10 to {_MOST} characters")
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)
    return f"scrypt${_N}${_R}${_P}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def parse_hash(text: str) -> tuple[int, int, int, bytes, bytes]:
    """n, r, p, salt and digest.

    Raises:
        ValueError: not such a text, or one that would take more than 64 MiB.
    """
    try:
        name, n, r, p, salt, digest = text.split("$")
        numbers = int(n), int(r), int(p)
        parsed = (*numbers, base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True))  # fmt: skip
    except ValueError:
        raise ValueError("written as scrypt$n$r$p$salt$hash; `vplc trust password` makes it") from None  # fmt: skip
    if name != "scrypt" or not 128 * numbers[0] * numbers[1] <= 64 * 2**20 or len(parsed[4]) < 32:
        raise ValueError("written as scrypt$n$r$p$salt$hash, of at most 64 MiB")
    return parsed


def verify_password(password: str, text: str) -> bool:
    """Whether it is the password of a hash."""
    n, r, p, salt, digest = parse_hash(text)
    if len(password) > _MOST:
        return False
    found = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=80 * 2**20, dklen=len(digest))  # fmt: skip
    return hmac.compare_digest(found, digest)
