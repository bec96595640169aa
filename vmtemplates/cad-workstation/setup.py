"""Puts the desktop with FreeCAD and its way into the browser into the unpacked Debian."""

from __future__ import annotations

import shutil
from pathlib import Path

from vmtemplates.guest import add_user, place

HERE = Path(__file__).resolve().parent


def install(tree: Path, root: Path) -> None:
    """Run by vmtemplates.debian; `tree` is the guest's root folder."""
    add_user(tree, "cad", "/home/cad")
    place(tree, "cad-workstation")
    openbox = tree / "etc/xdg/openbox"
    openbox.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "etc/menu.xml", openbox / "menu.xml")
    # The page to open, in place of a listing of noVNC's files.
    index = tree / "usr/share/novnc/index.html"
    index.unlink(missing_ok=True)
    index.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>CAD workstation</title>'
        '<meta http-equiv="refresh" content="0; url=vnc.html?autoconnect=true&amp;resize=remote">'
        '<a href="vnc.html?autoconnect=true&amp;resize=remote">Open the desktop</a></html>\n',
        encoding="utf-8",
    )
