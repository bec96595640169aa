"""What explained a row of the ledger, by its words: for rows and seals of before a code said it."""

from __future__ import annotations

import re


def code_of(kind: str, cause: str, why: str, host: str) -> str:
    """The code of the event that a row's words name, `core.sla.Happened`; empty: none that counts."""
    if kind != "down" or cause != "unplanned":
        return ""
    if re.search(r"(^|; )crashed(:|;|$)", why):
        return "crash"
    return "host" if host and f"host {host} " in why else ""
