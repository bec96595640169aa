"""Which clone is which instance."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from millwright.lab import LabError, claim_instance


@pytest.fixture
def clones(tmp_path: Path) -> list[str]:
    """Folders of a dozen clones."""
    folders = [tmp_path / f"clone{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
    return [str(folder) for folder in folders]


def test_each_clone_gets_its_own_and_keeps_it(clones: list[str], tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    assert claim_instance(clones[0], folder=locks).instance == "mw0"
    assert claim_instance(clones[1], folder=locks).instance == "mw1"
    assert claim_instance(clones[0], folder=locks).index == 0


def test_clones_that_start_at_once_never_share(clones: list[str], tmp_path: Path) -> None:
    found: list[str] = []
    barrier = threading.Barrier(8)

    def take(owner: str) -> None:
        barrier.wait()
        found.append(claim_instance(owner, folder=tmp_path / "locks").instance)

    threads = [threading.Thread(target=take, args=(owner,)) for owner in clones[:8]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [f"mw{number}" for number in range(8)]


def test_what_is_given_back_or_deleted_is_free(clones: list[str], tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    claim_instance(clones[0], folder=locks).release(locks)
    assert claim_instance(clones[1], folder=locks).instance == "mw0"
    claim_instance(clones[2], folder=locks)
    Path(clones[1]).rmdir()
    assert claim_instance(clones[3], folder=locks).instance == "mw0"


def test_a_home_of_its_own_in_the_same_clone_is_another_owner(
    clones: list[str], tmp_path: Path
) -> None:
    locks = tmp_path / "locks"
    claim_instance(clones[0], folder=locks)
    assert claim_instance(f"{clones[0]}#/elsewhere", folder=locks).instance == "mw1"


def test_a_taken_one_is_refused_with_its_owner(clones: list[str], tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    claim_instance(clones[0], wanted="mw3", folder=locks)
    with pytest.raises(LabError, match=f"instance mw3 belongs to {clones[0]}"):
        claim_instance(clones[1], wanted="mw3", folder=locks)
    with pytest.raises(LabError, match="instance = 'mw10': mw0 to mw9"):
        claim_instance(clones[1], wanted="mw10", folder=locks)


def test_the_eleventh_is_told_who_has_them(clones: list[str], tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    for owner in clones[:10]:
        claim_instance(owner, folder=locks)
    with pytest.raises(LabError, match="all instances are taken") as caught:
        claim_instance(clones[10], folder=locks)
    assert clones[4] in str(caught.value)


def test_a_damaged_file_counts_as_nobodys(clones: list[str], tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "mw0.json").write_text("{")
    assert claim_instance(clones[0], folder=locks).instance == "mw0"
