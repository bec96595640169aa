"""Building images, cached by content: recipe, wheel and the resolved package versions."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import debian, initramfs
from .errors import BuildError
from .image import MANIFEST, BuiltImage, read, seal
from .loader import HERE
from .schema import Template

Progress = Callable[[str], None]
#: What `prune` leaves alone: so many of the newest, and whatever was asked for in this time.
_ALWAYS_KEPT, _UNUSED_S = 2, 30 * 24 * 3600


def _key(template: Template) -> str:
    """What the image depends on and is known without a network: the recipe's files, and our own code in it."""
    digest = hashlib.sha256()
    paths = [*sorted((HERE / template.name).rglob("*")), *sorted(HERE.glob("*.py"))]
    if template.image.recipe == "debian":
        paths += debian.own_files(template)
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(HERE.parent).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def find_built(template: Template, cache: Path) -> BuiltImage | None:
    """The newest complete image of exactly this recipe, or None."""
    prefix = f"mw-{template.name}-{_key(template)}"
    folders = sorted(
        cache.glob(f"{prefix}-*"), key=lambda folder: folder.stat().st_mtime, reverse=True
    )
    return next((image for folder in folders if (image := read(folder)) is not None), None)


@contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prune(cache: Path, template: str, keep: str) -> list[str]:
    """Remove images of a template that nobody asked for in a month, but the two newest; returns their names.

    Hosts have copies of their own; an image of the catalogue that is gone here is built again when wanted.
    """
    pattern = re.compile(rf"mw-{re.escape(template)}-[0-9a-f]{{16}}-[0-9a-f]{{8}}")
    images = [folder for folder in cache.iterdir() if pattern.fullmatch(folder.name)]
    images.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    removed = []
    for folder in images[_ALWAYS_KEPT:]:
        if folder.name != keep and time.time() - folder.stat().st_mtime > _UNUSED_S:
            (folder / MANIFEST).unlink(missing_ok=True)  # first: what is left is no image
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return removed


def build_image(
    template: Template, cache: Path, progress: Progress = lambda _line: None
) -> BuiltImage:
    """Have the image built; a complete one is taken as it is.

    Works in a scratch folder that becomes the image by one rename, so that a killed build is never
    taken for whole; leftovers are removed at the next build.

    Raises:
        BuildError: a tool failed, with its last lines in the text, or the disk is full.
    """
    with _alone(cache, template.name):
        if (found := find_built(template, cache)) is not None:
            progress(f"{found.name}: present")
            os.utime(cache / found.name)  # in use: `prune` counts from here
            return found
        for leftover in cache.glob(f".build-{template.name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".build-{template.name}-", dir=cache))
        scratch.chmod(0o755)
        # Before the work: sources that change meanwhile belong to the next image, not to this one.
        key = _key(template)
        try:
            recipe = initramfs.build if template.image.recipe == "initramfs" else debian.build
            packages = recipe(template, scratch, progress)
            resolved = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:8]
            name = f"mw-{template.name}-{key}-{resolved}"
            seal(
                scratch,
                name,
                cmdline=template.boot.cmdline,
                marker=template.boot.marker,
                virtual_bytes=template.image.disk_bytes,
                packages=packages,
            )
            target = cache / name
            shutil.rmtree(target, ignore_errors=True)
            scratch.rename(target)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            where = error.filename or cache
            raise BuildError(f"{where}: {error.strerror or error}") from error
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    built = read(target)
    if built is None:
        raise BuildError(f"{target}: the image just built is not complete")
    progress(f"{built.name}: built")
    for name in prune(cache, template.name, built.name):
        progress(f"{name}: removed, unused for a month")
    return built
