"""The Ansible collection, as Debian's ansible-core sees it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
#: Debian's ansible-core lives in the system's Python, not in ours.
PYTHON = "/usr/bin/python3"


def link(folder: Path) -> dict[str, str]:
    """Have the collection found below a folder; the environment for Ansible's commands."""
    place = folder / "ansible_collections/millwright"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "plant").exists():
        (place / "plant").symlink_to(ANSIBLE)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "0",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
    }


def run(
    environment: dict[str, str], *command: str, limit_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's commands."""
    return subprocess.run(
        command,
        cwd=ANSIBLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_s,
        stdin=subprocess.DEVNULL,
    )
