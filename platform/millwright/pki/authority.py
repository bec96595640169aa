"""The authority: an EC P-256 root in one folder, and the certificates it issues."""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_DAYS, LEAF_DAYS = 3650, 397
#: Renewed when less than this is left.
RENEW_DAYS = 60
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


class PkiError(ValueError):
    """A certificate cannot be made or read; the text names field, value and rule."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


def write_private(path: Path, data: bytes) -> None:
    """Write a secret file in one rename, mode 0600."""
    _write(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a certificate in one rename, mode 0644: a killed process leaves no half of one."""
    _write(path, data, 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    scratch.rename(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def expires_within(certificate: bytes, days: int, now: dt.datetime | None = None) -> bool:
    """Whether a PEM certificate ends within so many days."""
    now = now or dt.datetime.now(dt.UTC)
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc < now + dt.timedelta(
        days=days
    )


class Authority:
    """A CA in a folder, made at the first use.

    `ca.pem`, `ca.key` (0600), `issued/NAME.{pem,key}`, and `issued.jsonl`: a line for every certificate
    that was ever signed (serial, name, names beside it, usages, validity), oldest first.
    """

    def __init__(self, folder: Path, name: str = "Millwright plant CA") -> None:
        self.folder = folder
        self._name = name

    def ensure(self) -> None:
        """Have a root; an existing one is never replaced.

        Raises:
            PkiError: the root's certificate is there and its key is not: nothing can be signed, and a
                new root would lock every host out.
        """
        with self._locked():
            self._ensure()

    def _ensure(self) -> None:
        if self._certificate_file.exists():
            if not self._key_file.exists():
                raise PkiError(
                    f"key = {str(self._key_file)!r}: missing beside its certificate; put it back, "
                    f"or remove {self._certificate_file} to begin a new authority"
                )
            return
        # The certificate is written last: a key alone is a killed first start.
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=ROOT_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_file, _key_pem(key))
        write_public(self._certificate_file, certificate.public_bytes(serialization.Encoding.PEM))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: two first starts would make two roots."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    @property
    def _certificate_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def _key_file(self) -> Path:
        return self.folder / "ca.key"

    @property
    def certificate(self) -> bytes:
        """The root as PEM; its key may be kept elsewhere."""
        if not self._certificate_file.exists():
            self.ensure()
        return self._certificate_file.read_bytes()

    def issue(
        self,
        name: str,
        *,
        hosts: Iterable[str] = (),
        server: bool = False,
        client: bool = False,
        days: int = LEAF_DAYS,
    ) -> Pair:
        """Have a certificate for the name; one that is good for long enough is given again.

        Args:
            name: the common name; `hosts` become DNS names and addresses beside it.
            days: how long a new one is good for, more than RENEW_DAYS.

        Raises:
            PkiError: a name, an address or the time breaks a rule, or the root's key is missing.
        """
        if not _NAME.fullmatch(name):
            raise PkiError(
                f"name = {name!r}: letters, digits, dot, dash, underscore; 1 to 64 characters"
            )
        if not server and not client:
            raise PkiError(f"name = {name!r}: a certificate is for a server, a client, or both")
        if not RENEW_DAYS < days <= ROOT_DAYS:
            # A shorter one would be renewed at every look.
            raise PkiError(f"days = {days}: {RENEW_DAYS + 1} to {ROOT_DAYS}")
        alternatives = _alternatives([name, *hosts])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [
            ExtendedKeyUsageOID.CLIENT_AUTH
        ] * client
        paths = self.folder / "issued" / f"{name}.pem", self.folder / "issued" / f"{name}.key"
        with self._locked():
            if all(path.exists() for path in (self._certificate_file, *paths)):
                pair = Pair(paths[0].read_bytes(), paths[1].read_bytes())
                if self._still_good(pair, alternatives, usages):
                    return pair
            self._ensure()
            pair = self._sign(name, alternatives, usages, days)
            write_private(paths[1], pair.key)
            write_public(paths[0], pair.certificate)
        return pair

    def inventory(self) -> list[dict[str, Any]]:
        """Every certificate ever signed, oldest first, as written at its signing."""
        try:
            lines = (self.folder / "issued.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _still_good(
        self, pair: Pair, alternatives: list[x509.GeneralName], usages: list[x509.ObjectIdentifier]
    ) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate)
            key = serialization.load_pem_private_key(pair.key, password=None)
        except ValueError:
            # Damaged on the disk: a new pair replaces it.
            return False
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        there = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        root = x509.load_pem_x509_certificate(self._certificate_file.read_bytes())
        return (
            not expires_within(pair.certificate, RENEW_DAYS)
            and list(names) == alternatives
            and list(there) == usages
            and certificate.issuer == root.subject
            # A killed renewal leaves a new key beside an old certificate.
            and key.public_key() == certificate.public_key()
            and _signed(certificate, root)
        )

    def _sign(
        self,
        name: str,
        alternatives: list[x509.GeneralName],
        usages: list[x509.ObjectIdentifier],
        days: int,
    ) -> Pair:
        root_key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        if not isinstance(root_key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{self._key_file}: an EC key is expected")
        root = x509.load_pem_x509_certificate(self._certificate_file.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
                critical=False,
            )
            .sign(root_key, hashes.SHA256())
        )
        self._note(certificate, name, alternatives)
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))

    def _note(
        self, certificate: x509.Certificate, name: str, alternatives: list[x509.GeneralName]
    ) -> None:
        """Write the inventory's line before the certificate is handed out: none is unknown."""
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        line = {
            "serial": f"{certificate.serial_number:x}",
            "name": name,
            "names": [str(other.value) for other in alternatives],
            "server": ExtendedKeyUsageOID.SERVER_AUTH in usages,
            "client": ExtendedKeyUsageOID.CLIENT_AUTH in usages,
            "not_before": certificate.not_valid_before_utc.isoformat(),
            "not_after": certificate.not_valid_after_utc.isoformat(),
        }
        with (self.folder / "issued.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _signed(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except Exception:
        return False
    return True


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        # libvirt insists on it, though an EC key never enciphers one.
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if not _NAME.fullmatch(name):
                raise PkiError(f"host = {name!r}: neither an address nor a host name") from None
            found.append(x509.DNSName(name))
    return found
