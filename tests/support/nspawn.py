"""Booted Debian servers to deploy to: systemd-nspawn on a bridge of their own, no route, a folder as mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.lab import CACHE

BRIDGE, NET = "mwhbr", "10.98.0"
STATE = Path("/var/tmp/mwh")
#: What the roles install; fetched once, so that servers need no route.
PACKAGES = [
    "postgresql",
    "nginx-light",
    "chrony",
    "prometheus",
    "prometheus-alertmanager",
    "libvirt-daemon-system",
    "libvirt-clients",
    "qemu-system-x86",
    "qemu-utils",
    "python3-venv",
    "nftables",
    "iptables",
    "ebtables",
    "tcc",
    "gcc",
    "libc6-dev",
    "libpangoft2-1.0-0",
    "libharfbuzz-subset0",
    "fonts-dejavu-core",
    "fonts-droid-fallback",
    "rt-tests",
    "tuned",
    "mmdebstrap",
    "busybox-static",
    "cpio",
    "kmod",
    "zstd",
    "e2fsprogs",
    "openssl",
    "rsync",
    "dnsmasq-base",
]
INSIDE = """systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,ca-certificates,procps,udev"""
#: libvirt makes its groups in them: they are mounted read-only by systemd-nspawn.
GROUPS = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c "for c in /sys/fs/cgroup/*; do mountpoint -q $$c && mount -o remount,rw,bind $$c; done; true"
"""


def _sh(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def root_archive() -> tuple[Path, Path]:
    """The servers' root and their mirror, made once (65 s) and kept in the cache."""
    folder = CACHE / "ansible"
    archive, mirror = folder / "server.tar", folder / "mirror"
    if archive.is_file() and (mirror / "Packages").exists():
        return archive, mirror
    # mmdebstrap tells by the name's end what it shall write.
    half = folder / "half.tar"
    if archive.is_dir():
        shutil.rmtree(archive)
    shutil.rmtree(mirror, ignore_errors=True)
    mirror.mkdir(parents=True)
    download = " ".join(["apt-get install -y --no-install-recommends --download-only", *PACKAGES])
    _sh(
        "nice", "mmdebstrap", "--variant=minbase", f"--include={INSIDE}",
        f'--customize-hook=chroot "$1" {download}',
        f'--customize-hook=mv "$1"/var/cache/apt/archives/*.deb {mirror}/',
        "--skip=cleanup/apt/cache", "bookworm", str(half),
    )  # fmt: skip
    with (mirror / "Packages").open("w") as listing:
        subprocess.run(["dpkg-scanpackages", "-m", "."], cwd=mirror, stdout=listing, check=True)
    half.replace(archive)
    return archive, mirror


class Server:
    """One booted server; number n is `mw-n` at 10.98.0.1n."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, f"mw-{number}"
        self.address = f"{NET}.1{number}"
        self.root = STATE / f"s{number}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Unpack and boot.

        Raises:
            TimeoutError: it does not answer by SSH within a minute; its console is beside its root.
        """
        archive, mirror = root_archive()
        _bridge()
        # A killed server leaves its end of the cable behind.
        link = f"vb-mwh{self.number}"
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        _sh("tar", "-C", str(self.root), "-xf", str(archive))
        self._write()
        inner = [
            "systemd-nspawn", "-q", "--register=no", "--keep-unit", f"--network-bridge={BRIDGE}",
            "--capability=all", "--system-call-filter=@mount @keyring bpf", "--resolv-conf=off",
            "--timezone=off", "--bind=/dev/net/tun", f"--bind-ro={mirror}:/mirror",
            "-D", str(self.root), "-M", f"mwh{self.number}", "--boot",
        ]  # fmt: skip
        # With the unified group mounted systemd would find no group it may write.
        script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
        with (STATE / f"{self.name}.log").open("wb") as console:
            self._process = subprocess.Popen(
                ["unshare", "-m", "nice", "sh", "-c", script, "sh", *inner],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while self.ssh("true").returncode:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} does not boot; see {STATE / self.name}.log")
            time.sleep(0.5)

    def _write(self) -> None:
        root = self.root
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            "etc/machine-id": "",
            "etc/apt/sources.list": "deb [trusted=yes] file:/mirror ./\n",
            "etc/systemd/network/10-host0.network": f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\n",
            "etc/systemd/system/groups.service": GROUPS,
            "root/.ssh/authorized_keys": (STATE / "key.pub").read_text(),
        }
        (root / "mirror").mkdir()
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            (root / path).unlink(missing_ok=True)
            (root / path).write_text(text)
        (root / "root/.ssh").chmod(0o700)
        for target, unit in (
            ("sysinit", "/etc/systemd/system/groups.service"),
            ("multi-user", "/lib/systemd/system/systemd-networkd.service"),
        ):
            wants = root / f"etc/systemd/system/{target}.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / Path(unit).name).symlink_to(unit)

    def ssh(self, command: str, limit_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on it."""
        return subprocess.run(
            ["ssh", "-i", str(STATE / "key"), *ssh_options(), f"root@{self.address}", command],
            capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        """End it and remove its root."""
        if self._process is not None:
            # The shell became systemd-nspawn: it ends its own when it is asked to.
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


def ssh_options() -> list[str]:
    """Servers are new at every run: their keys are nobody's."""
    return [
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3",
    ]  # fmt: skip


def _bridge() -> None:
    STATE.mkdir(exist_ok=True, mode=0o700)
    if not (STATE / "key").exists():
        _sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(STATE / "key"))
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        _sh("ip", "link", "add", BRIDGE, "type", "bridge")
        _sh("ip", "address", "add", f"{NET}.1/24", "dev", BRIDGE)
        _sh("ip", "link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    """Take away what the servers shared."""
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def needs_root() -> None:
    """Skip with the reason where servers cannot be booted."""
    if os.geteuid() != 0:
        pytest.skip("booting servers needs root")
    for tool in ("systemd-nspawn", "mmdebstrap", "dpkg-scanpackages", "ansible-playbook"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: scripts/bootstrap test")
