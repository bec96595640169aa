"""Typed descriptions of domains, and the libvirt XML they become."""

from .spec import (
    DirectBoot,
    DiskSpec,
    DomainSpec,
    NicSpec,
    Tuning,
    VcpuSpec,
    domain_name,
)

__all__ = [
    "DirectBoot",
    "DiskSpec",
    "DomainSpec",
    "NicSpec",
    "Tuning",
    "VcpuSpec",
    "domain_name",
]
