"""An OPC UA application's own key and certificate, bound to the machine it is on: a clone makes new ones."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Basic256Sha256 wants RSA of 2048 to 4096 bits.
_BITS, _YEARS = 2048, 5
_RENEW = dt.timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of the certificate (DER) and the key (PEM, 0600), and the application's URI in both."""

    certificate: Path
    key: Path
    uri: str
    fresh: bool


def machine_id() -> str:
    """Who this machine is: /etc/machine-id, which a guest gets from the platform."""
    try:
        return Path("/etc/machine-id").read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()


def ensure_identity(folder: Path, machine: str | None = None, role: str = "vPLC") -> Identity:
    """Have a key and a certificate of this machine; another machine's, or one that ends soon, is replaced.

    `role`: what of Millwright's it is, in the certificate's name and the application's URI.
    """
    uri = f"urn:millwright:{role.lower()}:{machine or machine_id()}"
    certificate, key = folder / "opcua.der", folder / "opcua.pem"
    if key.exists() and _good(certificate, uri):
        return Identity(certificate, key, uri, False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    scratch = folder / f".opcua.pem.{os.getpid()}"
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    # The key first: a certificate that is there has its key.
    certificate.unlink(missing_ok=True)
    scratch.rename(key)
    certificate.write_bytes(
        _certificate(private, uri, role).public_bytes(serialization.Encoding.DER)
    )
    return Identity(certificate, key, uri, True)


def _good(path: Path, uri: str) -> bool:
    try:
        found = x509.load_der_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    ends = found.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return ends > _RENEW and uri in names.get_values_for_type(x509.UniformResourceIdentifier)


def _certificate(key: rsa.RSAPrivateKey, uri: str, role: str) -> x509.Certificate:
    host = socket.gethostname()[:63]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Millwright {role} {host}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Millwright"),
        ]
    )
    # An early clock may stand in the past: the certificate must not begin in its future.
    now = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName(host)]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True,
                data_encipherment=True, key_agreement=False, key_cert_sign=False, crl_sign=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
