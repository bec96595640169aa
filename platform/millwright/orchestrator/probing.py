"""Finds out by doing what a host can give; remembered until its kernel changes."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from django.utils import timezone

from millwright.hypervisor import HypervisorError, ProbeGuest, ProbeKind, UploadSource
from millwright.inventory.models import Host
from millwright.inventory.snapshot import topology_of
from millwright.operations.volumes import POOL
from millwright.settings import Settings
from vmtemplates import BuiltImage, find_built, load_templates

from .hosts import Hosts

log = logging.getLogger(__name__)

#: Tried in this order; KVM first, since it decides how the others are booted.
KINDS = (
    ProbeKind.KVM,
    ProbeKind.FIFO,
    ProbeKind.MEMORY_LOCK,
    ProbeKind.HUGEPAGES,
    ProbeKind.ISOLATION,
    ProbeKind.CGROUP_CPU,
    ProbeKind.NWFILTER,
)


class Probing:
    """Probes hosts that have not been probed with their present kernel, one at a time."""

    def __init__(self, hosts: Hosts, settings: Settings, stop: threading.Event) -> None:
        self._hosts = hosts
        self._stop = stop
        self._settings = settings

    def round(self) -> None:
        """Probe what is due. Without the tiny image nothing is probed."""
        for host in Host.objects.filter(health="up", power="awake"):
            if all(str(kind) in host.capabilities for kind in KINDS):
                continue
            image = find_built(load_templates()["tiny"], self._settings.cache_dir / "images")
            if image is None:
                return
            try:
                self._probe(host, image)
            except HypervisorError as error:
                log.info("probing %s: %s", host.name, error)

    def _probe(self, host: Host, image: BuiltImage) -> None:
        driver = self._hosts.get(host.name)
        driver.ensure_pool(POOL)
        guest = ProbeGuest(
            kernel=self._send(driver, f"{image.name}-kernel", image.kernel),
            initrd=self._send(driver, f"{image.name}-initrd", image.initrd),
            boot_marker=image.boot_marker or "mw-tiny: ready",
            cmdline=image.cmdline,
            memory_bytes=192 * 2**20,
            cpu=max((cpu.id for cpu in topology_of(host).cpus), default=None),
        )
        for kind in KINDS:
            if str(kind) in host.capabilities:
                continue
            if self._stop.is_set():
                return
            result = driver.probe(kind, guest, deadline_s=120.0)
            host.capabilities[str(kind)] = {
                "verdict": "yes" if result.ok else "no",
                "detail": result.detail[:300],
                "at": timezone.now().isoformat(),
            }
            host.accel = (
                "kvm" if host.capabilities.get("kvm", {}).get("verdict") == "yes" else "emulation"
            )
            # Only these two: the watcher writes the rest of the row at the same time.
            Host.objects.filter(pk=host.pk).update(capabilities=host.capabilities, accel=host.accel)
            log.info("probe of %s: %s %s (%s)", host.name, kind, result.ok, result.detail)

    @staticmethod
    def _send(driver: object, name: str, file: tuple[Path, str, int]) -> str:
        path, sha256, size = file
        info = driver.upload_volume(
            POOL, name, UploadSource(path=path, sha256=sha256, size_bytes=size)
        )  # type: ignore[attr-defined]
        return str(info.path)
