"""Typed descriptions of domains, and the libvirt XML they become."""

from .spec import (
    DirectBoot,
    DiskSpec,
    DomainSpec,
    NicSpec,
    Tuning,
    VcpuSpec,
    domain_name,
    screen_socket,
)
from .tuning import Shortfall, TuningPlan, tune
from .xml import render_domain

__all__ = [
    "DirectBoot",
    "DiskSpec",
    "DomainSpec",
    "NicSpec",
    "Shortfall",
    "Tuning",
    "TuningPlan",
    "VcpuSpec",
    "domain_name",
    "render_domain",
    "screen_socket",
    "tune",
]
