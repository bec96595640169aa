"""Compiling the scan engine, once per content, into a cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

NATIVE = Path(__file__).resolve().parent / "native"
SOURCES = ("engine.c", "image.c", "history.c", "scan.c", "dispatch.c", "change.c", "retain.c")
FLAGS = (
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
)


class EngineBuildError(RuntimeError):
    """The C compiler refused; its words are in the text."""


def default_cache() -> Path:
    """Below the user's cache folder."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millwright" / "engine"
    )


def ensure_engine(cache: Path | None = None) -> Path:
    """The compiled `vplc-scan`; built when its sources changed.

    Raises:
        EngineBuildError: no compiler, or it found an error.
    """
    return _ensure("vplc-scan", (*SOURCES, "main.c"), (), cache)


def ensure_simulator(cache: Path | None = None) -> Path:
    """The same engine as a library that runs in virtual time (`industrial.simulation`).

    Raises:
        EngineBuildError: no compiler, or it found an error.
    """
    return _ensure("libvplc-sim", (*SOURCES, "simulate.c"), ("-shared", "-fPIC"), cache)


def _ensure(name: str, sources: tuple[str, ...], more: tuple[str, ...], cache: Path | None) -> Path:
    cache = cache or default_cache()
    digest = hashlib.sha256(" ".join((*FLAGS, *more)).encode())
    for path in sorted(NATIVE.iterdir()):
        digest.update(path.read_bytes())
    target = cache / f"{name}-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(f".{os.getpid()}")
    command = ["gcc", *FLAGS, *more, "-o", str(scratch)]
    command += [*(str(NATIVE / source) for source in sources), "-ldl", "-lpthread"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise EngineBuildError("gcc is not installed") from None
    if done.returncode != 0:
        raise EngineBuildError(done.stderr)
    scratch.rename(target)
    return target
