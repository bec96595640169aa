"""Alertmanager's configuration as a file, and its command line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from .prometheus import ConfigError
from .rules import alertmanager_document

#: Debian calls it prometheus-alertmanager, elsewhere it is alertmanager.
PROGRAMS = ("prometheus-alertmanager", "alertmanager")


def alertmanager_program() -> str | None:
    """Where it is; None: not installed. Alerts then stand on Prometheus' page only."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def alertmanager_command(program: str, folder: Path, port: int) -> tuple[str, ...]:
    """Alone, on loopback: it speaks to no other Alertmanager."""
    return (
        program,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    )


def write_alertmanager(folder: Path, webhooks: Mapping[str, str] | None = None) -> bool:
    """Write `alertmanager.yml`; True if it changed.

    Raises:
        ConfigError: amtool refuses it; the file that was there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "alertmanager.yml"
    text = "# Generated; changes here are lost.\n" + yaml.safe_dump(
        alertmanager_document(webhooks), sort_keys=False
    )
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    scratch = folder / "alertmanager.new.yml"
    scratch.write_text(text, encoding="utf-8")
    try:
        tool = shutil.which("amtool")
        if tool is not None:
            done = subprocess.run(
                [tool, "check-config", str(scratch)], capture_output=True, text=True, timeout=60
            )
            if done.returncode:
                raise ConfigError(f"amtool refuses {target}: {(done.stdout + done.stderr).strip()}")
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return True
