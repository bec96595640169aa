"""One real lab for the whole test run, as an instance of its own; cleaned at the end and at the next start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.lab import Lab, LabPlan, claim_instance

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


@pytest.fixture(scope="session")
def session_lab() -> Iterator[RunningLab]:
    """Two real hosts. Its state lies in a fixed place, so that a killed run's leftovers are found."""
    need_root()
    claim = claim_instance(f"{ROOT}#tests", first=4)
    root = Path("/var/tmp") / f"millwright-tests-{claim.instance}"
    root.mkdir(mode=0o700, exist_ok=True)
    lab = Lab(root / "lab", root / "pki", claim.index)
    lab.down()
    lab.up(2)
    yield RunningLab(lab)
    lab.down()
    claim.release()


@pytest.fixture
def real_lab(session_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, healed after each test."""
    yield session_lab
    session_lab.heal()
