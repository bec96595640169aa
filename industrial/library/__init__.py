"""Function blocks and functions of ours that every program may use, in Structured Text.

Documented in docs/st_language.md. A project's own POU of the same name goes before one of these.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).resolve().parent


@cache
def sources() -> tuple[tuple[str, str], ...]:
    """(file name, text) of every file of the library."""
    return tuple(
        (path.name, path.read_text(encoding="utf-8")) for path in sorted(_HERE.glob("*.st"))
    )
