"""A server with a kernel and a boot loader of its own: Debian on a disk that QEMU boots as a machine would.

What a container cannot have is had here: another kernel, its arguments, pages set aside at boot, a reboot. It is
emulated, has no route but to a port of this machine's loopback, and a folder of its disk is its mirror.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import nspawn
from tests.support.guest import free_port
from tests.support.lab import CACHE

#: Installed before it boots: Debian's ordinary kernel and boot loader, and what Ansible wants.
INSIDE = (
    "systemd,systemd-sysv,dbus,udev,openssh-server,python3,python3-apt,iproute2,procps,kmod,zstd,"
    "initramfs-tools,linux-image-amd64,grub-pc"
)
#: What role `realtime` installs.
PACKAGES = ("linux-image-rt-amd64", "tuned", "rt-tests")
DISK_BYTES = 3 << 30
#: Where the one partition begins: before it lie the boot sector and the loader's core.
OFFSET = 1 << 20
SECTOR = 512
#: An initrd with every driver of Debian takes an emulated processor minutes.
DRIVERS = "virtio_pci\nvirtio_blk\nvirtio_net\next4\ncrc32c_generic\n"
FILES = {
    "etc/initramfs-tools/conf.d/few": "MODULES=list\n",
    "usr/share/initramfs-tools/modules.d/few": DRIVERS,
}
#: The boot loader's own configuration until the first `update-grub`.
FIRST = """set root=(hd0,msdos1)
linux /boot/vmlinuz-{kernel} root=/dev/vda1 ro console=ttyS0
initrd /boot/initrd.img-{kernel}
boot
"""
CONSOLE = 'GRUB_TIMEOUT=0\nGRUB_TERMINAL=serial\nGRUB_CMDLINE_LINUX="console=ttyS0"\n'
NETWORK = "[Match]\nName=en*\n[Network]\nAddress=10.0.2.15/24\n"


def disk() -> tuple[Path, Path]:
    """The disk and the key that opens it, made once for each list of packages and kept in the cache."""
    recipe = repr([INSIDE, PACKAGES, DISK_BYTES, OFFSET, FILES, FIRST, CONSOLE, NETWORK])
    folder = CACHE / "ansible" / f"booted-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    image, key = folder / "disk.qcow2", folder / "key"
    if image.is_file():
        return image, key
    shutil.rmtree(folder, ignore_errors=True)
    tree = folder / "tree"
    tree.mkdir(parents=True, mode=0o755)
    _sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    _install(tree)
    _write(tree, key.with_suffix(".pub").read_text())
    half = folder / "half.raw"
    _partition(tree, folder / "root.ext4", half)
    shutil.rmtree(tree)
    _sh("qemu-img", "convert", "-O", "qcow2", half, folder / "half.qcow2")
    half.unlink()
    (folder / "half.qcow2").rename(image)
    return image, key


def _sh(*command: str | Path, **options: Any) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, (command[:3], done.stdout[-2000:], done.stderr[-2000:])


def _install(tree: Path) -> None:
    """Debian with its boot loader's modules, and the mirror of what a role adds later."""
    few = [
        f'mkdir -p "$1"/{Path(path).parent} && printf %s "{text}" > "$1"/{path}'
        for path, text in FILES.items()
    ]
    fetch = f"apt-get install -y --no-install-recommends --download-only {' '.join(PACKAGES)}"
    core = "grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2"
    hooks = [
        f'chroot "$1" {fetch}',
        'mkdir "$1"/mirror && mv "$1"/var/cache/apt/archives/*.deb "$1"/mirror/',
        'mkdir -p "$1"/boot/grub/i386-pc && cp "$1"/usr/lib/grub/i386-pc/* "$1"/boot/grub/i386-pc/',
        f'chroot "$1" {core}',
    ]
    _sh(
        "nice", "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={INSIDE}",
        *(f"--essential-hook={line}" for line in few),
        *(f"--customize-hook={line}" for line in hooks),
        "bookworm", tree,
    )  # fmt: skip
    with (tree / "mirror/Packages").open("w") as listing:
        subprocess.run(
            ["dpkg-scanpackages", "-m", "."],
            cwd=tree / "mirror", stdout=listing, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip


def _write(tree: Path, opens: str) -> None:
    kernel = next((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    for path, text in {
        "boot/grub/grub.cfg": FIRST.format(kernel=kernel),
        "etc/default/grub.d/10-console.cfg": CONSOLE,
        "etc/apt/sources.list": "deb [trusted=yes] file:/mirror ./\n",
        "etc/hostname": "press-1\n",
        "etc/hosts": "127.0.0.1 localhost press-1\n",
        "etc/fstab": "/dev/vda1 / ext4 errors=remount-ro 0 1\n",
        "etc/systemd/network/10-lan.network": NETWORK,
        "root/.ssh/authorized_keys": opens,
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        (tree / path).write_text(text)
    (tree / "root/.ssh").chmod(0o700)
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def _partition(tree: Path, part: Path, raw: Path) -> None:
    """One bootable partition behind the loader, without a loop device: all of it is written into files."""
    size = DISK_BYTES - OFFSET
    # The loader does not read file systems with a seed of their own.
    _sh(
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^metadata_csum_seed",
        "-d",
        tree,
        part,
        f"{size // 1024}k",
    )
    boot = (tree / "boot/grub/i386-pc/boot.img").read_bytes()
    core = (tree / "boot/grub/core.img").read_bytes()
    assert len(core) <= OFFSET - SECTOR, len(core)
    entry = struct.pack(
        "<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", OFFSET // SECTOR, size // SECTOR
    )
    table = b"MWRT\0\0" + entry + bytes(48) + b"\x55\xaa"
    with raw.open("wb") as out:
        out.write(boot[:440] + table)
        out.write(core)
        out.truncate(OFFSET)
    _sh("dd", f"if={part}", f"of={raw}", "bs=1M", f"seek={OFFSET >> 20}", "conv=notrunc,sparse")
    with raw.open("r+b") as out:
        out.truncate(DISK_BYTES)
    part.unlink()


class Booted:
    """A running server; it stays the same over its reboots."""

    def __init__(self, folder: Path) -> None:
        image, self.key = disk()
        self.port, self.console = free_port(), folder / "console.log"
        self._disk = folder / "disk.qcow2"
        _sh("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, self._disk)

    @contextlib.contextmanager
    def running(self, limit_s: float = 600) -> Iterator[Booted]:
        """Boot it and wait until it answers by SSH; its power goes afterwards."""
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
            "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max", "-smp", "2", "-m", "4096",
            "-drive", f"file={self._disk},if=virtio,format=qcow2,cache=unsafe",
            "-serial", f"file:{self.console}", "-device", "virtio-rng-pci",
            "-netdev", f"user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:22",
            "-device", "virtio-net-pci,netdev=lan",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            end = time.monotonic() + limit_s
            while self.ssh("true").returncode:
                said = self.console.read_text(errors="replace") if self.console.exists() else ""
                assert process.poll() is None and time.monotonic() < end, said[-3000:]
                time.sleep(1)
            listed = self.ssh("apt-get update", limit_s)
            assert listed.returncode == 0, listed.stdout + listed.stderr
            yield self
        finally:
            process.kill()
            process.wait()

    def ssh(self, command: str, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command on it."""
        words = ["ssh", "-i", str(self.key), "-p", str(self.port), *nspawn.ssh_options()]
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                [*words, "root@127.0.0.1", command],
                capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return subprocess.CompletedProcess(words, 255, "", "no answer")

    def variables(self) -> dict[str, Any]:
        """How Ansible reaches it."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": " ".join(nspawn.ssh_options()),
            "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_timeout": 60,
        }
