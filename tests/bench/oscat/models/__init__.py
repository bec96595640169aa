"""Blocks with a memory, written down in Python from what they are meant to do; times in milliseconds."""

from __future__ import annotations

from . import control, logic, timing
from .base import Model

MODELS: dict[str, type[Model]] = {
    name.lower(): kind
    for module in (control, logic, timing)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and kind is not Model and issubclass(kind, Model)
}
