"""The image cache: by content, whole or not at all, one builder at a time."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import vmtemplates.build as building
from vmtemplates import BuildError, Template, build_image, find_built, load_templates
from vmtemplates.tools import run


@pytest.fixture
def tiny() -> Template:
    return load_templates()["tiny"]


class Recipe:
    """Stands in for the recipe: writes small files, counts, and does what a test wants in between."""

    def __init__(self, meanwhile: Callable[[Path], None] = lambda _scratch: None) -> None:
        self.built = 0
        self.meanwhile = meanwhile

    def __call__(
        self, template: Template, scratch: Path, progress: Callable[[str], None]
    ) -> list[str]:
        self.built += 1
        (scratch / "kernel").write_bytes(b"kernel")
        self.meanwhile(scratch)
        (scratch / "initrd").write_bytes(b"initrd")
        progress("initrd")
        return ["linux=6.1"]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    made = Recipe()
    monkeypatch.setattr(building.initramfs, "build", made)
    return made


def test_nothing_is_found_where_nothing_was_built(tiny: Template, tmp_path: Path) -> None:
    assert find_built(tiny, tmp_path / "none") is None


def test_built_once_then_taken_as_it_is(tiny: Template, tmp_path: Path, recipe: Recipe) -> None:
    said: list[str] = []
    first = build_image(tiny, tmp_path, said.append)
    again = build_image(tiny, tmp_path, said.append)
    assert recipe.built == 1
    assert again == first == find_built(tiny, tmp_path)
    assert first.packages == ("linux=6.1",)
    assert first.disk is None
    assert first.boot_marker == "mw-tiny: ready"
    assert said[-1] == f"{first.name}: present"
    kernel = first.as_dict()["files"]["kernel"]
    assert kernel["size"] == 6
    assert len(kernel["sha256"]) == 64


def test_a_half_built_folder_is_never_an_image(
    tiny: Template, tmp_path: Path, recipe: Recipe
) -> None:
    image = build_image(tiny, tmp_path)
    (tmp_path / image.name / "image.json").unlink()
    assert find_built(tiny, tmp_path) is None
    assert build_image(tiny, tmp_path).name == image.name
    assert recipe.built == 2


@pytest.mark.parametrize("damage", ["truncated", "missing", "garbled manifest", "half a manifest"])
def test_a_damaged_image_is_built_again(
    tiny: Template, tmp_path: Path, recipe: Recipe, damage: str
) -> None:
    folder = tmp_path / build_image(tiny, tmp_path).name
    if damage == "truncated":
        (folder / "initrd").write_bytes(b"in")
    elif damage == "missing":
        (folder / "kernel").unlink()
    elif damage == "garbled manifest":
        (folder / "image.json").write_text('{"name": "mw-')
    else:
        (folder / "image.json").write_text(json.dumps({"name": folder.name}))
    assert find_built(tiny, tmp_path) is None
    build_image(tiny, tmp_path)
    assert recipe.built == 2
    assert find_built(tiny, tmp_path) is not None


def test_a_failed_build_leaves_nothing(
    tiny: Template, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_scratch: Path) -> None:
        raise BuildError("mmdebstrap ended with 1")

    recipe.meanwhile = fail
    with pytest.raises(BuildError, match="ended with 1"):
        build_image(tiny, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_full_disk_is_told_with_the_place(tiny: Template, tmp_path: Path, recipe: Recipe) -> None:
    def full(scratch: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(scratch / "initrd"))

    recipe.meanwhile = full
    with pytest.raises(BuildError, match="initrd: No space left on device"):
        build_image(tiny, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_leftovers_of_a_killed_build_are_removed(
    tiny: Template, tmp_path: Path, recipe: Recipe
) -> None:
    leftover = tmp_path / ".build-tiny-killed"
    leftover.mkdir()
    (leftover / "kernel").write_bytes(b"ker")
    other = tmp_path / ".build-vplc-at-work"
    other.mkdir()
    build_image(tiny, tmp_path)
    assert not leftover.exists()
    assert other.exists(), "another template's build may be at work"


def test_two_builders_build_once(tiny: Template, tmp_path: Path, recipe: Recipe) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_scratch: Path) -> None:
        began.set()
        assert go_on.wait(30)

    recipe.meanwhile = wait
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(build_image(tiny, tmp_path).name))
        for _ in range(2)
    ]
    threads[0].start()
    assert began.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert recipe.built == 1
    assert len(set(names)) == 1
    assert len(names) == 2


def sources(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of the test's own, with one file for the template `tiny`."""
    here = root / "vmtemplates"
    (here / "tiny").mkdir(parents=True)
    (here / "tiny/init").write_text("one")
    monkeypatch.setattr(building, "HERE", here)
    return here


def test_the_name_follows_the_content(
    tiny: Template, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, cache = sources(tmp_path, monkeypatch), tmp_path / "cache"
    first = build_image(tiny, cache)
    (here / "tiny/init").write_text("two")
    assert find_built(tiny, cache) is None
    second = build_image(tiny, cache)
    assert second.name != first.name
    (here / "tiny/init").write_text("one")
    assert find_built(tiny, cache) == first
    (here / "tiny/init").rename(here / "tiny/start")
    assert find_built(tiny, cache) is None


def test_sources_changed_during_a_build_do_not_name_it(
    tiny: Template, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, cache = sources(tmp_path, monkeypatch), tmp_path / "cache"
    recipe.meanwhile = lambda _scratch: (here / "tiny/init").write_text("changed")  # type: ignore[assignment,func-returns-value]
    build_image(tiny, cache)
    assert find_built(tiny, cache) is None, "the image holds the older sources"
    (here / "tiny/init").write_text("one")
    assert find_built(tiny, cache) is not None


def test_a_tool_that_fails_is_told_with_its_last_lines() -> None:
    with pytest.raises(BuildError, match="ended with 3:\nlast words"):
        run(["sh", "-c", "echo last words >&2; exit 3"])
    with pytest.raises(BuildError, match="mw-no-such-tool is not installed"):
        run(["mw-no-such-tool"])


def test_only_what_nobody_wanted_for_long_is_pruned(tmp_path: Path) -> None:
    long_ago = time.time() - 40 * 24 * 3600
    for index in range(5):
        folder = tmp_path / f"mw-tiny-{index:016x}-{index:08x}"
        folder.mkdir()
        (folder / "image.json").write_text("{}")
        if index < 4:
            os.utime(folder, (long_ago + index, long_ago + index))
    other = tmp_path / "mw-vplc-0000000000000000-00000000"
    other.mkdir()
    os.utime(other, (long_ago, long_ago))
    kept = "mw-tiny-0000000000000001-00000001"
    assert sorted(building.prune(tmp_path, "tiny", kept)) == [
        "mw-tiny-0000000000000000-00000000",
        "mw-tiny-0000000000000002-00000002",
    ]
    assert other.exists()
    assert (tmp_path / kept).exists()
