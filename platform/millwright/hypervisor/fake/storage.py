"""The fake's pools, volumes, networks and filters."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from millwright.hypervisor.errors import Conflict, InvalidSpec, NotFound
from millwright.hypervisor.filters import check_filter
from millwright.hypervisor.port import Progress
from millwright.hypervisor.rules import (
    ACTIVE,
    check_aside,
    check_image,
    check_network,
    check_overlay,
    check_removable,
    check_space,
    is_earlier_overlay,
)
from millwright.hypervisor.types import (
    FilterSpec,
    NetworkSpec,
    PoolInfo,
    UploadSource,
    VolumeFormat,
    VolumeInfo,
    VolumeOwner,
)
from millwright.hypervisor.volumes import (
    by_generation,
    check_name,
    is_overlay_of,
    overlay_name,
)

from .clock import VirtualClock
from .faults import Faults, verb
from .state import FakeDomain, FakeStore

#: What a new overlay takes (a qcow2 header and its first tables).
OVERLAY_BYTES = 196_616


class FakeStorage:
    """Storage and network verbs; mixed into `FakeHypervisor`."""

    name: str
    site: str
    clock: VirtualClock
    faults: Faults
    unreachable: bool
    frozen: bool
    _lock: threading.RLock
    _pools: dict[str, FakeStore]
    _pool_bytes: int
    _networks: dict[str, NetworkSpec]
    _filters: dict[str, object]
    _domains: dict[UUID, FakeDomain]

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(seconds)

    def _pool(self, name: str) -> FakeStore:
        pool = self._pools.get(name)
        if pool is None:
            raise NotFound(f"pool {name!r} does not exist", host=self.name)
        return pool

    @verb
    def ensure_pool(
        self, name: str, path: str | None = None, *, deadline_s: float | None = None
    ) -> PoolInfo:
        """See the port."""
        with self._lock:
            if name not in self._pools:
                if path is None:
                    raise NotFound(f"pool {name!r} does not exist", host=self.name)
                self._pools[name] = FakeStore(name, path, self._pool_bytes)
            pool = self._pools[name]
            return PoolInfo(
                name=name,
                path=pool.path,
                capacity_bytes=pool.capacity_bytes,
                allocation_bytes=pool.allocated_bytes,
                available_bytes=pool.capacity_bytes - pool.allocated_bytes,
            )

    @verb
    def refresh_pool(self, name: str, *, deadline_s: float | None = None) -> None:
        """See the port. A simulated host sees at once what others make."""
        self._pool(name)

    @verb
    def upload_volume(
        self,
        pool: str,
        name: str,
        source: UploadSource,
        *,
        format: VolumeFormat = VolumeFormat.RAW,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> VolumeInfo:
        """See the port. The file is really read and hashed."""
        with self._lock:
            store = self._pool(pool)
            present = store.volumes.get(name)
            if check_image(present, source.sha256, self.name) and present is not None:
                return present
            check_name(name)
            free = store.capacity_bytes - store.allocated_bytes
            check_space(free, source.size_bytes, pool, self.name)
            digest = hashlib.sha256()
            with source.path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
            if digest.hexdigest() != source.sha256:
                raise InvalidSpec.of(
                    "source.sha256",
                    source.sha256,
                    f"the local file has hash {digest.hexdigest()}",
                    host=self.name,
                )
            if progress is not None:
                progress(source.size_bytes, source.size_bytes)
            volume = VolumeInfo(
                pool=pool,
                name=name,
                path=f"{store.path}/{name}",
                capacity_bytes=source.size_bytes,
                allocation_bytes=source.size_bytes,
                format=format.value,
                sha256=source.sha256,
            )
            store.volumes[name] = volume
            return volume

    def leave_partial_upload(self, pool: str, name: str, size_bytes: int = 1024) -> None:
        """Handle for tests: what a killed upload leaves."""
        store = self._pool(pool)
        store.volumes[name] = VolumeInfo(
            pool=pool,
            name=name,
            path=f"{store.path}/{name}",
            capacity_bytes=size_bytes,
            allocation_bytes=size_bytes,
            format="raw",
            uploading=True,
        )

    def add_foreign_volume(self, pool: str, name: str, size_bytes: int = 1024) -> None:
        """Handle for tests: a volume that somebody else made."""
        self.leave_partial_upload(pool, name, size_bytes)
        store = self._pool(pool)
        store.volumes[name] = replace(store.volumes[name], uploading=False)

    @verb
    def volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> VolumeInfo | None:
        """See the port."""
        with self._lock:
            return self._pool(pool).volumes.get(name)

    @verb
    def volume_exists(
        self, pool: str, name: str, sha256: str | None = None, *, deadline_s: float | None = None
    ) -> bool:
        """See the port."""
        with self._lock:
            volume = self._pool(pool).volumes.get(name)
        if volume is None or not volume.present or volume.uploading:
            return False
        return sha256 is None or volume.sha256 == sha256

    @verb
    def list_volumes(self, pool: str, *, deadline_s: float | None = None) -> tuple[VolumeInfo, ...]:
        """See the port."""
        with self._lock:
            return tuple(sorted(self._pool(pool).volumes.values(), key=lambda v: v.name))

    @verb
    def ensure_overlay(
        self,
        pool: str,
        name: str,
        *,
        base: str,
        capacity_bytes: int,
        owner: VolumeOwner,
        deadline_s: float | None = None,
    ) -> VolumeInfo:
        """See the port."""
        with self._lock:
            store = self._pool(pool)
            image = store.volumes.get(base)
            if image is None or image.sha256 is None:
                raise NotFound(f"image {base!r} is not complete in pool {pool!r}", host=self.name)
            rows = by_generation(
                row for row in store.volumes.values() if is_overlay_of(row.name, name)
            )
            earlier = [row for row in rows if is_earlier_overlay(row, owner)]
            again = [row for row in earlier if not row.aside]
            active = [row for row in self._domains.values() if row.state in ACTIVE]
            for row in again:
                check_aside(row, _users(row, active), self.name)
            for row in again:
                store.volumes[row.name] = replace(row, aside=True)
            name = overlay_name(name, rows, earlier, owner)
            present = store.volumes.get(name)
            if check_overlay(present, image, owner, capacity_bytes, self.name):
                overlay = replace(store.volumes[name], owner=owner)
                store.volumes[name] = overlay
                return overlay
            check_name(name)
            free = store.capacity_bytes - store.allocated_bytes
            check_space(free, OVERLAY_BYTES, pool, self.name)
            volume = VolumeInfo(
                pool=pool,
                name=name,
                path=f"{store.path}/{name}",
                capacity_bytes=capacity_bytes,
                allocation_bytes=OVERLAY_BYTES,
                format=VolumeFormat.QCOW2.value,
                backing_path=image.path,
                owner=owner,
            )
            store.volumes[name] = volume
            return volume

    @verb
    def overlays(
        self, pool: str, name: str, *, deadline_s: float | None = None
    ) -> tuple[VolumeInfo, ...]:
        """See the port."""
        with self._lock:
            rows = self._pool(pool).volumes.values()
            return by_generation(row for row in rows if is_overlay_of(row.name, name))

    @verb
    def remove_volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            store = self._pool(pool)
            volume = store.volumes.get(name)
            if volume is None:
                return False
            users = [
                other.name for other in store.volumes.values() if other.backing_path == volume.path
            ]
            users += _users(volume, self._domains.values())
            check_removable(volume, self.site, users, self.name)
            del store.volumes[name]
            return True

    # --- networks and filters ---------------------------------------------------------------

    @verb
    def ensure_network(self, spec: NetworkSpec, *, deadline_s: float | None = None) -> None:
        """See the port."""
        check_network(spec)
        with self._lock:
            self._networks[spec.name] = spec

    @verb
    def remove_network(self, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            return self._networks.pop(name, None) is not None

    @verb
    def ensure_filter(self, spec: FilterSpec, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        check_filter(spec)
        with self._lock:
            changed = self._filters.get(spec.name) != spec
            self._filters[spec.name] = spec
            return changed

    @verb
    def remove_filter(self, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        with self._lock:
            for domain in self._domains.values():
                spec = domain.effective
                if spec is not None and any(nic.filter == name for nic in spec.nics):
                    raise Conflict(f"filter {name!r} is used by {domain.name!r}", host=self.name)
            return self._filters.pop(name, None) is not None

    def filter_spec(self, name: str) -> FilterSpec | None:
        """Handle for tests: the filter as it was set."""
        spec = self._filters.get(name)
        return spec if isinstance(spec, FilterSpec) else None


def _users(volume: VolumeInfo, domains: Iterable[FakeDomain]) -> list[str]:
    """Names of the domains that have the volume."""
    found = []
    for domain in domains:
        spec = domain.effective
        if spec is not None and volume.path in (
            spec.boot.kernel,
            spec.boot.initrd,
            *(disk.path for disk in spec.disks),
        ):
            found.append(domain.name)
    return found
