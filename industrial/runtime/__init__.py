"""The scan engine in C and its doors in Python."""

from typing import TYPE_CHECKING, Any

from .shm import SharedMemory, ShmError

if TYPE_CHECKING:
    from .build import EngineBuildError, ensure_engine

__all__ = ["EngineBuildError", "SharedMemory", "ShmError", "ensure_engine"]


def __getattr__(name: str) -> Any:
    """What compiles the engine comes when it is asked for: a controller starts without it."""
    if name in ("EngineBuildError", "ensure_engine"):
        from . import build

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
