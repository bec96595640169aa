"""A guest for these tests: Debian's cloud kernel, busybox, and a real guest agent.

Made from the machine's own package sources, cached by content; a few seconds when warm. It says
`BOOT_MARKER` on its console, takes `addr=IP/PREFIX` on the kernel's command line, and then
serves TCP on ports 502 and 503.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

BOOT_MARKER = "MILLWRIGHT-TEST-GUEST-UP"
MODULES = (
    "drivers/virtio/virtio", "drivers/virtio/virtio_ring", "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
    "drivers/char/virtio_console", "net/core/failover", "drivers/net/net_failover",
    "drivers/net/virtio_net", "drivers/block/virtio_blk",
)  # fmt: skip
INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
# Which module needs which differs between kernels: two rounds load them in any order.
for round in 1 2; do for m in {" ".join(m.rsplit("/", 1)[1] for m in MODULES)}; do
  insmod /modules/$m.ko 2>/dev/null
done; done
ip link set lo up
for word in $(cat /proc/cmdline); do case $word in addr=*)
  ip addr add ${{word#addr=}} dev eth0; ip link set eth0 up
  echo ok > /tmp/index.html; httpd -p 502 -h /tmp; httpd -p 503 -h /tmp;;
esac; done
# A port's name comes a moment after the port.
( until grep -qs org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name; do sleep 0.2; done
  port=$(grep -ls org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name)
  exec qemu-ga -m virtio-serial -p /dev/$(basename $(dirname $port)) -t /tmp ) &
echo {BOOT_MARKER}
while true; do sleep 1000; done
"""


@dataclass(frozen=True)
class TinyGuest:
    """The files to boot."""

    kernel: Path
    initrd: Path


def build() -> TinyGuest:
    """Build the guest, or take it from the cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "millwright" / "test-guest"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        package = _newest_kernel_package()
        key = hashlib.sha256((INIT + package).encode()).hexdigest()[:16]
        guest = TinyGuest(folder / f"{key}.vmlinuz", folder / f"{key}.initrd")
        if not (guest.kernel.exists() and guest.initrd.exists()):
            with tempfile.TemporaryDirectory(dir=folder) as work:
                _build(Path(work), package, guest)
    return guest


def _newest_kernel_package() -> str:
    shown = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = re.findall(r"Depends: (linux-image-\S+)", shown)
    assert found, f"no kernel among the machine's packages:\n{shown}"
    return found[-1]


def _build(work: Path, package: str, guest: TinyGuest) -> None:
    tree, root = work / "packages", work / "root"
    subprocess.run(
        ["apt-get", "-q", "download", package, "qemu-guest-agent"],
        cwd=work, check=True, capture_output=True,
    )  # fmt: skip
    for archive in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(tree)], check=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "modules", "var/run", "lib64", "run"):
        (root / name).mkdir(parents=True)
    (modules,) = (tree / "lib/modules").iterdir()
    for module in MODULES:
        shutil.copy(modules / "kernel" / f"{module}.ko", root / "modules")
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox (package busybox-static) is needed"
    shutil.copy(busybox, root / "bin/busybox")
    agent = tree / "usr/sbin/qemu-ga"
    shutil.copy(agent, root / "bin/qemu-ga")
    linked = subprocess.run(["ldd", str(agent)], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+)", linked):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive_bytes = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
        cwd=root, input=names.encode(), check=True, capture_output=True,
    ).stdout  # fmt: skip
    (work / "initrd").write_bytes(gzip.compress(archive_bytes, 1, mtime=0))
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    # Renamed last: what has its final name is whole.
    (work / "initrd").replace(guest.initrd)
    kernel.replace(guest.kernel)
