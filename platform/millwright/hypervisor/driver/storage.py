"""Pools and volumes."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.domain.parse import parse_files
from millwright.hypervisor.errors import (
    Busy,
    Conflict,
    InvalidSpec,
    NotFound,
    VerificationFailed,
)
from millwright.hypervisor.port import Progress
from millwright.hypervisor.rules import (
    check_aside,
    check_image,
    check_overlay,
    check_removable,
    check_space,
    is_earlier_overlay,
)
from millwright.hypervisor.types import (
    PoolInfo,
    UploadSource,
    VolumeFormat,
    VolumeInfo,
    VolumeOwner,
)
from millwright.hypervisor.volumes import (
    aside_marker,
    by_generation,
    check_name,
    fold,
    is_marker,
    is_overlay_of,
    overlay_name,
    owner_marker,
    read_markers,
    uploading_marker,
    verified_marker,
)

from .base import Base
from .deadline import Deadline

#: Just under the largest payload of one stream message (262,120 bytes).
CHUNK_BYTES = 256 * 1024 - 64


class StorageVerbs(Base):
    """Pool and volume verbs."""

    # --- pools ------------------------------------------------------------------------------

    def ensure_pool(
        self, name: str, path: str | None = None, *, deadline_s: float | None = None
    ) -> PoolInfo:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> PoolInfo:
            try:
                pool = conn.storagePoolLookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL or path is None:
                    raise
                root = ET.Element("pool", type="dir")
                ET.SubElement(root, "name").text = name
                ET.SubElement(ET.SubElement(root, "target"), "path").text = path
                pool = conn.storagePoolDefineXML(ET.tostring(root, encoding="unicode"))
                pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)
            if path is not None and _pool_path(pool) != path:
                raise Conflict(
                    f"pool {name!r} lies at {_pool_path(pool)}, not at {path}", host=self.name
                )
            if not pool.isActive():
                pool.create(libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
            if not pool.autostart():
                pool.setAutostart(1)
            _, capacity, allocation, available = pool.info()
            return PoolInfo(
                name=name,
                path=_pool_path(pool),
                capacity_bytes=capacity,
                allocation_bytes=allocation,
                available_bytes=available,
            )

        return self._call("ensure_pool", deadline_s, work)

    def refresh_pool(self, name: str, *, deadline_s: float | None = None) -> None:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> None:
            self._refresh(conn.storagePoolLookupByName(name), deadline)

        self._call("refresh_pool", deadline_s, work)

    # --- reading ----------------------------------------------------------------------------

    def volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> VolumeInfo | None:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> VolumeInfo | None:
            return self._volume(conn.storagePoolLookupByName(pool), name)

        return self._call("volume", deadline_s, ask)

    def volume_exists(
        self, pool: str, name: str, sha256: str | None = None, *, deadline_s: float | None = None
    ) -> bool:
        """See the port."""
        found = self.volume(pool, name, deadline_s=deadline_s)
        if found is None or not found.present or found.uploading:
            return False
        return sha256 is None or found.sha256 == sha256

    def list_volumes(self, pool: str, *, deadline_s: float | None = None) -> tuple[VolumeInfo, ...]:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> tuple[VolumeInfo, ...]:
            handle = conn.storagePoolLookupByName(pool)
            volumes = []
            for volume in handle.listAllVolumes():
                with contextlib.suppress(_Gone):
                    volumes.append(_describe(volume, pool))
            return fold(volumes, pool, _pool_path(handle))

        return self._call("list_volumes", deadline_s, ask)

    def _volume(self, pool: libvirt.virStoragePool, name: str) -> VolumeInfo | None:
        names = pool.listVolumes()
        related = [n for n in names if n == name or n.startswith(f"{name}.mw-")]
        marks = read_markers(related)
        if name not in related and name not in marks:
            return None
        volumes = [_stub(n, pool.name()) for n in related if is_marker(n)]
        if name in related:
            with contextlib.suppress(_Gone):
                volumes.append(_describe(pool.storageVolLookupByName(name), pool.name()))
        folded = fold(volumes, pool.name(), _pool_path(pool))
        return next((volume for volume in folded if volume.name == name), None)

    # --- images -----------------------------------------------------------------------------

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
        """See the port."""
        check_name(name)
        begun, verified = (
            uploading_marker(name, source.sha256),
            verified_marker(name, source.sha256),
        )

        def work(conn: libvirt.virConnect, deadline: Deadline) -> VolumeInfo:
            with self._exclusive("volume", f"{pool}/{name}", deadline):
                handle = conn.storagePoolLookupByName(pool)
                present = self._volume(handle, name)
                if check_image(present, source.sha256, self.name) and present is not None:
                    _remove(handle, begun)
                    return present
                free = handle.info()[3]
                check_space(free, source.size_bytes, pool, self.name)
                _create_marker(handle, begun)
                _remove(handle, name)
                volume = handle.createXML(_volume_xml(name, source.size_bytes, VolumeFormat.RAW), 0)
                try:
                    self._send(conn, volume, source, deadline, progress)
                    self._verify(conn, volume, source, deadline, progress)
                except BaseException:
                    # The marker stays when even this fails: the next call knows what it is.
                    with contextlib.suppress(libvirt.libvirtError):
                        volume.delete(0)
                        _remove(handle, begun)
                    raise
                _create_marker(handle, verified)
                _remove(handle, begun)
                if format is not VolumeFormat.RAW:
                    # Made as raw, so that nothing but the upload wrote it; libvirt looks at
                    # the content (format, virtual size) when it refreshes the pool.
                    self._refresh(handle, deadline)
                result = self._volume(handle, name)
                if result is None or result.sha256 != source.sha256:
                    raise VerificationFailed(f"volume {name!r} vanished", host=self.name)
                if result.format != format.value:
                    raise InvalidSpec.of(
                        "format", format.value, f"the image is {result.format}", host=self.name
                    )
                return result

        return self._call("upload_volume", deadline_s, work)

    def _send(
        self,
        conn: libvirt.virConnect,
        volume: libvirt.virStorageVol,
        source: UploadSource,
        deadline: Deadline,
        progress: Progress | None,
    ) -> None:
        digest = hashlib.sha256()
        done = 0
        stream = conn.newStream(0)
        try:
            volume.upload(stream, 0, source.size_bytes, 0)
            with source.path.open("rb") as data:
                while chunk := data.read(CHUNK_BYTES):
                    deadline.check()
                    digest.update(chunk)
                    view = chunk
                    while view:
                        view = view[stream.send(view) :]
                    done += len(chunk)
                    if progress is not None:
                        progress(done // 2, source.size_bytes)
            if done != source.size_bytes or digest.hexdigest() != source.sha256:
                raise InvalidSpec.of(
                    "source.sha256",
                    source.sha256,
                    f"the local file has {done} bytes and hash {digest.hexdigest()}",
                    host=self.name,
                )
            stream.finish()
        except BaseException:
            with contextlib.suppress(libvirt.libvirtError):
                stream.abort()
            raise

    def _verify(
        self,
        conn: libvirt.virConnect,
        volume: libvirt.virStorageVol,
        source: UploadSource,
        deadline: Deadline,
        progress: Progress | None,
    ) -> None:
        digest = hashlib.sha256()
        done = 0
        stream = conn.newStream(0)
        try:
            volume.download(stream, 0, source.size_bytes, 0)
            while chunk := stream.recv(CHUNK_BYTES):
                deadline.check()
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress((source.size_bytes + done) // 2, source.size_bytes)
            stream.finish()
        except BaseException:
            with contextlib.suppress(libvirt.libvirtError):
                stream.abort()
            raise
        if digest.hexdigest() != source.sha256:
            raise VerificationFailed(
                f"volume {volume.name()!r} arrived with {done} bytes and hash "
                f"{digest.hexdigest()[:12]}, {source.sha256[:12]} was sent",
                host=self.name,
            )

    def _refresh(self, pool: libvirt.virStoragePool, deadline: Deadline) -> None:
        """Rescan the pool; libvirt refuses that while another upload runs."""
        while True:
            try:
                pool.refresh(0)
                return
            except libvirt.libvirtError as error:
                if "asynchronous jobs" not in (error.get_error_message() or ""):
                    raise
                if deadline.left_s < 1:
                    raise Busy(f"pool {pool.name()!r} is busy", host=self.name) from error
                time.sleep(0.25)

    # --- overlays ---------------------------------------------------------------------------

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
        check_name(name)
        owner_marker(name, owner)  # refused before anything is made

        def work(conn: libvirt.virConnect, deadline: Deadline) -> VolumeInfo:
            with self._exclusive("volume", f"{pool}/{name}", deadline):
                handle = conn.storagePoolLookupByName(pool)
                image = self._volume(handle, base)
                if image is None or image.sha256 is None:
                    raise NotFound(
                        f"image {base!r} is not complete in pool {pool!r}", host=self.name
                    )
                rows = self._overlays(handle, name)
                earlier = [row for row in rows if is_earlier_overlay(row, owner)]
                again = [row for row in earlier if not row.aside]
                active = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
                for row in again:
                    check_aside(row, self._users(conn, handle, row, active), self.name)
                for row in again:
                    _create_marker(handle, aside_marker(row.name, owner.generation))
                chosen = overlay_name(name, rows, earlier, owner)
                present = self._volume(handle, chosen)
                marker = owner_marker(chosen, owner)
                exists = check_overlay(present, image, owner, capacity_bytes, self.name)
                _create_marker(handle, marker)
                if not exists:
                    handle.createXML(
                        _volume_xml(chosen, capacity_bytes, VolumeFormat.QCOW2, image), 0
                    )
                if present is not None and present.owner not in (None, owner):
                    self._remove_markers(handle, chosen, keep=marker)
                result = self._volume(handle, chosen)
                if result is None:
                    raise NotFound(f"volume {chosen!r} vanished", host=self.name)
                return result

        return self._call("ensure_overlay", deadline_s, work)

    def overlays(
        self, pool: str, name: str, *, deadline_s: float | None = None
    ) -> tuple[VolumeInfo, ...]:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> tuple[VolumeInfo, ...]:
            return self._overlays(conn.storagePoolLookupByName(pool), name)

        return self._call("overlays", deadline_s, ask)

    def _overlays(self, pool: libvirt.virStoragePool, name: str) -> tuple[VolumeInfo, ...]:
        names = pool.listVolumes()
        known = {*names, *read_markers(names)}
        found = (self._volume(pool, each) for each in known if is_overlay_of(each, name))
        return by_generation(row for row in found if row is not None)

    def remove_volume(self, pool: str, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("volume", f"{pool}/{name}", deadline):
                handle = conn.storagePoolLookupByName(pool)
                present = self._volume(handle, name)
                if present is None:
                    return False
                users = self._users(conn, handle, present) if present.present else []
                check_removable(present, self.site, users, self.name)
                _remove(handle, name)
                self._remove_markers(handle, name)
                return True

        return self._call("remove_volume", deadline_s, work)

    def _users(
        self,
        conn: libvirt.virConnect,
        pool: libvirt.virStoragePool,
        volume: VolumeInfo,
        which: int = 0,
    ) -> list[str]:
        users = [
            domain.name()
            for domain in conn.listAllDomains(which)
            if volume.path in _files(domain.XMLDesc)
        ]
        if volume.owner is None:  # only images have overlays on them
            for other in pool.listAllVolumes():
                if is_marker(other.name()):
                    continue
                with contextlib.suppress(_Gone):
                    if _describe(other, pool.name()).backing_path == volume.path:
                        users.append(other.name())
        return users

    def _remove_markers(
        self, pool: libvirt.virStoragePool, name: str, keep: str | None = None
    ) -> None:
        for marker in pool.listVolumes():
            if marker != keep and is_marker(marker) and marker.startswith(f"{name}.mw-"):
                _remove(pool, marker)


class _Gone(Exception):
    """A volume was removed between listing and asking."""


def _files(describe: Callable[[int], str]) -> frozenset[str]:
    try:
        return parse_files(describe(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return frozenset()
        raise


def _pool_path(pool: libvirt.virStoragePool) -> str:
    root = ET.fromstring(pool.XMLDesc(0))  # noqa: S314 - libvirt's own answer
    return root.findtext("target/path") or ""


def _describe(volume: libvirt.virStorageVol, pool: str) -> VolumeInfo:
    if is_marker(volume.name()):
        return _stub(volume.name(), pool)
    try:
        root = ET.fromstring(volume.XMLDesc(0))  # noqa: S314 - libvirt's own answer
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise _Gone from error
        raise
    kind = root.find("target/format")
    return VolumeInfo(
        pool=pool,
        name=volume.name(),
        path=root.findtext("target/path") or "",
        capacity_bytes=int(root.findtext("capacity") or 0),
        allocation_bytes=int(root.findtext("allocation") or 0),
        format="" if kind is None else kind.get("type", ""),
        backing_path=root.findtext("backingStore/path"),
    )


def _stub(name: str, pool: str) -> VolumeInfo:
    return VolumeInfo(
        pool=pool, name=name, path="", capacity_bytes=0, allocation_bytes=0, format=""
    )


def _volume_xml(
    name: str, capacity_bytes: int, format: VolumeFormat, base: VolumeInfo | None = None
) -> str:
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity", unit="bytes").text = str(capacity_bytes)
    ET.SubElement(root, "allocation", unit="bytes").text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", type=format.value)
    if base is not None:
        backing = ET.SubElement(root, "backingStore")
        ET.SubElement(backing, "path").text = base.path
        # Named, so that nobody ever guesses it from a content that a guest could forge.
        ET.SubElement(backing, "format", type=base.format)
    return ET.tostring(root, encoding="unicode")


def _create_marker(pool: libvirt.virStoragePool, name: str) -> None:
    try:
        pool.createXML(_volume_xml(name, 0, VolumeFormat.RAW), 0)
    except libvirt.libvirtError as error:
        # Not every driver of libvirt's has the code for it.
        if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST and name not in (
            pool.listVolumes()
        ):
            raise


def _remove(pool: libvirt.virStoragePool, name: str) -> None:
    """Delete a volume if it is there."""
    try:
        pool.storageVolLookupByName(name).delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
