"""Every change of service levels, by one door: measurements, corrections, contracts, maintenance."""

from __future__ import annotations

from .probes import record_cycle_fault, record_probe

__all__ = ["record_cycle_fault", "record_probe"]
