"""A disk of its own with a real file system, of which a power cut leaves what the kernel had written to it by then."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIB = 12


class NoDisk(RuntimeError):
    """There is none to be had here; the text says why."""


class Disk:
    """An image mounted at `folder`. Nothing is written behind one's back: the journal is committed when a program asks."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.folder = image, folder

    def mount(self) -> None:
        """Make what the image holds visible; the file system recovers first."""
        subprocess.run(
            ["mount", "-o", "loop,commit=300", str(self.image), str(self.folder)], check=True
        )

    def cut(self) -> None:
        """The power goes and comes back: what was only in memory is lost. Whoever wrote has been killed before."""
        survived = self.image.with_suffix(".survived")
        shutil.copyfile(self.image, survived)
        self.leave()
        survived.replace(self.image)
        self.mount()

    def leave(self) -> None:
        """Take it away, whoever still looks at it."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@contextmanager
def disk(scratch: Path) -> Iterator[Disk]:
    """One with ext4, mounted below `scratch`.

    Raises:
        NoDisk: no root, no loop devices, or no tools.
    """
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        raise NoDisk("root and loop devices are wanted")
    if shutil.which("mkfs.ext4") is None:
        raise NoDisk("mkfs.ext4 is not installed")
    image, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    made = Disk(image, folder)
    made.mount()
    try:
        yield made
    finally:
        made.leave()
