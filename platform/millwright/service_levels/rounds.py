"""What happens to service levels by the clock: history, silent probes, maintenance windows, sums."""

from __future__ import annotations

import datetime as dt
import logging

from django.utils import timezone

from .contracts import sync_objectives
from .ledger import begin_rounds, end_rounds, read_history
from .measuring import refresh_due
from .probes import silent_probes
from .windows import advance

__all__ = ["begin", "end_rounds", "ledger_round"]

log = logging.getLogger(__name__)


def begin() -> None:
    """When the orchestrator becomes active: the shipped objectives, and since when nobody looked."""
    sync_objectives()
    begin_rounds(timezone.now())


def ledger_round(now: dt.datetime) -> None:
    """One round. A part that fails does not keep the others from being done."""
    # Windows first: what becomes active now excludes from now on.
    for work in (silent_probes, read_history, advance, refresh_due):
        try:
            work(now)
        except Exception:
            log.exception("%s failed", work.__name__)
