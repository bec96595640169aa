"""How a migration's data goes: by the two hosts' relays where they have one, else by QEMU's own TLS.

Encrypted both ways; the relays' is faster, see `docs/adr/0012-a-relay-carries-moves.md`.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

import libvirt

from millwright.hypervisor.types import MigrationSpec, Way
from millwright.relay import Passage, RelayError, open_passage
from millwright.relay.client import Door

from .calls import expendable
from .connection import HostAddress
from .handshake import context_of

#: For each answer of a relay; a host without one refuses at once.
ANSWER_S = 3.0
#: How long a host is not asked again whose relay did not answer in time.
SILENT_S = 300.0
LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)
_silent: dict[tuple[str, str], float] = {}


def passage_between(
    source: HostAddress, destination: HostAddress, spec: MigrationSpec
) -> Future[Passage | None]:
    """Begin to have a passage; its result is None where there is none. Never raises."""
    return expendable(f"passage-{source.name}", lambda: _passage(source, destination, spec))


def _passage(source: HostAddress, destination: HostAddress, spec: MigrationSpec) -> Passage | None:
    parts = [urlsplit(address.uri) for address in (source, destination)]
    if not spec.tls or any(not part.scheme.endswith("+tls") or not part.hostname for part in parts):
        return None
    hosts = [part.hostname or "" for part in parts]
    pair, now = (hosts[0], hosts[1]), time.monotonic()
    if _silent.get(pair, 0.0) > now:
        return None
    try:
        doors = [
            Door(host, context_of(address.uri))
            for host, address in zip(hosts, (source, destination), strict=True)
        ]
        return open_passage(
            *doors,
            data_host=destination.data_host or hosts[1],
            count=2 if spec.copy_storage else 1,
            timeout_s=ANSWER_S,
        )
    except (RelayError, OSError, ssl.SSLError) as error:
        log.info("%s → %s without relays: %s", source.name, destination.name, error)
        if time.monotonic() - now >= ANSWER_S:
            _silent[pair] = time.monotonic() + SILENT_S
        return None


def ways(
    passage: Passage | None, parameters: dict[str, Any], data_uri: str | None, *, tls: bool
) -> int:
    """Fill in where the data goes; returns the flags that belong to it."""
    if passage is None:
        if data_uri is not None:
            parameters[libvirt.VIR_MIGRATE_PARAM_URI] = data_uri
        return libvirt.VIR_MIGRATE_TLS if tls else 0
    memory, *disks = passage.ports
    parameters[libvirt.VIR_MIGRATE_PARAM_URI] = f"tcp://{LOOPBACK}:{memory}"
    parameters[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = LOOPBACK
    if disks:
        parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_PORT] = disks[0]
    return 0


def way_of(passage: Passage | None, *, tls: bool) -> Way:
    """Who encrypted what went by these ways."""
    if passage is not None:
        return Way.RELAYS
    return Way.QEMU if tls else Way.OPEN


def leave(asked: Future[Passage | None]) -> None:
    """Close the passage, now or as soon as there is one."""
    with contextlib.suppress(Exception):
        if (passage := asked.result()) is not None:
            passage.close()
