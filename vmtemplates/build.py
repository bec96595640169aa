"""Building images, cached by content: recipe, wheel and the resolved package versions."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import debian, initramfs
from .errors import BuildError
from .image import BuiltImage, read, seal
from .loader import HERE
from .schema import Template

Progress = Callable[[str], None]


def _key(template: Template) -> str:
    """What the image depends on and is known without a network: the recipe's files, and our own code in it."""
    digest = hashlib.sha256()
    paths = [*sorted((HERE / template.name).rglob("*")), *sorted(HERE.glob("*.py"))]
    if template.image.recipe == "debian":
        paths += debian.own_files()
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
    return built
