"""Real libvirt hosts of the tests' own: a daemon each, in namespaces of its own, on TLS.

Smaller than the lab: no cgroups, one network that serves management and cell alike. What a
killed run left is cleaned at the next start (everything carries the prefix `mwt`).
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from millwright.hypervisor import DeadlineExceeded, HypervisorError
from millwright.hypervisor.driver import HostAddress
from millwright.hypervisor.driver.handshake import check_tls

BRIDGE = "mwt-hv"
SUBNET = "10.119.77"
FOLDERS = {
    "etc": "/etc/libvirt", "run": "/run/libvirt", "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt", "cache": "/var/cache/libvirt", "pki": "/etc/pki",
}  # fmt: skip


def run(*command: str, check: bool = True) -> str:
    """Run a command of the machine and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


class Authority:
    """A CA for one test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mwt-ca")])
        self.certificate = self._sign(self._name, self._key.public_key(), None)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, address: str | None
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), True)
        )
        if address is not None:
            ip = ipaddress.ip_address(address)
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip), x509.DNSName(address)]), False
            ).add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                False,
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, address: str, *files: tuple[Path, Path]) -> None:
        """Write one certificate and its key to each pair of files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), address)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for certificate_file, key_file in files:
            certificate_file.parent.mkdir(parents=True, exist_ok=True)
            key_file.parent.mkdir(parents=True, exist_ok=True)
            certificate_file.write_bytes(certificate)
            key_file.write_bytes(secret)
            key_file.chmod(0o600)

    def client(self, name: str) -> Path:
        """A client's folder, as `pkipath` wants it."""
        folder = self._folder / f"client-{name}"
        self.issue(name, f"{SUBNET}.1", (folder / "clientcert.pem", folder / "clientkey.pem"))
        (folder / "cacert.pem").write_bytes(self.certificate)
        return folder


