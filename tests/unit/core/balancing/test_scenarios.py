"""Each scenario folder tells the same story as the day its log was read by a person."""

from pathlib import Path

import pytest

from .play import folders, play


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_the_log_is_as_expected(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert play(folder) == (folder / "expected.log").read_text(encoding="utf-8")


def test_there_are_forty_of_them() -> None:
    assert len(folders()) >= 40
