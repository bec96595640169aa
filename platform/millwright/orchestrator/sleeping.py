"""Hosts that sleep: the store's part, and the orders that put them to sleep and wake them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from millwright.core.lifecycle import HostPower, may_follow
from millwright.environments.history import transition
from millwright.environments.models import Operation
from millwright.inventory.models import Host
from millwright.inventory.power import change_power, wake_s, why_not_asleep
from millwright.operations import FenceRefused, Hypervisors, StepFailed

from .facts import read_host

#: A host's own alarm rings after this long where nobody said until when it shall sleep: none sleeps for ever.
LONGEST_S = 24 * 3600
#: The least that a host's alarm can be set to.
SHORTEST_S = 60
#: Where a magic packet goes: the discard service's port, which nobody listens to.
WAKE_PORT = 9
ROUTES = Path("/proc/net/route")


class PowerStore:
    """Mixed into `DjangoStore`. Each method is one transaction."""

    def power(self, host: str) -> HostPower:
        found = Host.objects.filter(name=host).values_list("power", flat=True).first()
        if found is None:
            raise StepFailed(f"host {host!r} is not in the inventory")
        return HostPower(found)

    @transaction.atomic
    def let_sleep(self, operation_id: UUID, host: str) -> None:
        # Placements and moves hold every host's row while they claim: nothing comes between.
        row = Host.objects.select_for_update().filter(name=host).first()
        if row is None:
            raise StepFailed(f"host {host!r} is not in the inventory")
        if row.power == HostPower.FALLING_ASLEEP:
            return
        operation = Operation.objects.get(pk=operation_id)
        drained = bool(operation.payload.get("drained"))
        if why := why_not_asleep(row, but=operation_id, drained=drained):
            raise StepFailed(why)
        until = str(operation.payload.get("until") or "")
        transition(
            row,
            "host_power",
            HostPower.FALLING_ASLEEP,
            field="power",
            cause=operation.reason,
            operation=operation_id,
            power_since=timezone.now(),
            power_until=dt.datetime.fromisoformat(until) if until else None,
            power_reason=operation.reason,
        )

    @transaction.atomic
    def set_power(self, operation_id: UUID, host: str, power: HostPower, why: str) -> None:
        row = Host.objects.select_for_update().filter(name=host).first()
        if row is None or not may_follow("host_power", row.power, power):
            return
        operation = Operation.objects.get(pk=operation_id)
        change_power(row, power, why or operation.reason, operation_id)


class Agent(Protocol):
    """A host's fence agent."""

    def off(self, host: str) -> str: ...
    def on(self, host: str) -> str: ...


def magic_packet(mac: str) -> bytes:
    """What a network card that listens for it wakes its host by: six times 0xff, and its address sixteen times."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def broadcast_of(address: str | None, routes: str) -> str:
    """The broadcast address of the network of this machine in which the address lies; else that of all.

    `routes`: the kernel's table (`/proc/net/route`).
    """
    if address is None or ":" in address:
        return "255.255.255.255"
    wanted = ipaddress.IPv4Address(address)
    best: ipaddress.IPv4Network | None = None
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or int(fields[2], 16):
            # Behind a gateway: what is broadcast there does not get through.
            continue
        base, mask = (socket.inet_ntoa(struct.pack("<I", int(fields[at], 16))) for at in (1, 7))
        network = ipaddress.IPv4Network(f"{base}/{mask}", strict=False)
        if (
            wanted in network
            and network.prefixlen
            and (best is None or network.prefixlen > best.prefixlen)
        ):
            best = network
    return str(best.broadcast_address) if best is not None else "255.255.255.255"


def send_broadcast(data: bytes, address: str) -> None:
    """One datagram to everybody there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(data, (address, WAKE_PORT))


class HostSleeper:
    """Keeps the contract of `millwright.operations.Sleeper`, by the hosts' policies."""

    def __init__(
        self,
        hosts: Hypervisors,
        agent: Agent,
        send: Callable[[bytes, str], None] = send_broadcast,
    ) -> None:
        self._hosts, self._agent, self._send = hosts, agent, send

    def sleep(self, host: str, until: dt.datetime | None) -> str:
        row = self._row(host)
        if row.policy["sleep"]["by"] == "agent":
            return self._agent.off(host)
        seconds = LONGEST_S
        if until is not None:
            left = (until - timezone.now()).total_seconds() - wake_s(row)
            seconds = int(min(LONGEST_S, max(SHORTEST_S, left)))
        self._hosts.get(host).suspend(wake_after_s=seconds)
        return f"{host} was told to sleep; its own alarm wakes it in {seconds // 60} minutes"

    def wake(self, host: str) -> str:
        row = self._row(host)
        told = row.policy["sleep"]
        if told["wake"] == "agent":
            return self._agent.on(host)
        where = told.get("address") or broadcast_of(row.address, _routes())
        try:
            self._send(magic_packet(told["mac"]), where)
        except OSError as error:
            raise FenceRefused(f"magic packet to {where}: {error}") from error
        return f"magic packet for {told['mac']} to {where}"

    def wake_s(self, host: str) -> int:
        row = Host.objects.filter(name=host).first()
        return wake_s(row) if row is not None else SHORTEST_S

    def read(self, host: str) -> None:
        read_host(self._hosts.get(host), host, timezone.now())

    def _row(self, host: str) -> Host:
        row = Host.objects.filter(name=host).first()
        # What its policy forbids by now may still be woken.
        if row is None or not (row.policy.get("sleep") or {}).get("by"):
            raise FenceRefused(f"the policy of {host} does not say how it sleeps")
        return row


def _routes() -> str:
    try:
        return ROUTES.read_text()
    except OSError:
        return ""
