"""Puts our part into the unpacked Debian: the runtime, its units, and nothing that starts needlessly.

Run by vmtemplates.debian: `prepare(tree, root)` makes the part that lasts (other people's code, kept with the
bare system), `install(tree, root)` adds ours. `tree` is the guest's root folder, `root` our sources.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from vmtemplates.tools import run

HERE = Path(__file__).resolve().parent
#: Units that a controller without login, clock server or swap has no use for.
MASKED = (
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "getty.target",
    "getty-static.service",
    "serial-getty@ttyS0.service",
    "console-getty.service",
    "getty@tty1.service",
    "systemd-logind.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-pstore.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-network-generator.service",
    "systemd-sysusers.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-modules-load.service",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "systemd-journal-flush.service",
    "systemd-user-sessions.service",
    "remote-fs.target",
    "swap.target",
    "systemd-boot-system-token.service",
)


def prepare(tree: Path, root: Path) -> None:
    """Install the Python packages of the lock and compile everything once."""
    library = tree / "opt/vplc/lib"
    library.mkdir(parents=True)
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "--no-compile",
            "--target",
            library,
            "-r",
            root / "requirements/plc.lock",
        ],
        timeout_s=600,
    )
    _compile(tree, "/opt/vplc/lib", "/usr/lib/python3.11")


def _compile(tree: Path, *folders: str) -> None:
    """Here and not there: a controller must not spend its first half minute on it."""
    run(["chroot", tree, "/usr/bin/python3", "-m", "compileall", "-q", "-j", "2", *folders])


def install(tree: Path, root: Path) -> None:
    """Install the runtime and its units."""
    target = tree / "opt/vplc"
    library = target / "lib"
    (target / "bin").mkdir(parents=True)
    shutil.copytree(
        root / "industrial", library / "industrial", ignore=shutil.ignore_patterns("__pycache__")
    )
    from industrial.runtime import ensure_engine

    shutil.copy(ensure_engine(), target / "bin/vplc-scan")
    (target / "bin/vplc").write_text(
        '#!/bin/sh\nPYTHONPATH=/opt/vplc/lib exec /usr/bin/python3 -s -m industrial.cli "$@"\n'
    )
    (target / "bin/vplc-protocols").write_text(
        '#!/bin/sh\nPYTHONPATH=/opt/vplc/lib exec /usr/bin/python3 -s -m industrial.runtime "$@"\n'
    )
    shutil.copy(HERE.parent / "common/files/mw-network", target / "bin/vplc-network")
    for name in ("vplc", "vplc-network", "vplc-protocols", "vplc-scan"):
        (target / "bin" / name).chmod(0o755)
    _compile(tree, "/opt/vplc/lib/industrial")
    units = tree / "etc/systemd/system"
    wanted = units / "sysinit.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    for unit in sorted((HERE / "files").glob("*.service")):
        shutil.copy(unit, units / unit.name)
        (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    for unit in MASKED:
        place = units / unit
        place.unlink(missing_ok=True)
        place.symlink_to("/dev/null")
    for folder in ("inbox", "packages", "retain"):
        (tree / "var/lib/vplc" / folder).mkdir(parents=True)
    _settle(tree)


def _settle(tree: Path) -> None:
    """Identity is made at the first boot; nobody can log in; the journal stays in memory."""
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").write_text("vplc\n")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime,x-systemd.growfs 0 0\n")
    (tree / "var/lib/systemd/random-seed").unlink(missing_ok=True)
    run(["chroot", tree, "passwd", "--lock", "root"])
    configured = tree / "etc/systemd"
    (configured / "system.conf.d").mkdir(exist_ok=True)
    # The control vCPU belongs to the scan alone.
    (configured / "system.conf.d/vplc.conf").write_text(
        "[Manager]\nCPUAffinity=0\nDefaultTimeoutStopSec=10s\n"
    )
    (configured / "journald.conf.d").mkdir(exist_ok=True)
    (configured / "journald.conf.d/vplc.conf").write_text(
        "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n"
    )
    (tree / "etc/systemd/system/default.target").unlink(missing_ok=True)
    (tree / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/multi-user.target")
