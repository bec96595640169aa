"""Sessions with OPC UA servers that only talk encrypted: what they show must be what a person named."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from industrial.security import Identity, ensure_identity

from .errors import TargetFailed

#: What the gateway and vPLCs speak; its URI ends so.
POLICY = "Basic256Sha256"
#: How a server says that it does not know our certificate.
_UNKNOWN = (
    ua.uaerrors.BadSecurityChecksFailed,
    ua.uaerrors.BadCertificateUntrusted,
    ua.uaerrors.BadCertificateInvalid,
)


@dataclass(frozen=True, slots=True)
class Protection:
    """`keys`: the folder of the gateway's own certificate; `fingerprint`: SHA-256 that the server must show, in
    hexadecimal; with one, it is talked to encrypted only, whatever else it offers."""

    keys: Path
    fingerprint: str = ""


async def connect(url: str, protection: Protection, timeout_s: float) -> Client:
    """A client with an open session: encrypted where a fingerprint is named or nothing else is offered.

    Raises:
        TargetFailed: it only talks encrypted and no fingerprint was named, it shows another certificate, or it
            does not know the gateway's.
        ua.UaError, OSError: no session.
    """
    offered = await Client(url, timeout=timeout_s).connect_and_get_server_endpoints()
    client = Client(url, timeout=timeout_s)
    if not protection.fingerprint and any(
        row.SecurityMode == ua.MessageSecurityMode.None_ for row in offered
    ):
        await client.connect()
        return client
    own = await asyncio.to_thread(ensure_identity, protection.keys, None, "Gateway")
    client.application_uri = own.uri
    await client.set_security(
        SecurityPolicyBasic256Sha256, str(own.certificate), str(own.key),
        server_certificate=_shown(url, offered, protection.fingerprint),
    )  # fmt: skip
    try:
        await client.connect()
    except _UNKNOWN as error:
        raise TargetFailed(f"{url}: {_unknown(own, error)}") from None
    except (ConnectionError, TimeoutError, asyncio.IncompleteReadError) as error:
        # Many servers close the connection without a word on a certificate that they do not know.
        raise TargetFailed(f"{url}: {_unknown(own, error)}") from None
    return client


def _shown(url: str, offered: list[Any], fingerprint: str) -> bytes:
    usable = {
        hashlib.sha256(row.ServerCertificate).hexdigest(): bytes(row.ServerCertificate)
        for row in offered
        if row.ServerCertificate and str(row.SecurityPolicyUri).endswith(f"#{POLICY}")
    }
    if not usable:
        raise TargetFailed(f"{url}: it only talks encrypted, and not with {POLICY}")
    wanted = fingerprint.strip().lower().replace(":", "").replace(" ", "")
    if not wanted:
        raise TargetFailed(
            f"{url}: it only talks encrypted; name the certificate that it must show "
            f"(fingerprint: it shows {', '.join(usable)})"
        )
    if wanted not in usable:
        raise TargetFailed(
            f"{url}: fingerprint {fingerprint!r} is not what it shows now ({', '.join(usable)})"
        )
    return usable[wanted]


def _unknown(own: Identity, error: BaseException) -> str:
    mine = hashlib.sha256(own.certificate.read_bytes()).hexdigest()
    return (
        f"it refused the gateway's certificate (SHA-256 {mine}); accept that in the server's list of rejected "
        f"certificates and ask again ({str(error) or type(error).__name__})"
    )
