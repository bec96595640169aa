"""Where the gateway may go, and how much at once."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from .errors import BadRequest, OutsideCells, TargetTimeout, TooBusy

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Cells:
    """The registered cells' networks, from a file that is read again when it changes.

    The file holds a JSON list of CIDRs. A gateway needs no database and no credentials for it; a
    file that is missing means: nowhere.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._networks: tuple[Network, ...] = ()

    def networks(self) -> tuple[Network, ...]:
        """The networks as of now; an unreadable file leaves what was known."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._networks = None, ()
            return self._networks
        if (stamp := (stat.st_mtime_ns, stat.st_size)) != self._stamp:
            try:
                listed = json.loads(self._path.read_text(encoding="utf-8"))
                self._networks = tuple(ipaddress.ip_network(entry) for entry in listed)
                self._stamp = stamp
            except ValueError:
                # Half written or wrong: an opening must never come of it, the old list stands.
                pass
        return self._networks

    def check(self, host: str) -> str:
        """Return the address if it lies in a cell. Names are refused: they could lead anywhere.

        Raises:
            BadRequest: not an IP address.
            OutsideCells: in no cell.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise BadRequest(f"host: {host!r} is not an IP address") from None
        networks = self.networks()
        if not any(address in network for network in networks):
            known = ", ".join(map(str, networks)) or "none"
            raise OutsideCells(f"host: {host} is in no registered cell (cells: {known})")
        return str(address)

    def check_range(self, first: str, last: str) -> None:
        """Raise `OutsideCells` unless both addresses lie in one and the same cell."""
        self.check(first)
        self.check(last)
        ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
        if not any(ends[0] in network and ends[1] in network for network in self.networks()):
            raise OutsideCells(f"first, last: {first} and {last} are not in one cell")


def write_cells(path: Path, cidrs: Sequence[str]) -> None:
    """Write the file that `Cells` reads, whole or not at all."""
    text = json.dumps(sorted(str(ipaddress.ip_network(cidr)) for cidr in cidrs))
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


class Slots:
    """At most `total` requests at once, at most `per_target` to one target. Nobody queues for long."""

    def __init__(self, total: int = 64, per_target: int = 4, wait_s: float = 2.0) -> None:
        self._total = asyncio.Semaphore(total)
        self._per_target = per_target
        self._targets: dict[str, tuple[asyncio.Semaphore, int]] = {}
        self._wait_s = wait_s

    @asynccontextmanager
    async def slot(self, target: str) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            TooBusy: none became free in time.
        """
        semaphore, users = self._targets.get(target, (asyncio.Semaphore(self._per_target), 0))
        self._targets[target] = (semaphore, users + 1)
        try:
            try:
                await asyncio.wait_for(semaphore.acquire(), self._wait_s)
            except TimeoutError:
                raise TooBusy(f"{target}: too many requests at once") from None
            try:
                try:
                    await asyncio.wait_for(self._total.acquire(), self._wait_s)
                except TimeoutError:
                    raise TooBusy("the gateway is at its limit of requests") from None
                try:
                    yield
                finally:
                    self._total.release()
            finally:
                semaphore.release()
        finally:
            semaphore, users = self._targets[target]
            if users == 1:
                del self._targets[target]
            else:
                self._targets[target] = (semaphore, users - 1)


async def in_time(work: Awaitable[T], target: str, timeout_s: float) -> T:
    """Await with a deadline.

    Raises:
        TargetTimeout: names the target and the limit.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        raise TargetTimeout(f"{target}: no answer within {timeout_s:g} s") from None
