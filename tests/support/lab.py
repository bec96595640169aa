"""One real lab for the whole test run, as an instance of its own; cleaned at the end and at the next start."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from millwright.lab import Lab, LabError, LabPlan, claim_instance

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(
    os.environ.get(
        "MILLWRIGHT_CACHE_DIR",
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "millwright",
    )
)


class RunningLab:
    """A lab that is up, with its plan."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def plan(self) -> LabPlan:
        return self.lab.plan()

    def heal(self) -> None:
        """Undo whatever a test did to hosts."""
        for host in self.plan.hosts:
            self.lab.restore(host.name)


def need_root() -> None:
    """Skip without root; under CI that is a failure."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("the lab needs root, and this is CI")
    pytest.skip("the lab needs root")


@contextmanager
def lab_of_its_own() -> Iterator[Lab]:
    """An instance that nobody else uses, not up yet; everything of it is gone at the end.

    Its state lies in a fixed place, so that the next run finds what a killed one left. A lock that dies with
    its process tells a killed run's from another run's at the same time.
    """
    need_root()
    for number in range(4, 10):
        root = Path("/var/tmp") / f"millwright-tests-mw{number}"
        with (Path("/run/lock") / f"mw-tests-mw{number}.lock").open("w") as guard:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                claim = claim_instance(f"{ROOT}#tests-mw{number}", wanted=f"mw{number}")
            except (BlockingIOError, LabError):
                continue
            root.mkdir(mode=0o700, exist_ok=True)
            lab = Lab(root / "lab", root / "pki", claim.index)
            lab.down()
            yield lab
            lab.down()
            claim.release()
            return
    raise AssertionError("no instance is free for the tests: mw4 to mw9 are all taken")


@pytest.fixture(scope="session")
def session_lab() -> Iterator[RunningLab]:
    """Two real hosts."""
    with lab_of_its_own() as lab:
        lab.up(2)
        yield RunningLab(lab)


@pytest.fixture
def real_lab(session_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, healed after each test."""
    yield session_lab
    session_lab.heal()
