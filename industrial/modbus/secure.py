"""Modbus/TCP Security: TLS with the client's certificate, and the role in it.

Source: MODBUS/TCP Security Protocol Specification V2.1: port 802, TLS 1.2 or later with both certificates, the role as
a UTF8String in the extension 1.3.6.1.4.1.50316.802.1; a client without one has no role.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

ROLE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
#: Of the standard's list, those with forward secrecy; TLS 1.3 brings its own.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsError(ValueError):
    """The certificates do not do."""


def role_of(der: bytes) -> str:
    """The role in a certificate; "" if there is none, or no readable one."""
    try:
        found = x509.load_der_x509_certificate(der)
        extension = found.extensions.get_extension_for_oid(ROLE_OID).value
    except (ValueError, x509.ExtensionNotFound):
        return ""
    data = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    # A UTF8String of at most 127 bytes: tag, length, text.
    if len(data) < 3 or data[0] != 0x0C or data[1] != len(data) - 2:
        return ""
    return data[2:].decode(errors="replace")


def server_context(certificate: Path, key: Path, authorities: str) -> ssl.SSLContext:
    """A context that wants a certificate of one of the authorities, or one that is named itself.

    Args:
        certificate: the vPLC's own, DER.
        key: its key, PEM.
        authorities: certificates, PEM.

    Raises:
        TlsError: one of them is not readable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # A certificate that is named needs no authority above it.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_ciphers(CIPHERS)
    try:
        own = x509.load_der_x509_certificate(certificate.read_bytes())
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(own.public_bytes(serialization.Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name, str(key))
        context.load_verify_locations(cadata=authorities)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise TlsError(f"Modbus over TLS: {error}") from None
    return context
