"""Certificates of devices, as far as they are compared and shown."""

from __future__ import annotations

import hashlib
import ssl


def fingerprint_of(pem: str) -> str:
    """SHA-256 of a certificate in PEM, in hexadecimal.

    Raises:
        ValueError: it is no PEM.
    """
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip() + "\n")).hexdigest()
