"""Signed messages to addresses that administrators enter, and the rule which addresses are reached at all.

The rule is applied to the addresses that the name has at the moment of sending, and the connection goes
to exactly the address that was checked, so a name that changes its mind between the two is not followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from millwright.settings import get_settings

from .models import Delivery, Webhook

#: For each step of the connection, and for everything together.
STEP_S, WHOLE_S = 10.0, 20.0
MAX_ANSWER = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookError(Exception):
    """It could not be delivered; the text is for the log."""


def secret_of(webhook: Webhook) -> str:
    """The secret that signs: derived, so that no database or backup holds it."""
    key = get_settings().secret("webhooks.key").encode()
    mac = hmac.new(key, f"{webhook.pk}:{webhook.generation}".encode(), hashlib.sha256)
    return "mwh_" + base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256 of "timestamp.body" in hexadecimal."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


def _listed(address: Address) -> bool:
    return any(address in network for network in get_settings().webhook_network_list)


def refusal(address: Address) -> str:
    """Why an address is not reached; empty: it is."""
    plain = getattr(address, "ipv4_mapped", None) or address
    if _listed(plain):
        return ""
    if plain.is_multicast or plain.is_unspecified or not plain.is_global:
        return f"{plain} is not a public address and not in MILLWRIGHT_WEBHOOK_NETWORKS"
    return ""


def split(url: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path with query) of an address.

    Raises:
        ValueError: it breaks a rule, in words.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not an address: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("begin with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no name or password in the address; the signature proves who sends")
    if any(ord(sign) <= 32 or ord(sign) > 126 for sign in url):
        raise ValueError("only printable ASCII without spaces")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), path


def resolve(scheme: str, host: str, port: int) -> str:
    """The address to connect to; every one that the name has must be allowed.

    Raises:
        WebhookError: the name is not known, or the rule forbids it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"{host}: {error}") from None
    addresses = [ipaddress.ip_address(str(row[4][0]).split("%")[0]) for row in found]
    for address in addresses:
        if why := refusal(address):
            raise WebhookError(f"refused: {why}")
        if scheme == "http" and not _listed(getattr(address, "ipv4_mapped", None) or address):
            raise WebhookError("refused: http:// only within MILLWRIGHT_WEBHOOK_NETWORKS")
    return str(addresses[0])


class _Pinned(http.client.HTTPConnection):
    """To a fixed address, with the certificate of the name; redirects are nobody's business here."""

    def __init__(self, scheme: str, host: str, port: int, address: str) -> None:
        super().__init__(host, port, timeout=STEP_S)
        self._scheme, self._address = scheme, address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), timeout=STEP_S)
        if self._scheme == "https":
            settings = get_settings()
            context = ssl.create_default_context(cafile=settings.ca_file or None)
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def end(self) -> None:
        """From another thread: whoever answers a byte a second is not waited for."""
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def post(url: str, headers: dict[str, str], body: bytes) -> str:
    """Send, and return the answer's status as text.

    Raises:
        WebhookError: anything but a 2xx answer.
    """
    try:
        scheme, host, port, path = split(url)
    except ValueError as error:
        raise WebhookError(str(error)) from None
    connection = _Pinned(scheme, host, port, resolve(scheme, host, port))
    watchdog = threading.Timer(WHOLE_S, connection.end)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"{type(error).__name__}: {error}"[:280]) from None
    finally:
        watchdog.cancel()
        connection.close()
    told = f"{answer.status} {answer.reason}"[:200]
    if not 200 <= answer.status < 300:
        raise WebhookError(told)
    return told


def message(delivery: Delivery) -> dict[str, Any]:
    """What is sent: the facts as data, and one sentence in the plant's language."""
    settings = get_settings()
    notice = delivery.notice
    if notice is None:
        return {"id": str(delivery.pk), "kind": "test", "text": "Millwright's test message."}
    return {
        "id": str(delivery.pk),
        "kind": notice.kind,
        "level": notice.words.level,
        "at": notice.at.isoformat(),
        "text": notice.text_in(settings.language),
        "subject": {"type": notice.subject_type, "id": notice.subject_id},
        "project": notice.project.slug if notice.project else None,
        "facts": {key: value for key, value in notice.facts.items() if key != "actor"},
        "url": f"{settings.public_url}{notice.link}" if notice.link else None,
    }


def send(delivery: Delivery, timestamp: int) -> str:
    """Deliver one; returns what was answered."""
    webhook = delivery.webhook
    assert webhook is not None  # noqa: S101 - only deliveries of webhooks come here
    body = json.dumps(message(delivery), separators=(",", ":"), ensure_ascii=False).encode()
    headers: dict[str, str] = {
        "Content-Type": "application/json",
        "User-Agent": "Millwright",
        "X-Millwright-Event": str(delivery.notice.kind if delivery.notice else "test"),
        "X-Millwright-Delivery": str(delivery.pk),
        "X-Millwright-Timestamp": str(timestamp),
        "X-Millwright-Signature": signature(secret_of(webhook), timestamp, body),
    }
    return post(webhook.url, headers, body)
