"""A small certificate authority for a plant: libvirt's doors, the portal, agents. Also what Ansible calls."""

from .authority import Authority, PkiError, expires_within
from .layout import write_client, write_host

__all__ = ["Authority", "PkiError", "expires_within", "write_client", "write_host"]
