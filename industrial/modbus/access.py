"""Who may write what: read-only for all but the allow-list of security.toml."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


class AccessError(ValueError):
    """security.toml breaks a rule; names field, value and rule."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A client network may write an inclusive range of an area ("holding" or "coil")."""

    network: ipaddress.IPv4Network
    area: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class AccessList:
    """All grants. `anonymous_read`: the words by which a project lets OPC UA be read without sign-in."""

    grants: tuple[Grant, ...] = ()
    anonymous_read: str = ""
    users: Mapping[str, str] = field(default_factory=dict)

    def may_write(self, client: str, area: str, first: int, count: int) -> bool:
        """Whether one grant covers the whole range for this client."""
        address = ipaddress.IPv4Address(client)
        return any(
            address in grant.network
            and grant.area == area
            and grant.first <= first
            and first + count - 1 <= grant.last
            for grant in self.grants
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read security.toml.

        Raises:
            AccessError: what is wrong.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise AccessError(f"security.toml: {error}") from None
        grants = []
        for number, client in enumerate(data.get("modbus", {}).get("client", []), 1):
            where = f"security.toml: modbus.client[{number}]"
            try:
                network = ipaddress.IPv4Network(client["cidr"])
            except (KeyError, ValueError, TypeError) as error:
                raise AccessError(
                    f"{where}.cidr = {client.get('cidr')!r}: an IPv4 address or network ({error})"
                ) from None
            grants += [
                _grant(network, entry, f"{where}.write") for entry in client.get("write", [])
            ]
        words = str(data.get("opcua", {}).get("anonymous_read", ""))
        return cls(tuple(grants), words)


def _grant(network: ipaddress.IPv4Network, entry: Mapping[str, Any], where: str) -> Grant:
    area, first, last = entry.get("area"), entry.get("first"), entry.get("last")
    if area not in ("holding", "coil"):
        raise AccessError(f"{where}.area = {area!r}: holding or coil")
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < 65536):
        raise AccessError(
            f"{where}: first = {first!r}, last = {last!r}: 0 <= first <= last < 65536"
        )
    return Grant(network, area, first, last)
