"""Who may write what: read-only for all but the allow-list of security.toml.

[[modbus.client]]                  # by address, at the port without TLS
name = "scada"
cidr = "10.0.0.5/32"
[[modbus.client.write]]
area = "holding"                   # or "coil"
first = 3
last = 3
functions = [6, 16]                # of 5, 6, 15, 16, 22, 23; all where it is absent

[modbus.tls]                       # Modbus/TCP Security
authorities = '''-----BEGIN CERTIFICATE-----…'''     # of the clients' certificates, or those themselves

[[modbus.role]]                    # by the role in the client's certificate
name = "operator"
functions = [1, 2, 3, 4, 43]       # it may read with; these where it is absent
[[modbus.role.write]]              # as above
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

READING = frozenset([1, 2, 3, 4, 43])
WRITING = {"coil": frozenset([5, 15]), "holding": frozenset([6, 16, 22, 23])}
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AccessError(ValueError):
    """security.toml breaks a rule; names field, value and rule."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sends requests: an address, and over TLS the role of the certificate ("" is none)."""

    address: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A client network, or a role, may write an inclusive range of an area with these functions."""

    who: _Network | str
    area: str
    first: int
    last: int
    functions: frozenset[int]


@dataclass(frozen=True, slots=True)
class AccessList:
    """All grants. `clients`: networks with a name; `roles`: functions that a role may read with."""

    grants: tuple[Grant, ...] = ()
    clients: tuple[_Network, ...] = ()
    roles: Mapping[str, frozenset[int]] = field(default_factory=dict)
    authorities: str = ""

    def knows(self, address: str) -> bool:
        """Whether a client of this address is named: it is served first when connections run short."""
        return any(_inside(address, network) for network in self.clients)

    def may_read(self, peer: Peer, function: int) -> bool:
        """Whether a function that reads is answered: always without TLS; over TLS the role decides."""
        return peer.role is None or function in self.roles.get(peer.role, ())

    def may_write(self, peer: Peer, function: int, area: str, first: int, count: int) -> bool:
        """Whether one grant covers function and whole range for this client."""
        return any(
            grant.area == area
            and grant.first <= first
            and first + count - 1 <= grant.last
            and function in grant.functions
            for grant in self.grants
            if _is(grant.who, peer)
        )

    def writes_at_all(self, peer: Peer, function: int) -> bool:
        """Whether this client may use a writing function anywhere."""
        return any(function in grant.functions for grant in self.grants if _is(grant.who, peer))

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
        modbus = data.get("modbus", {})
        grants: list[Grant] = []
        clients: list[_Network] = []
        for number, client in enumerate(modbus.get("client", []), 1):
            where = f"security.toml: modbus.client[{number}]"
            try:
                network = ipaddress.ip_network(client["cidr"])
            except (KeyError, ValueError, TypeError) as error:
                raise AccessError(
                    f"{where}.cidr = {client.get('cidr')!r}: an address or network ({error})"
                ) from None
            clients.append(network)
            grants += [_grant(network, row, f"{where}.write") for row in client.get("write", [])]
        roles: dict[str, frozenset[int]] = {}
        for number, row in enumerate(modbus.get("role", []), 1):
            where = f"security.toml: modbus.role[{number}]"
            name = row.get("name")
            if not isinstance(name, str) or not 1 <= len(name) <= 64 or name in roles:
                raise AccessError(f"{where}.name = {name!r}: 1 to 64 characters, and once")
            roles[name] = _functions(row, READING, where)
            grants += [_grant(name, entry, f"{where}.write") for entry in row.get("write", [])]
        authorities = modbus.get("tls", {}).get("authorities", "")
        if authorities and (
            not isinstance(authorities, str) or "BEGIN CERTIFICATE" not in authorities
        ):
            raise AccessError("security.toml: modbus.tls.authorities: certificates in PEM")
        if roles and not authorities:
            raise AccessError("security.toml: modbus.role: wants modbus.tls.authorities")
        return cls(tuple(grants), tuple(clients), roles, authorities)


def _inside(address: str, network: _Network) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in network


def _is(who: _Network | str, peer: Peer) -> bool:
    if isinstance(who, str):
        return peer.role == who
    # Over TLS a client is its certificate, wherever it sits.
    return peer.role is None and _inside(peer.address, who)


def _functions(row: Mapping[str, Any], known: frozenset[int], where: str) -> frozenset[int]:
    value = row.get("functions")
    if value is None:
        return known
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(map(str, known)):
        raise AccessError(f"{where}.functions = {value!r}: of {', '.join(map(str, sorted(known)))}")
    return frozenset(map(int, value))


def _grant(who: _Network | str, entry: Mapping[str, Any], where: str) -> Grant:
    area, first, last = entry.get("area"), entry.get("first"), entry.get("last")
    if area not in WRITING:
        raise AccessError(f"{where}.area = {area!r}: holding or coil")
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < 65536):
        raise AccessError(
            f"{where}: first = {first!r}, last = {last!r}: 0 <= first <= last < 65536"
        )
    return Grant(who, area, first, last, _functions(entry, WRITING[area], where))
