"""Running the tools of a build, and fetching packages with the machine's own apt."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import BuildError


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
) -> str:
    """Run a tool; its output, or an error with the last lines.

    Raises:
        BuildError: it failed, is missing, or took too long.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took longer than {timeout_s:.0f} s") from None
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise BuildError(f"{command[0]} ended with {done.returncode}:\n{last}")
    return done.stdout


def depends(package: str) -> str:
    """The one package that a meta package (such as linux-image-rt-amd64) depends on, by the local index."""
    text = run(["apt-cache", "depends", "--no-recommends", "--no-suggests", "--important", package])
    for line in text.splitlines():
        word, _, name = line.strip().partition(": ")
        if word == "Depends" and name.startswith("linux-image-"):
            return name
    return package


def fetch_deb(package: str, folder: Path) -> Path:
    """Download one package with apt, which checks its signature chain."""
    # apt's own sandbox user cannot write into a root folder: it would only warn, so it is told.
    run(["apt-get", "download", "-o", "APT::Sandbox::User=root", package], cwd=folder)
    found = sorted(folder.glob(f"{package.split('=')[0]}_*.deb"))
    if not found:
        raise BuildError(f"apt-get download {package}: no file came")
    return found[-1]
