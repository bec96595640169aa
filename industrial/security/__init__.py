"""Who a vPLC is and whom it believes: its certificate, users, roles, trusted applications."""

from .identity import Identity, ensure_identity
from .passwords import hash_password, verify_password
from .policy import OpcUaPolicy, PolicyError, Role, UserEntry
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
