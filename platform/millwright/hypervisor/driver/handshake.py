"""A TLS handshake with a deadline, before libvirt is let near the host."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from millwright.hypervisor.errors import AccessDenied, DeadlineExceeded, HostUnreachable

TLS_PORT = 16514
#: Between the two tries at a host that hung up.
_SECOND_TRY_S = 0.5


def check_tls(host: str, uri: str, timeout_s: float) -> None:
    """Shake hands with a TLS daemon as libvirt would, with a deadline; others pass unchecked.

    The daemon sends one byte once it has admitted the client's certificate.

    Raises:
        HostUnreachable: nothing listens, or its certificate is not the host's.
        DeadlineExceeded: the host accepts connections and says nothing (frozen).
        AccessDenied: our certificate is refused.
    """
    parts = urlsplit(uri)
    if not parts.scheme.endswith("+tls") or parts.hostname is None:
        return
    try:
        context = context_of(uri)
    except (OSError, ssl.SSLError) as error:
        raise AccessDenied(f"certificate files: {error}", host=host) from error
    end = time.monotonic() + timeout_s
    address = (parts.hostname, parts.port or TLS_PORT)
    try:
        _shake(host, context, address, end)
    except ConnectionResetError:
        # A daemon that refuses us hangs up like this, and so does one that dies at this moment.
        # The first does so again a moment later; of the second nothing listens any more, or a new one admits us.
        time.sleep(min(_SECOND_TRY_S, max(0.0, end - time.monotonic())))
        try:
            _shake(host, context, address, end)
        except ConnectionResetError as error:
            raise AccessDenied("the host closed the TLS connection", host=host) from error


def _shake(host: str, context: ssl.SSLContext, address: tuple[str, int], end: float) -> None:
    """One attempt; a connection reset is left to the caller."""
    timeout_s = max(0.1, end - time.monotonic())
    try:
        with socket.create_connection(address, timeout=timeout_s) as plain:
            plain.settimeout(max(0.1, end - time.monotonic()))
            with context.wrap_socket(plain, server_hostname=address[0]) as secure:
                secure.settimeout(max(0.1, end - time.monotonic()))
                if secure.recv(1) != b"\x01":
                    raise AccessDenied("the host refuses our certificate", host=host)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no TLS handshake within {timeout_s:g} s", host=host) from error
    except ssl.SSLCertVerificationError as error:
        raise HostUnreachable(
            f"the host's certificate is not valid: {error.verify_message}", host=host
        ) from error
    except ssl.SSLError as error:
        raise AccessDenied(f"TLS: {error.reason or error}", host=host) from error
    except ConnectionResetError:
        raise
    except OSError as error:
        raise HostUnreachable(f"{error.strerror or error}", host=host) from error


def context_of(uri: str) -> ssl.SSLContext:
    """The certificates that libvirt's client would use for this URI.

    Raises:
        OSError, ssl.SSLError: they are missing or none.
    """
    folder = parse_qs(urlsplit(uri).query).get("pkipath", [""])[0]
    if folder:
        base = Path(folder)
        ca, cert, key = base / "cacert.pem", base / "clientcert.pem", base / "clientkey.pem"
    else:  # libvirt's own places
        ca = Path("/etc/pki/CA/cacert.pem")
        cert = Path("/etc/pki/libvirt/clientcert.pem")
        key = Path("/etc/pki/libvirt/private/clientkey.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(ca))
    context.load_cert_chain(certfile=str(cert), keyfile=str(key))
    return context
