"""Puts the job desk and the beam that proves CalculiX into the unpacked Debian."""

from __future__ import annotations

from pathlib import Path

from vmtemplates.guest import add_user, place
from vmtemplates.tools import run


def install(tree: Path, root: Path) -> None:
    """Run by vmtemplates.debian; `tree` is the guest's root folder."""
    add_user(tree, "cae", "/var/lib/cae")
    place(tree, "cae-node")
    run(["chroot", tree, "test", "-x", "/usr/bin/ccx"])
