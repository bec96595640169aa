"""The libvirt driver. Imported only by those who really talk to hosts (the orchestrator)."""

from .connection import HostAddress
from .hypervisor import LibvirtHypervisor

__all__ = ["HostAddress", "LibvirtHypervisor"]
