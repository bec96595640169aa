"""Who a vPLC is and whom it believes: its certificate, users, roles, trusted applications."""

from typing import TYPE_CHECKING, Any

from .passwords import hash_password, verify_password
from .policy import OpcUaPolicy, PolicyError, Role, UserEntry

if TYPE_CHECKING:
    from .identity import Identity, ensure_identity
    from .trust import TrustStore, fingerprint_of

__all__ = [
    "Identity",
    "OpcUaPolicy",
    "PolicyError",
    "Role",
    "TrustStore",
    "UserEntry",
    "ensure_identity",
    "fingerprint_of",
    "hash_password",
    "verify_password",
]


def __getattr__(name: str) -> Any:
    """Certificates come when they are asked for: a compilation reads the policy alone."""
    if name in ("Identity", "ensure_identity"):
        from . import identity

        return getattr(identity, name)
    if name in ("TrustStore", "fingerprint_of"):
        from . import trust

        return getattr(trust, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