class PrivateHost:
    """One host. `freeze`, `thaw`, `kill_daemon`, `restore` are what outages are made of."""

    def __init__(self, number: int, folder: Path, authority: Authority, client: Path) -> None:
        self.name = f"mwt-hv{number}"
        self.ip = f"{SUBNET}.{10 + number}"
        self._folder = folder / self.name
        self._client = client
        self._holder: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._write_files(authority)

    @property
    def address(self) -> HostAddress:
        """Where the driver finds it."""
        return self.address_for(self._client)

    def address_for(self, client: Path) -> HostAddress:
        """The same for another client's certificate."""
        uri = f"qemu+tls://{self.ip}/system"
        return HostAddress(name=self.name, uri=f"{uri}?pkipath={client}")

    def _write_files(self, authority: Authority) -> None:
        for name in FOLDERS:
            (self._folder / name).mkdir(parents=True)
        # Without an entry, libvirt waits for DNS whenever it asks for its own name.
        (self._folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.ip} {self.name}\n")
        pki = self._folder / "pki"
        pairs = [
            (pki / "libvirt/servercert.pem", pki / "libvirt/private/serverkey.pem"),
            (pki / "libvirt/clientcert.pem", pki / "libvirt/private/clientkey.pem"),
            (pki / "qemu/server-cert.pem", pki / "qemu/server-key.pem"),
            (pki / "qemu/client-cert.pem", pki / "qemu/client-key.pem"),
        ]
        authority.issue(self.name, self.ip, *pairs)
        for place in ("CA/cacert.pem", "qemu/ca-cert.pem"):
            (pki / place).parent.mkdir(parents=True, exist_ok=True)
            (pki / place).write_bytes(authority.certificate)
        etc = self._folder / "etc"
        shutil.copytree("/etc/libvirt", etc, dirs_exist_ok=True)
        (etc / "libvirtd.conf").write_text(
            "listen_tls = 1\nlisten_tcp = 0\n"
            f'listen_addr = "{self.ip}"\n'
            'tls_allowed_dn_list = ["CN=orchestrator", "CN=mwt-hv*"]\n'
        )
        (etc / "qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nremember_owner = 0\n'
            # Two daemons in one cgroup tree would take each other's groups away.
            'cgroup_controllers = []\nstdio_handler = "file"\n'
            'default_tls_x509_cert_dir = "/etc/pki/qemu"\ndefault_tls_x509_verify = 1\n'
            f'migration_host = "{self.ip}"\nmigration_address = "{self.ip}"\n'
        )

    def start(self) -> None:
        """Make the namespaces and start the daemon."""
        end = f"{self.name}e"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", end, "master", BRIDGE, "up")
        self.netns("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", check=False)
        # The host's own bridge carries its address and its guests' nics.
        self.netns("ip", "link", "set", "lo", "up")
        self.netns("ip", "link", "add", "br0", "type", "bridge")
        self.netns("ip", "link", "set", "eth0", "master", "br0", "up")
        self.netns("ip", "addr", "add", f"{self.ip}/24", "dev", "br0")
        self.netns("ip", "link", "set", "br0", "up")
        binds = "".join(
            f"mkdir -p {place}; mount --bind {self._folder / name} {place}; "
            for name, place in FOLDERS.items()
        )
        script = (
            f"hostname {self.name}; "
            "for d in /run/dbus /run/systemd; do [ -d $d ] && mount -t tmpfs none $d; done; "
            f"mount --bind {self._folder}/hosts /etc/hosts; {binds} mkdir -p /var/lib/libvirt/images; echo ready; exec sleep infinity"
        )
        self._holder = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "-m", "-u", "sh", "-c", script],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.restore()

    def netns(self, *command: str, check: bool = True) -> str:
        """Run a command in the host's network."""
        return run("ip", "netns", "exec", self.name, *command, check=check)

    def restore(self) -> None:
        """Start the daemon unless it runs, and wait until it answers."""
        if self._daemon is None or self._daemon.poll() is not None:
            assert self._holder is not None
            log = (self._folder / "libvirtd.log").open("ab")
            self._daemon = subprocess.Popen(
                [
                    "nsenter",
                    "-t",
                    str(self._holder.pid),
                    "-m",
                    "-u",
                    "-n",
                    "libvirtd",
                    "--listen",
                    "--pid-file",
                    "/run/libvirt/daemon.pid",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            log.close()
        end = time.monotonic() + 60
        while True:
            try:
                check_tls(self.name, self.address.uri, 5.0)
                return
            except (HypervisorError, DeadlineExceeded):
                if time.monotonic() > end or self._daemon.poll() is not None:
                    raise
                time.sleep(0.2)

    def _signal(self, number: signal.Signals) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(number)

    def freeze(self) -> None:
        """The daemon stops answering; its guests go on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The daemon goes on."""
        self._signal(signal.SIGCONT)

    def kill_daemon(self) -> None:
        """SIGKILL for the daemon."""
        self._signal(signal.SIGKILL)
        assert self._daemon is not None
        self._daemon.wait(timeout=30)

    def stop(self) -> None:
        """Take everything away: daemon, guests, namespaces."""
        for process in (self._daemon, self._holder):
            if process is not None and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(timeout=30)
        run("ip", "link", "del", f"{self.name}e", check=False)
        remove_namespace(self.name)


def remove_namespace(name: str) -> None:
    """End what runs in a network namespace of ours (by pid, as the kernel lists) and drop it."""
    if not Path("/run/netns", name).exists():
        return
    for pid in run("ip", "netns", "pids", name, check=False).split():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


@contextmanager
def private_hosts(folder: Path, count: int) -> Iterator[list[PrivateHost]]:
    """`count` hosts on one network, whose root end is `SUBNET`.1."""
    clean()
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{SUBNET}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    authority = Authority(folder)
    client = authority.client("orchestrator")
    authority.client("somebody-else")
    hosts = [PrivateHost(number, folder, authority, client) for number in range(1, count + 1)]
    try:
        for host in hosts:
            host.start()
        yield hosts
    finally:
        for host in hosts:
            host.stop()
        clean()


def clean() -> None:
    """Remove what this module makes, also what an earlier run left."""
    for namespace in Path("/run/netns").glob("mwt-*") if Path("/run/netns").exists() else ():
        remove_namespace(namespace.name)
    # A namespace dies in the background; its cables would stand in the next run's way.
    for link in Path("/sys/class/net").iterdir():
        if link.name.startswith((BRIDGE, "mwt-s")):
            run("ip", "link", "del", link.name, check=False)
