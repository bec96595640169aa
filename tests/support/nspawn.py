"""Booted Debian servers to deploy to: systemd-nspawn on a bridge of their own, no route, a folder as mirror."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.lab import CACHE

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

#: Each server has groups of its own, as a machine has: $0 is their name, $@ what boots it. In a shared tree
#: the servers' units and machines would be each other's. With the unified group mounted systemd would find
#: no group that it may write. Servers of a run that takes idle time only take no more than that.
START = r"""
for c in /sys/fs/cgroup/*; do
    [ -e "$c/cgroup.procs" ] && [ "${c##*/}" != unified ] || continue
    mkdir -p "$c/$0"
    if [ -e "$c/cpuset.cpus" ]; then
        cat "$c/cpuset.cpus" > "$c/$0/cpuset.cpus"; cat "$c/cpuset.mems" > "$c/$0/cpuset.mems"
        echo 1 > "$c/$0/cgroup.clone_children"
    fi
    case "$(chrt -p $$)" in *SCHED_IDLE*) [ ! -e "$c/$0/cpu.shares" ] || echo 12 > "$c/$0/cpu.shares" ;; esac
    echo $$ > "$c/$0/cgroup.procs"
done
umount /sys/fs/cgroup/unified 2>/dev/null
exec "$@"
"""


def _sh(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def root_archive() -> tuple[Path, Path]:
    """The servers' root and their mirror, made once for each list of packages (65 s) and kept in the cache."""
    folder = CACHE / "ansible"
    # What a role wants since yesterday is not in yesterday's mirror.
    key = hashlib.sha256("\n".join([INSIDE, *PACKAGES]).encode()).hexdigest()[:8]
    archive, mirror = folder / f"server-{key}.tar", folder / f"mirror-{key}"
    if archive.is_file() and (mirror / "Packages").exists():
        return archive, mirror
    # mmdebstrap tells by the name's end what it shall write.
    half = folder / "half.tar"
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


class Yard:
    """Where servers stand: a bridge, a network and a folder that no other run uses.

    A lock that dies with its process tells a killed run's yard from another run's at the same time.
    """

    def __init__(self, number: int, guard: IO[str]) -> None:
        self.number, self._guard = number, guard
        self.bridge, self.net = f"mwh{number}br", f"10.98.{number}"
        self.state = Path(f"/var/tmp/mwh{number}")

    @classmethod
    def claim(cls) -> Yard:
        """The first that is free.

        Raises:
            RuntimeError: nine runs have one each.
        """
        for number in range(1, 10):
            guard = Path(f"/run/lock/mwh{number}.lock").open("w")  # noqa: SIM115  # held as long as the yard
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                guard.close()
                continue
            yard = cls(number, guard)
            yard._open()
            return yard
        raise RuntimeError("nine runs boot servers already")

    @property
    def key(self) -> Path:
        """The private key that opens its servers."""
        return self.state / "key"

    @property
    def share(self) -> Path:
        """A folder that every server sees as /mnt/share and that outlives each of them."""
        return self.state / "share"

    def _open(self) -> None:
        self.state.mkdir(exist_ok=True, mode=0o700)
        self.share.mkdir(exist_ok=True)
        if not self.key.exists():
            _sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            _sh("ip", "link", "add", self.bridge, "type", "bridge")
            _sh("ip", "address", "add", f"{self.net}.1/24", "dev", self.bridge)
            _sh("ip", "link", "set", self.bridge, "up")

    def close(self) -> None:
        """Take away what its servers shared."""
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        self._guard.close()


class Server:
    """One booted server; number n is `mw-n` at the yard's address 1n."""

    def __init__(self, yard: Yard, number: int) -> None:
        self.yard, self.number, self.name = yard, number, f"mw-{number}"
        self.address = f"{yard.net}.1{number}"
        self.root = yard.state / f"s{number}"
        self._group = f"mwh{yard.number}s{number}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Unpack and boot.

        Raises:
            TimeoutError: it does not answer by SSH within a minute; its console is beside its root.
        """
        archive, mirror = root_archive()
        # A killed server leaves its end of the cable behind.
        link = f"vb-{self._group}"
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        _sh("tar", "-C", str(self.root), "-xf", str(archive))
        self._write()
        inner = [
            "systemd-nspawn", "-q", "--register=no", "--keep-unit", f"--network-bridge={self.yard.bridge}",
            "--capability=all", "--system-call-filter=@mount @keyring bpf", "--resolv-conf=off",
            "--timezone=off", "--bind=/dev/net/tun", f"--bind-ro={mirror}:/mirror",
            f"--bind={self.yard.share}:/mnt/share",
            "-D", str(self.root), "-M", self._group, "--boot",
        ]  # fmt: skip
        with (self.yard.state / f"{self.name}.log").open("wb") as console:
            self._process = subprocess.Popen(
                ["unshare", "-m", "nice", "sh", "-c", START, self._group, *inner],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while self.ssh("true").returncode:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{self.name} does not boot; see {self.yard.state / self.name}.log"
                )
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
            "root/.ssh/authorized_keys": self.yard.key.with_suffix(".pub").read_text(),
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
        """Run a command on it; once more if the connection hangs, which a busy machine's first one has done."""
        words = ["ssh", "-i", str(self.yard.key), *ssh_options(), f"root@{self.address}", command]
        more: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        try:
            return subprocess.run(words, timeout=limit_s, **more)
        except subprocess.TimeoutExpired:
            return subprocess.run(words, timeout=limit_s, **more)

    def destroy(self) -> None:
        """Its power goes and its disk with it."""
        assert self._process is not None, f"{self.name} does not run"
        self._process.kill()
        self._process.wait(30)
        self._process = None
        self._remove_groups()
        shutil.rmtree(self.root, ignore_errors=True)

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
            self._process = None
        self._remove_groups()
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove_groups(self) -> None:
        """Its groups, the innermost first; what a killed server left in them ends first."""
        for top in Path("/sys/fs/cgroup").glob(f"*/{self._group}"):
            folders = sorted((p for p in (top, *top.rglob("*")) if p.is_dir()), reverse=True)
            for folder in folders:
                # With its init killed the others end by themselves, and their groups may go meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    for line in (folder / "cgroup.procs").read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(line), signal.SIGKILL)
            end = time.monotonic() + 10
            while folders and time.monotonic() < end:
                try:
                    folders[0].rmdir()
                except FileNotFoundError:
                    pass
                except OSError:
                    time.sleep(0.1)
                    continue
                folders.pop(0)


def ssh_options() -> list[str]:
    """Servers are new at every run: their keys are nobody's."""
    return [
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3",
    ]  # fmt: skip


def needs_root() -> None:
    """Skip with the reason where servers cannot be booted."""
    if os.geteuid() != 0:
        pytest.skip("booting servers needs root")
    for tool in ("systemd-nspawn", "mmdebstrap", "dpkg-scanpackages", "ansible-playbook"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: scripts/bootstrap test")
