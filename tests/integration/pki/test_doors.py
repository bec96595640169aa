"""Whom a real libvirtd lets in."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from millwright.lab import daemon
from millwright.pki import Authority, write_client

from tests.support.lab import RunningLab
from tests.support.virsh import virsh

pytestmark = pytest.mark.lab


def _knock(lab: RunningLab, folder: Path) -> subprocess.CompletedProcess[str]:
    host = lab.plan.hosts[0]
    uri = f"qemu+tls://{host.address}/system?pkipath={folder}"
    return virsh(lab.lab, host, "hostname", check=False, uri=uri)


def test_the_orchestrator_is_let_in(real_lab: RunningLab) -> None:
    done = _knock(real_lab, real_lab.lab.client_folder)
    assert done.stdout.strip() == real_lab.plan.hosts[0].name


def test_another_certificate_of_the_same_authority_is_refused(
    real_lab: RunningLab, tmp_path: Path
) -> None:
    # A host's own name is refused as well: a host that was taken over is not root on the others.
    for name in ("somebody-else", real_lab.plan.hosts[1].name + "x"):
        folder = write_client(real_lab.lab.authority, tmp_path / name, name)
        assert _knock(real_lab, folder).returncode != 0
    pki = daemon.folder(real_lab.lab.root, real_lab.plan.hosts[1]) / "pki"
    own = tmp_path / "host"
    own.mkdir()
    shutil.copy(pki / "CA/cacert.pem", own / "cacert.pem")
    shutil.copy(pki / "libvirt/clientcert.pem", own / "clientcert.pem")
    shutil.copy(pki / "libvirt/private/clientkey.pem", own / "clientkey.pem")
    assert _knock(real_lab, own).returncode != 0


def test_the_same_name_from_another_authority_is_refused(
    real_lab: RunningLab, tmp_path: Path
) -> None:
    folder = write_client(Authority(tmp_path / "ca"), tmp_path / "forged", daemon.CLIENT)
    # It may know the real root; it cannot have signed with it.
    (folder / "cacert.pem").write_bytes(real_lab.lab.authority.certificate)
    assert _knock(real_lab, folder).returncode != 0


def test_nobody_without_a_certificate(real_lab: RunningLab, tmp_path: Path) -> None:
    (tmp_path / "cacert.pem").write_bytes(real_lab.lab.authority.certificate)
    assert _knock(real_lab, tmp_path).returncode != 0


def test_the_host_shows_its_address_and_name(real_lab: RunningLab) -> None:
    host = real_lab.plan.hosts[0]
    root = real_lab.lab.authority.certificate.decode()
    shown = ssl.get_server_certificate((host.address, 16514), ca_certs=None)
    assert shown.strip() in (
        (real_lab.lab.authority.folder / f"issued/{host.name}.pem").read_text().strip()
    )
    context = ssl.create_default_context(cadata=root)
    import socket

    for name in (host.address, host.name):
        with (
            socket.create_connection((host.address, 16514), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=name) as wrapped,
        ):
            assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        socket.create_connection((host.address, 16514), timeout=10) as raw,
    ):
        context.wrap_socket(raw, server_hostname="another-host")
