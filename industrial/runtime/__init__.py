"""The scan engine in C and its doors in Python."""

from .build import EngineBuildError, ensure_engine
from .shm import SharedMemory, ShmError

__all__ = ["EngineBuildError", "SharedMemory", "ShmError", "ensure_engine"]
