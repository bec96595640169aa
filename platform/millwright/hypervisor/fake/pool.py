"""Several fake hosts that share one virtual time and know each other for migrations."""

from __future__ import annotations

from collections.abc import Iterator

from millwright.hypervisor.types import ProbeKind

from .clock import VirtualClock
from .host import FakeHypervisor

GIB = 2**30


class FakePool:
    """All fake hosts of one site.

    Args:
        site: the mark on what is made here.
        clock: virtual time; tests advance it.
    """

    def __init__(self, site: str = "mw0", clock: VirtualClock | None = None) -> None:
        self.site = site
        self.clock = clock or VirtualClock()
        self._hosts: dict[str, FakeHypervisor] = {}

    def add_host(
        self,
        name: str,
        *,
        cpus: int = 8,
        threads_per_core: int = 1,
        numa_nodes: int = 1,
        memory_bytes: int = 32 * GIB,
        pool_bytes: int = 1024 * GIB,
        boot_s: float = 5.0,
        abilities: frozenset[ProbeKind] = frozenset(ProbeKind),
    ) -> FakeHypervisor:
        """Make a host. `abilities` are the probes that it will pass.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._hosts:
            raise ValueError(f"name = {name!r}: a host of that name exists")
        host = FakeHypervisor(
            name,
            site=self.site,
            clock=self.clock,
            cpus=cpus,
            threads_per_core=threads_per_core,
            numa_nodes=numa_nodes,
            memory_bytes=memory_bytes,
            pool_bytes=pool_bytes,
            boot_s=boot_s,
            abilities=abilities,
        )
        self._hosts[name] = host
        return host

    def host(self, name: str) -> FakeHypervisor:
        """The host of that name.

        Raises:
            KeyError: there is none.
        """
        return self._hosts[name]

    def __iter__(self) -> Iterator[FakeHypervisor]:
        return iter(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)
