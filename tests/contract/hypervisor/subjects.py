"""Hosts the contract is tried on: the fake, libvirt's test driver, a real host."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from millwright.hypervisor import (
    Accel,
    Capability,
    DirectBoot,
    DiskSpec,
    DomainSpec,
    Hypervisor,
    HypervisorError,
    Metadata,
    NetworkSpec,
    NicSpec,
    ServiceClass,
    UploadSource,
    VcpuRole,
    VcpuSpec,
    VolumeOwner,
)

MIB = 2**20
_numbers = itertools.count(1)


def source(path: Path) -> UploadSource:
    """What is announced of a local file."""
    data = path.read_bytes()
    return UploadSource(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


@dataclass
class Subject:
    """One host under test, with what the suite needs to know of it.

    `kernel` and `initrd` are local files; `sleep` waits (virtually on the fake);
    `make_foreign_domain` makes a domain that carries no mark; `remote_domain_xml` is unused on
    the fake. All that a test makes through `tracked` is removed at its end.
    """

    hypervisor: Hypervisor
    kernel: Path
    initrd: Path
    bridge: str
    sleep: Callable[[float], None]
    make_foreign_domain: Callable[[str], UUID]
    remove_foreign_domain: Callable[[UUID], None]
    add_foreign_volume: Callable[[str], None] | None = None
    leave_partial_upload: Callable[[str, str], None] | None = None
    boot_marker: str = ""
    has_agent: bool = True
    pool: str = "default"
    cmdline: str = "console=ttyS0 quiet"
    boot_limit_s: float = 300.0
    _domains: list[UUID] = field(default_factory=list)
    _volumes: list[str] = field(default_factory=list)
    _filters: list[str] = field(default_factory=list)
    _networks: list[str] = field(default_factory=list)

    def can(self, *capabilities: Capability) -> bool:
        """Whether the host's driver has all of these."""
        return set(capabilities) <= self.hypervisor.capabilities

    def unique(self, prefix: str) -> str:
        """A name no other test uses."""
        return f"{prefix}-{next(_numbers)}-{uuid4().hex[:6]}"

    # --- things that are removed at the end -------------------------------------------------

    def domain(self, uuid: UUID) -> UUID:
        self._domains.append(uuid)
        return uuid

    def volume(self, prefix: str) -> str:
        self._volumes.append(self.unique(prefix))
        return self._volumes[-1]

    def filter(self) -> str:
        self._filters.append(self.unique("mw-f"))
        return self._filters[-1]

    def network(self) -> str:
        self._networks.append(self.unique("mw-n"))
        return self._networks[-1]

    def clean(self) -> None:
        """Take away what the test made, newest first; a failure here is a test failure."""
        host = self.hypervisor
        for uuid in reversed(self._domains):
            host.destroy(uuid)
            host.undefine(uuid)
        for name in reversed(self._volumes):
            host.remove_volume(self.pool, name)
        for name in self._filters:
            host.remove_filter(name)
        for name in self._networks:
            host.remove_network(name)
        for made in (self._domains, self._volumes, self._filters, self._networks):
            made.clear()

    # --- building ---------------------------------------------------------------------------

    def boot_files(self) -> DirectBoot:
        """Kernel and initrd in the host's pool; paths only where nothing can be uploaded."""
        if not self.can(Capability.UPLOAD):
            return DirectBoot(kernel="/none/kernel", initrd="/none/initrd")
        paths = []
        for kind, file in (("kernel", self.kernel), ("initrd", self.initrd)):
            given = source(file)
            name = f"contract-{kind}-{given.sha256[:16]}"
            paths.append(self.hypervisor.upload_volume(self.pool, name, given).path)
        return DirectBoot(kernel=paths[0], initrd=paths[1], cmdline=self.cmdline)

    def spec(self, **changes: object) -> DomainSpec:
        """A small machine; tracked, so that it is removed at the end."""
        uuid = uuid4()
        values: dict[str, object] = {
            "uuid": uuid,
            "name": f"mw-contract-{uuid.hex[:10]}",
            "metadata": self.mark(uuid),
            "service_class": ServiceClass.SHARED,
            "accel": Accel.EMULATION,
            "memory_bytes": 192 * MIB,
            "vcpus": (VcpuSpec(),),
            "agent": self.has_agent,
        }
        values.update(changes)
        if "boot" not in values:
            values["boot"] = self.boot_files()
        spec = DomainSpec(**values)  # type: ignore[arg-type]
        self.domain(spec.uuid)
        return spec

    def mark(self, uuid: UUID, generation: int = 1, site: str | None = None) -> Metadata:
        return Metadata(
            site=site or self.hypervisor.site,
            environment="contract",
            machine=str(uuid),
            operation="test",
            generation=generation,
        )

    def owner(self, uuid: UUID, generation: int = 1) -> VolumeOwner:
        return VolumeOwner(site=self.hypervisor.site, machine=str(uuid), generation=generation)

    def full_spec(self, image: Path) -> DomainSpec:
        """A realtime machine with disk, nic and filter."""
        uuid = uuid4()
        host = self.hypervisor
        base, disk = self.volume("base"), self.volume("disk")
        host.upload_volume(self.pool, base, source(image))
        overlay = host.ensure_overlay(
            self.pool, disk, base=base, capacity_bytes=16 * MIB, owner=self.owner(uuid)
        )
        self._volumes.remove(base)  # last made, first removed
        self._volumes.insert(0, base)
        network, filter_name = self.network(), self.filter()
        host.ensure_network(NetworkSpec(name=network, bridge=self.bridge))
        from millwright.hypervisor import FilterSpec

        host.ensure_filter(FilterSpec(name=filter_name))
        return self.spec(
            uuid=uuid,
            metadata=self.mark(uuid),
            service_class=ServiceClass.REALTIME,
            vcpus=(
                VcpuSpec(cpus=frozenset({0})),
                VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({1})),
            ),
            emulator_cpus=frozenset({0}),
            iothreads=1,
            disks=(DiskSpec(path=overlay.path),),
            nics=(
                NicSpec(
                    network=network,
                    mac="52:54:00:ab:00:01",
                    address="198.51.100.10",
                    filter=filter_name,
                ),
            ),
        )

    def until(self, what: str, check: Callable[[], object], limit_s: float | None = None) -> None:
        """Wait until `check` neither raises one of our errors nor returns False."""
        waited, limit = 0.0, limit_s or self.boot_limit_s
        last: object = None
        end = time.monotonic() + limit
        while waited < limit and time.monotonic() < end:
            try:
                if check() is not False:
                    return
                last = "not yet"
            except HypervisorError as error:
                last = error
            self.sleep(0.5)
            waited += 0.5 if self.sleep is not time.sleep else 0.0
        raise AssertionError(f"{what}: not within {limit} s; last: {last!r}")
