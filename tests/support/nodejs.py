"""Node's OPC UA client: programs of tests/e2e/node, with the packages of its lock file."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "e2e/node"


def packages() -> Path:
    """node_modules, installed at the first use and when the lock file is another."""
    installed, lock = FOLDER / "node_modules/.package-lock.json", FOLDER / "package-lock.json"
    with lock.open() as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run(
                [_bin() / "npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"],
                cwd=FOLDER, check=True, env=_environment(),
            )  # fmt: skip
    return FOLDER / "node_modules"


def node(script: str, *words: str, limit_s: float = 180.0) -> Any:
    """The JSON object that a script prints last."""
    packages()
    done = subprocess.run(
        ["node", script, *words],
        cwd=FOLDER, env=_environment(), capture_output=True, text=True, timeout=limit_s,
    )  # fmt: skip
    if done.returncode or not done.stdout.strip():
        raise AssertionError(done.stdout + done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _bin() -> Path:
    return Path(sys.executable).parent


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{_bin()}:{os.environ['PATH']}"}
