"""The OPC UA part of security.toml.

    [opcua]
    anonymous_read = "why reading without signing in and without encryption is wanted here"

    [[opcua.user]]
    name = "olga"
    role = "operator"                  # observer, operator or engineer
    password = "scrypt$…"              # or certificate = "<SHA-256 of it in hex>"

    [[opcua.client]]                   # an application whose certificate is trusted
    name = "scada"
    fingerprint = "<SHA-256 in hex>"

    [[opcua.write]]
    role = "operator"
    tags = ["Main.setpoint", "Zone.*"]

Observers read; operators also write the tags of [[opcua.write]] for their role; engineers write every variable
that is neither constant nor driven by the program, and start and stop it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Self

from .passwords import parse_hash

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class PolicyError(ValueError):
    """security.toml breaks a rule; names field, value and rule."""


class Role(StrEnum):
    """What a user may do; each may what those before it may."""

    OBSERVER = "observer"
    OPERATOR = "operator"
    ENGINEER = "engineer"


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user by password hash or by the fingerprint of a certificate."""

    name: str
    role: Role
    password: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class OpcUaPolicy:
    """Users, trusted applications and writable tags."""

    anonymous_read: str = ""
    users: tuple[UserEntry, ...] = ()
    clients: tuple[str, ...] = ()
    writable: tuple[tuple[Role, str], ...] = ()

    @property
    def secured(self) -> bool:
        """Whether there is somebody for encrypted channels."""
        return bool(self.users or self.clients)

    @property
    def open(self) -> bool:
        """Whether channels without security are served, for reading."""
        return bool(self.anonymous_read)

    def user(self, name: str) -> UserEntry | None:
        """A user by name."""
        return next((user for user in self.users if user.name == name), None)

    def user_of_certificate(self, fingerprint: str) -> UserEntry | None:
        """A user by the fingerprint of a certificate."""
        return next((user for user in self.users if user.certificate == fingerprint), None)

    def may_write(self, role: Role | None, symbol: Mapping[str, Any]) -> bool:
        """Whether a role may write a variable. What the program drives, nobody writes."""
        if role is None or symbol.get("constant") or symbol.get("driven") or symbol.get("area") == "I":  # fmt: skip
            return False
        if role is Role.ENGINEER:
            return True
        path = str(symbol["path"]).lower()
        return role is Role.OPERATOR and any(
            fnmatchcase(path, pattern.lower()) for _, pattern in self.writable
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read security.toml.

        Raises:
            PolicyError: what is wrong.
        """
        try:
            data = tomllib.loads(text).get("opcua", {})
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(f"security.toml: {error}") from None
        words = data.get("anonymous_read", "")
        if not isinstance(words, str) or (words and len(words) < 10):
            raise PolicyError(
                f"security.toml: opcua.anonymous_read = {words!r}: say in words why (10 characters or more)"
            )
        users = tuple(_user(n, row) for n, row in enumerate(data.get("user", []), 1))
        names = [user.name for user in users]
        for name in names:
            if names.count(name) > 1:
                raise PolicyError(f"security.toml: opcua.user: {name!r} stands there twice")
        clients = tuple(
            _fingerprint(row.get("fingerprint"), f"security.toml: opcua.client[{n}].fingerprint")
            for n, row in enumerate(data.get("client", []), 1)
        )
        writable: list[tuple[Role, str]] = []
        for n, row in enumerate(data.get("write", []), 1):
            where = f"security.toml: opcua.write[{n}]"
            role = _role(row.get("role"), f"{where}.role")
            if role is not Role.OPERATOR:
                raise PolicyError(f"{where}.role = {role}: operator; engineers write all, observers nothing")  # fmt: skip
            tags = row.get("tags", [])
            if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
                raise PolicyError(f"{where}.tags = {tags!r}: a list of tags or patterns")
            writable += [(role, tag) for tag in tags]
        return cls(words, users, clients, tuple(writable))


def _role(value: Any, where: str) -> Role:
    try:
        return Role(value)
    except ValueError:
        raise PolicyError(f"{where} = {value!r}: one of {', '.join(Role)}") from None


def _fingerprint(value: Any, where: str) -> str:
    text = str(value or "").replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(text):
        raise PolicyError(f"{where} = {value!r}: the SHA-256 of a certificate, 64 hex digits")
    return text


def _user(number: int, row: Mapping[str, Any]) -> UserEntry:
    where = f"security.toml: opcua.user[{number}]"
    name = row.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise PolicyError(f"{where}.name = {name!r}: 1 to 64 characters")
    role = _role(row.get("role"), f"{where}.role")
    if ("password" in row) == ("certificate" in row):
        raise PolicyError(f"{where}: either password or certificate")
    if "certificate" in row:
        return UserEntry(name, role, certificate=_fingerprint(row["certificate"], f"{where}.certificate"))  # fmt: skip
    try:
        parse_hash(str(row["password"]))
    except ValueError as error:
        raise PolicyError(f"{where}.password: {error}") from None
    return UserEntry(name, role, password=str(row["password"]))
