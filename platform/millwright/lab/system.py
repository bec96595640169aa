"""Calls of the system's tools."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import LabError


def run(
    *command: str, check: bool = True, stdin: str | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a tool.

    Raises:
        LabError: it is missing, took too long or failed; with what it said.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, input=stdin, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]}: not installed; see: millwright doctor") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no answer within {timeout_s:.0f} s") from None
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done


def in_netns(name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a tool in a network namespace."""
    return run("ip", "netns", "exec", name, *command, check=check)


def link_exists(name: str, netns: str | None = None) -> bool:
    prefix: Sequence[str] = ("ip", "-n", netns) if netns else ("ip",)
    return run(*prefix, "link", "show", "dev", name, check=False).returncode == 0


def netns_exists(name: str) -> bool:
    return Path("/run/netns", name).exists()
