"""Structured Text to C: what the main job needs of IEC 61131-3; all else is refused with a line."""

from .api import CheckRow, Compiled, check_paths, compile_project
from .build import ToolchainError, build_shared_object
from .diagnostics import Diagnostic, render

__all__ = [
    "CheckRow",
    "Compiled",
    "Diagnostic",
    "ToolchainError",
    "build_shared_object",
    "check_paths",
    "compile_project",
    "render",
]
