"""Built images: content-addressed folders. A folder without its last file, image.json, is not an image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "image.json"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A complete image. Each file: path, SHA-256, size in bytes."""

    name: str
    kernel: tuple[Path, str, int]
    initrd: tuple[Path, str, int]
    disk: tuple[Path, str, int] | None
    virtual_bytes: int
    cmdline: str
    boot_marker: str
    packages: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the catalogue."""
        files = {"kernel": self.kernel, "initrd": self.initrd, "disk": self.disk}
        return {
            "name": self.name,
            "cmdline": self.cmdline,
            "virtual_bytes": self.virtual_bytes,
            "files": {
                name: {"path": str(file[0]), "sha256": file[1], "size": file[2]}
                for name, file in files.items()
                if file
            },
        }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(
    folder: Path, name: str, *, cmdline: str, marker: str, virtual_bytes: int, packages: list[str]
) -> None:
    """Write the manifest: from now on the folder is an image."""
    files = {
        file: {"sha256": digest(folder / file), "size": (folder / file).stat().st_size}
        for file in ("kernel", "initrd", "disk.qcow2")
        if (folder / file).exists()
    }
    manifest = {
        "name": name,
        "files": files,
        "cmdline": cmdline,
        "marker": marker,
        "virtual_bytes": virtual_bytes,
        "packages": packages,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read(folder: Path) -> BuiltImage | None:
    """The image in a folder; None if it is not complete or a file has another size than sealed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {
            name: (folder / name, row["sha256"], row["size"])
            for name, row in manifest["files"].items()
            if (folder / name).stat().st_size == row["size"]
        }
        if set(files) != set(manifest["files"]):
            return None
        return BuiltImage(
            manifest["name"],
            files["kernel"],
            files["initrd"],
            files.get("disk.qcow2"),
            manifest["virtual_bytes"],
            manifest["cmdline"],
            manifest["marker"],
            tuple(manifest["packages"]),
        )
    except (OSError, ValueError, KeyError):
        return None
