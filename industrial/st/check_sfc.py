"""Sequential function charts, lowered to ordinary statements over hidden variables of the instance."""

from __future__ import annotations

from .check_stmt import Checker
from .model import Pou


def check_chart(checker: Checker, pou: Pou) -> None:
    """Check a chart and give the POU its body."""
    if pou.node.sfc is not None:
        checker.error(
            pou.node.sfc.pos, "unsupported", "sequential function charts are not supported yet"
        )
