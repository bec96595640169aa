"""Where libvirt and QEMU look for certificates."""

from __future__ import annotations

from pathlib import Path

from .authority import Authority, write_private, write_public


def write_host(authority: Authority, folder: Path, name: str, addresses: list[str]) -> None:
    """A host's set: libvirtd's server pair, and QEMU's pairs for migration over TLS.

    Makes `folder/CA/cacert.pem`, `folder/libvirt/{servercert,clientcert}.pem`,
    `folder/libvirt/private/…`, and the flat `folder/qemu/` that `default_tls_x509_cert_dir` names.
    """
    pair = authority.issue(name, hosts=addresses, server=True, client=True)
    _write(folder / "CA/cacert.pem", authority.certificate)
    for role in ("server", "client"):
        _write(folder / f"libvirt/{role}cert.pem", pair.certificate)
        write_private(folder / f"libvirt/private/{role}key.pem", pair.key)
        _write(folder / f"qemu/{role}-cert.pem", pair.certificate)
        write_private(folder / f"qemu/{role}-key.pem", pair.key)
    _write(folder / "qemu/ca-cert.pem", authority.certificate)


def write_client(authority: Authority, folder: Path, name: str) -> Path:
    """A client's set, for a libvirt URI's `pkipath`; returns the folder."""
    pair = authority.issue(name, client=True)
    _write(folder / "cacert.pem", authority.certificate)
    _write(folder / "clientcert.pem", pair.certificate)
    write_private(folder / "clientkey.pem", pair.key)
    return folder


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    write_public(path, data)
