"""Puts Redmine, WebDAV and the MQTT broker of the unpacked Debian to work: one site, one account, no default password."""

from __future__ import annotations

import shutil
from pathlib import Path

from vmtemplates.guest import place
from vmtemplates.tools import run

HERE = Path(__file__).resolve().parent


def install(tree: Path, root: Path) -> None:
    """Run by vmtemplates.debian; `tree` is the guest's root folder."""
    place(tree, "collab-services")
    shutil.copy(HERE / "etc/site.conf", tree / "etc/apache2/sites-available/millwright.conf")
    shutil.copy(HERE / "etc/mosquitto.conf", tree / "etc/mosquitto/conf.d/millwright.conf")
    files = tree / "srv/files"
    files.mkdir(parents=True, exist_ok=True)
    run(["chroot", tree, "chown", "www-data:www-data", "/srv/files"])
    run(["chroot", tree, "a2enmod", "-q", "dav", "dav_fs", "passenger", "auth_basic", "authn_file"])
    run(["chroot", tree, "a2dissite", "-q", "000-default"])
    run(["chroot", tree, "a2ensite", "-q", "millwright"])
    # Drawn anew in each machine: no two may share what signs their sessions.
    (tree / "etc/redmine/default/secret_key.txt").unlink()
