"""Structured Text: parse, check, emit C, build. What stands here is public."""

from .build import build_shared_object
from .compiler import CheckReport, Compiled, Config, PouReport, TaskConfig, check, compile_project
from .errors import BuildError, Diagnostic, StError
from .project import Folder, compile_folder, load_folder, load_paths, read_folder

__all__ = [
    "BuildError",
    "CheckReport",
    "Compiled",
    "Config",
    "Diagnostic",
    "Folder",
    "PouReport",
    "StError",
    "TaskConfig",
    "build_shared_object",
    "check",
    "compile_folder",
    "compile_project",
    "load_folder",
    "load_paths",
    "read_folder",
]
