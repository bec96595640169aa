"""The recipe `initramfs`: a kernel and a small BusyBox initial ramdisk. No disk, no root needed."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from .errors import BuildError
from .loader import HERE
from .schema import Template
from .tools import depends, fetch_deb, run

#: Kernel modules a guest of ours needs, in load order, where the kernel has them as modules.
MODULES = (
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_console",
    "rng-core",
    "virtio-rng",
)


def unpack_kernel(
    template: Template, scratch: Path, progress: Callable[[str], None]
) -> tuple[Path, Path, str]:
    """Fetch the kernel package; returns vmlinuz, the modules folder, and the package's file name."""
    package = depends(template.image.kernel_package)
    progress(f"kernel: {package}")
    folder = scratch / "kernel-package"
    folder.mkdir()
    deb = fetch_deb(package, folder)
    tree = scratch / "kernel-tree"
    run(["dpkg-deb", "-x", deb, tree])
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise BuildError(f"{deb.name}: no kernel in it")
    release = kernels[-1].name.removeprefix("vmlinuz-")
    return kernels[-1], tree / "lib/modules" / release, deb.stem


def find_modules(tree: Path, names: tuple[str, ...]) -> list[Path]:
    """The named modules with all they depend on, in load order; those built in are left out."""
    by_name = {path.name.split(".ko")[0].replace("_", "-"): path for path in tree.rglob("*.ko*")}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = by_name.get(name.replace("_", "-"))
        if path is None or path in ordered:
            return
        for line in run(["modinfo", "-F", "depends", path]).strip().split(","):
            if line:
                add(line)
        ordered.append(path)

    for name in names:
        add(name)
    return ordered


def pack(root: Path, target: Path) -> None:
    """Make a compressed cpio of a folder, owned by root whoever builds it."""
    listing = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))) + "\n"
    (target.parent / "cpio-list").write_text(listing)
    run(
        [
            "sh",
            "-c",
            f"cpio --quiet -o -H newc -R 0:0 --reproducible < '{target.parent}/cpio-list' | zstd -q -3 -o '{target}'",
        ],
        cwd=root,
    )
    (target.parent / "cpio-list").unlink()


def build(template: Template, scratch: Path, progress: Callable[[str], None]) -> list[str]:
    """Make kernel and initrd in the scratch folder."""
    kernel, modules, package = unpack_kernel(template, scratch, progress)
    shutil.copy(kernel, scratch / "kernel")
    busybox = shutil.which("busybox")
    if busybox is None:
        raise BuildError("busybox is not installed (package busybox-static)")
    root = scratch / "root"
    for folder in ("bin", "dev", "proc", "sys", "lib/modules", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    found = find_modules(modules, MODULES)
    for path in found:
        shutil.copy(path, root / "lib/modules" / path.name)
    (root / "lib/modules/order").write_text("\n".join(path.name for path in found) + "\n")
    init = root / "init"
    shutil.copy(HERE / template.name / "init", init)
    init.chmod(init.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    pack(root, scratch / "initrd")
    for leftover in ("kernel-package", "kernel-tree", "root"):
        shutil.rmtree(scratch / leftover)
    progress(f"initrd: {(scratch / 'initrd').stat().st_size // 1024} KiB")
    return [package]
