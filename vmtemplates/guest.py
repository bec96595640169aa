"""What the machines beside the controller have in common: address, access word, health, and no login."""

from __future__ import annotations

import shutil
from pathlib import Path

from .loader import HERE
from .tools import run

#: Units that a machine without login, clock server or way out has no use for.
MASKED = (
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty-static.service",
    "serial-getty@ttyS0.service",
    "console-getty.service",
    "getty@tty1.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-hwdb-update.service",
    "systemd-pstore.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "remote-fs.target",
    "swap.target",
    "systemd-boot-system-token.service",
)


def place(tree: Path, name: str) -> None:
    """Put the common files and those of the template `name` into the guest, and have its units started.

    From `files/`: `*.service` are units that start at boot, `access.d` is run with the access word, the rest
    are programs under /opt/millwright.
    """
    target, units = tree / "opt/millwright", tree / "etc/systemd/system"
    wanted = units / "multi-user.target.wants"
    for folder in (target / "access.d", wanted, units / "sysinit.target.wants"):
        folder.mkdir(parents=True, exist_ok=True)
    for source in (HERE / "common/files", HERE / name / "files"):
        for path in sorted(source.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            if path.suffix != ".service":
                to = target / path.relative_to(source)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)
                to.chmod(0o755)
                continue
            shutil.copy(path, units / path.name)
            early = "WantedBy=sysinit.target" in path.read_text(encoding="utf-8")
            link = (units / "sysinit.target.wants" if early else wanted) / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(f"/etc/systemd/system/{path.name}")
    _settle(tree, name)


def _settle(tree: Path, name: str) -> None:
    """Identity is made at the first boot; nobody can log in; the journal stays in memory."""
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").write_text(f"{name}\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime,x-systemd.growfs 0 0\n")
    (tree / "var/lib/systemd/random-seed").unlink(missing_ok=True)
    run(["chroot", tree, "passwd", "--lock", "root"])
    settings = tree / "etc/systemd/journald.conf.d"
    settings.mkdir(exist_ok=True)
    (settings / "millwright.conf").write_text("[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n")
    default = units / "default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/multi-user.target")


def add_user(tree: Path, name: str, home: str) -> None:
    """A system account that nobody can log in with, owning its home."""
    run(
        [
            "chroot", tree, "useradd", "--system", "--user-group", "--home-dir", home,
            "--create-home", "--shell", "/usr/sbin/nologin", name,
        ]
    )  # fmt: skip
