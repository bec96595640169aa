"""Every change of service levels, by one door: measurements, corrections, contracts, maintenance, seals."""

from __future__ import annotations

from .corrections import classify_interval, merge_intervals, note_interval, split_interval
from .objectives import preview_contract, write_contract
from .probes import record_cycle_fault, record_probe
from .seals import seal_month
from .windows import close_window, decide_window, request_window, withdraw_window

__all__ = [
    "classify_interval",
    "close_window",
    "decide_window",
    "merge_intervals",
    "note_interval",
    "preview_contract",
    "record_cycle_fault",
    "record_probe",
    "request_window",
    "seal_month",
    "split_interval",
    "withdraw_window",
    "write_contract",
]
