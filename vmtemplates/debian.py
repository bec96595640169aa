"""The recipe `debian`: a minimal Debian on a disk image, with the packages and files of the template.

Made as root by mmdebstrap, mke2fs -d and qemu-img: no loop device, nothing mounted on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import runpy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import initramfs
from .errors import BuildError
from .loader import HERE
from .schema import Template
from .tools import run

ROOT = HERE.parent
#: How long a kept bare system serves: two weeks of the distribution's corrections at most are missing.
_SYSTEM_LASTS_S = 14 * 24 * 3600


def own_files(template: Template) -> list[Path]:
    """Our own code that goes into the image, beside the template's folder."""
    found = list((HERE / "common").rglob("*"))
    if template.image.runtime:
        found.append(ROOT / "requirements/plc.lock")
        found += [
            path for path in (ROOT / "industrial").rglob("*") if path.suffix in {".py", ".c", ".h"}
        ]
    return sorted(path for path in found if path.exists())


def _setup(template: Template) -> dict[str, Any]:
    path = HERE / template.name / "setup.py"
    return runpy.run_path(str(path)) if path.exists() else {}


def _system(template: Template, scratch: Path, progress: Callable[[str], None]) -> Path:
    """The tree of the bare system: unpacked from the cache, or made and kept there.

    It changes with the list of packages, the lock and the way it is made, and it ages, since the
    distribution mends its packages; what we write ourselves comes on top and costs seconds.
    """
    tree = scratch / "tree"
    digest = hashlib.sha256(repr(_mmdebstrap(template, Path("tree"))[:-1]).encode())
    setup = _setup(template)
    if "prepare" in setup:
        for path in (ROOT / "requirements/plc.lock", HERE / template.name / "setup.py"):
            digest.update(path.read_bytes() if path.exists() else b"-")
    kept = scratch.parent / f"system-{template.name}-{digest.hexdigest()[:16]}.tar.zst"
    with contextlib.suppress(OSError):
        if time.time() - kept.stat().st_mtime < _SYSTEM_LASTS_S:
            progress("unpacking the bare system")
            tree.mkdir()
            run(["tar", "--zstd", "--xattrs", "--numeric-owner", "-xpf", kept, "-C", tree])
            return tree
    progress("installing Debian (about two minutes)")
    run(_mmdebstrap(template, tree), timeout_s=3600)
    if "prepare" in setup:
        progress("installing Python packages")
        setup["prepare"](tree, ROOT)
    for outdated in scratch.parent.glob(f"system-{template.name}-*.tar.zst*"):
        outdated.unlink()
    fresh = kept.with_suffix(".part")
    run(["tar", "--zstd", "--xattrs", "--numeric-owner", "-cpf", fresh, "-C", tree, "."])
    fresh.rename(kept)
    return tree


def build(template: Template, scratch: Path, progress: Callable[[str], None]) -> list[str]:
    """Make kernel, initrd and disk in the scratch folder.

    Raises:
        BuildError: no root, or a tool failed.
    """
    if os.geteuid() != 0:
        raise BuildError(
            "building a Debian image needs root (mmdebstrap keeps owners and device files)"
        )
    tree = _system(template, scratch, progress)
    packages = run(
        ["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f", "${Package}=${Version}\\n"]
    ).split()
    setup = _setup(template)
    if "install" in setup:
        progress("installing our part")
        setup["install"](tree, ROOT)
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise BuildError("the image has no kernel")
    release = kernels[-1].name.removeprefix("vmlinuz-")
    shutil.copy(kernels[-1], scratch / "kernel")
    initramfs_for_disk(tree / "lib/modules" / release, scratch, HERE / "common/init")
    # What the initrd has loaded is all that the guest's virtual hardware needs.
    shutil.rmtree(tree / "lib/modules" / release / "kernel", ignore_errors=True)
    # Emptied too, or udev looks for each module that the hardware could use.
    run(["depmod", "-b", tree, release])
    for unneeded in (tree / "boot").glob("*"):
        if unneeded.is_file():
            unneeded.unlink()
    progress("making the disk")
    raw = scratch / "disk.raw"
    run(
        [
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-L",
            "mw-root",
            "-d",
            tree,
            raw,
            f"{template.image.disk_bytes // 1024}k",
        ]
    )
    shutil.rmtree(tree)
    run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, scratch / "disk.qcow2"])
    raw.unlink()
    return packages


def _mmdebstrap(template: Template, tree: Path) -> list[str | Path]:
    """The machine's own sources are used and not written into the image."""
    command: list[str | Path] = [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--quiet",
        "--skip=cleanup/apt",
        f"--include={','.join([template.image.kernel_package, *template.image.packages])}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # A stock initrd is slow to unpack; ours is made by hand.
        '--customize-hook=rm -f "$1"/boot/initrd.img-*',
        '--customize-hook=rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists',
        '--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap',
        "bookworm",
        tree,
    ]
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    command += [
        path
        for path in sources
        if path.suffix in {".list", ".sources"} and path.exists() and path.stat().st_size
    ]
    return command


#: What is needed to find the root disk and the credentials.
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "dmi-sysfs",
    "virtio_net",
    "virtio_console",
    "virtio-rng",
    "crc32c_generic",
    "qemu_fw_cfg",
)


def initramfs_for_disk(modules: Path, scratch: Path, init: Path) -> None:
    """A small initrd that loads a handful of modules, mounts the root disk and hands over."""
    root = scratch / "initrd-root"
    for folder in ("bin", "dev", "proc", "sys", "lib/modules", "newroot"):
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise BuildError("busybox is not installed (package busybox-static)")
    shutil.copy(busybox, root / "bin/busybox")
    found = initramfs.find_modules(modules, MODULES)
    for path in found:
        shutil.copy(path, root / "lib/modules" / path.name)
    (root / "lib/modules/order").write_text("\n".join(path.name for path in found) + "\n")
    shutil.copy(init, root / "init")
    (root / "init").chmod(0o755)
    initramfs.pack(root, scratch / "initrd")
    shutil.rmtree(root)
