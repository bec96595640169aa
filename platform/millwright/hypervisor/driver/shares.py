"""Parts of the host, given to running domains: CPU weight and quota by libvirt's scheduler parameters, balloon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.errors import Conflict, Unsupported
from millwright.hypervisor.rules import check_share
from millwright.hypervisor.types import Share

from .base import Base
from .deadline import Deadline

#: Microseconds over which a quota counts. Short, so that a throttled guest does not stand still for long.
PERIOD_US = 100_000
KIB = 1024
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


class ShareVerbs(Base):
    """`set_share` and `share`."""

    def set_share(self, uuid: UUID, share: Share, *, deadline_s: float | None = None) -> Share:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> Share:
            domain = self._running(conn, uuid)
            check_share(
                share,
                memory_bytes=domain.maxMemory() * KIB,
                balloon=_has_balloon(domain),
                host=self.name,
            )
            quota = -1 if share.cpu_quota is None else round(share.cpu_quota * PERIOD_US)
            wanted = {
                "cpu_shares": share.cpu_weight,
                "global_period": PERIOD_US,
                "global_quota": quota,
            }
            with self._weighed():
                domain.setSchedulerParametersFlags(wanted, _LIVE)
            if share.memory_bytes is not None:
                domain.setMemoryFlags(share.memory_bytes // KIB, _LIVE)
            return self._read(domain)

        return self._call("set_share", deadline_s, work)

    def share(self, uuid: UUID, *, deadline_s: float | None = None) -> Share:
        """See the port."""
        return self._call(
            "share", deadline_s, lambda conn, _: self._read(self._running(conn, uuid))
        )

    def _running(self, conn: libvirt.virConnect, uuid: UUID) -> libvirt.virDomain:
        domain = self._owned(conn, uuid)
        if not domain.isActive():
            raise Conflict(f"domain {domain.name()!r} is off", host=self.name)
        return domain

    def _read(self, domain: libvirt.virDomain) -> Share:
        with self._weighed():
            found = domain.schedulerParametersFlags(_LIVE)
        quota, period = found.get("global_quota", -1), found.get("global_period") or PERIOD_US
        # Without a limit libvirt says -1 or the largest number that there is.
        limited = 0 < quota < 2**43
        actual = domain.memoryStats().get("actual") if _has_balloon(domain) else None
        return Share(
            int(found.get("cpu_shares", 0)),
            quota / period if limited else None,
            None if actual is None else actual * KIB,
        )

    @contextlib.contextmanager
    def _weighed(self) -> Iterator[None]:
        """libvirt has several words for a host whose guests cannot be weighed."""
        try:
            yield
        except libvirt.libvirtError as error:
            if "cgroup" not in str(error).lower():
                raise
            raise Unsupported(
                f"the host has no CPU controller for its guests: {error}", host=self.name
            ) from error


def _has_balloon(domain: libvirt.virDomain) -> bool:
    root = ET.fromstring(domain.XMLDesc())  # noqa: S314 - the host's own answer, over an authenticated channel
    balloon = root.find("devices/memballoon")
    return balloon is not None and balloon.get("model") != "none"
