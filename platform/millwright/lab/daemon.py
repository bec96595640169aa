"""One host's libvirtd in its own network, mount, host-name and control-group namespaces."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import uuid
from pathlib import Path

from . import groups, reaper
from .errors import LabError
from .plan import HostPlan, LabPlan
from .system import in_netns, run

#: The host's own folders → where it finds them.
BINDS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
CLIENT = "millwright-orchestrator"

LIBVIRTD = """\
listen_tls = 1
listen_tcp = 0
listen_addr = "{address}"
auth_tls = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0777"
ca_file = "{pki}/CA/cacert.pem"
cert_file = "{pki}/libvirt/servercert.pem"
key_file = "{pki}/libvirt/private/serverkey.pem"
tls_allowed_dn_list = ["CN={client}"]
host_uuid = "{uuid}"
admin_keepalive_interval = 5
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
QEMU = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = [ {controllers} ]
default_tls_x509_cert_dir = "{pki}/qemu"
default_tls_x509_verify = 1
migration_address = "{address}"
max_core = 0
"""


def folder(root: Path, host: HostPlan) -> Path:
    return root / host.name


def write_files(root: Path, plan: LabPlan, host: HostPlan) -> None:
    """The host's folders and configuration. Certificates are written by the lab before."""
    home = folder(root, host)
    for name in BINDS:
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "lib/images").mkdir(exist_ok=True)
    (home / "etc/nwfilter").mkdir(exist_ok=True)
    values = {
        "address": host.address,
        "pki": home / "pki",
        "client": CLIENT,
        "controllers": ", ".join(f'"{name}"' for name in groups.libvirt_controllers()),
        "uuid": uuid.uuid5(uuid.NAMESPACE_URL, f"urn:millwright:lab:{root}:{host.name}"),
    }
    (home / "etc/libvirtd.conf").write_text(LIBVIRTD.format(**values))
    (home / "etc/qemu.conf").write_text(QEMU.format(**values))
    # A name that resolves at once: libvirt asks for its own at every start.
    lines = ["127.0.0.1 localhost", *(f"{other.address} {other.name}" for other in plan.hosts)]
    (home / "hosts").write_text("\n".join(lines) + "\n")
    (home / "start").write_text(_inner(home, host))


def _inner(home: Path, host: HostPlan) -> str:
    """What runs inside the new namespaces, ending as the process that keeps libvirtd."""
    lines = [
        "set -e",
        f"hostname {host.name}",
        "mount -t sysfs sysfs /sys",
        "mount --bind '" + str(home / "hosts") + "' /etc/hosts",
    ]
    lines += groups.mount_script()
    for name, target in BINDS.items():
        lines += [f"mkdir -p {target}", f"mount --bind '{home / name}' {target}"]
    for hidden in ("/run/dbus", "/run/systemd"):
        # With them libvirt would hand its guests to the machine's own service manager.
        lines.append(f"if [ -d {hidden} ]; then mount -t tmpfs -o size=64k tmpfs {hidden}; fi")
    lines.append(
        f"exec '{sys.executable}' -I '{reaper.__file__}' libvirtd --listen --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/mw-libvirtd.pid"
    )
    return "\n".join(lines) + "\n"


def daemon_pid(root: Path, host: HostPlan) -> int | None:
    """The running libvirtd's pid, if it is in this host's group."""
    try:
        pid = int((folder(root, host) / "run/mw-libvirtd.pid").read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    # After a crash the number may be another's: a guest's, or a stranger's outside the group.
    return pid if name == "libvirtd" and pid in groups.pids(host.name) else None


def start(root: Path, host: HostPlan) -> None:
    """Start libvirtd; nothing happens if it runs.

    Raises:
        LabError: it ended at once, or did not answer over TLS within 60 s.
    """
    if daemon_pid(root, host) is not None:
        return
    home = folder(root, host)
    if not groups.pids(host.name):
        # Nothing of this host is alive: it booted. What a reboot empties is emptied.
        shutil.rmtree(home / "run", ignore_errors=True)
        (home / "run").mkdir()
        in_netns(host.netns, "nft", "flush", "ruleset")
    groups.make(host.name, ",".join(map(str, sorted(host.cpus))))
    enter, unshare = groups.enter_namespace(host.name)
    script = [
        *groups.enter_script(host.name),
        f"exec nsenter --net=/run/netns/{host.netns} {enter} "
        f"unshare --mount --uts {unshare} --propagation private sh '{home / 'start'}'",
    ]
    with (home / "log/start.log").open("ab") as log:
        process = subprocess.Popen(
            ["sh", "-ec", "\n".join(script)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
        )
    _await_tls(home, host, process)


def _await_tls(home: Path, host: HostPlan, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        if process.poll() is not None:
            tail = (home / "log/start.log").read_text(errors="replace").splitlines()[-5:]
            raise LabError(
                f"{host.name}: libvirtd ended with {process.returncode}: {' / '.join(tail)}"
            )
        if answers(host, home / "pki"):
            return
        time.sleep(0.1)
    raise LabError(f"{host.name}: libvirtd does not answer on {host.address}:16514")


def answers(host: HostPlan, pki: Path, timeout_s: float = 2.0) -> bool:
    """Whether the TLS port accepts a handshake."""
    context = ssl.create_default_context(cafile=str(pki / "CA/cacert.pem"))
    try:
        with (
            socket.create_connection((host.address, 16514), timeout=timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=host.address),
        ):
            return True
    except (OSError, ssl.SSLError):
        return False


def ensure_pool(root: Path, host: HostPlan) -> None:
    """The storage pool `default` in the host's own folder.

    Raises:
        LabError: libvirtd does not answer, or refused.
    """
    uri = f"qemu:///system?socket={folder(root, host)}/run/libvirt-sock"

    def virsh(*words: str) -> list[str]:
        return run("virsh", "-c", uri, *words).stdout.split()

    if "default" in virsh("pool-list", "--name"):
        return
    if "default" not in virsh("pool-list", "--all", "--name"):
        virsh("pool-define-as", "default", "dir", "--target", "/var/lib/libvirt/images")
    virsh("pool-start", "default")
    virsh("pool-autostart", "default")
