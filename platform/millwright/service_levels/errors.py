"""What the ledger refuses."""

from __future__ import annotations


class SupersededError(ValueError):
    """The row was corrected meanwhile; read again. Names the row and what replaced it."""

    def __init__(self, row: object, verb: str) -> None:
        super().__init__(f"{row} was replaced meanwhile ({verb}); look again")
