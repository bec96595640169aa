"""Where a vPLC keeps its things. Everything can lie in any folder, so that it runs unprivileged on any Linux."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """State and run folders."""

    state: Path
    run: Path

    @classmethod
    def default(cls) -> Paths:
        """The guest's folders, or those named by VPLC_STATE and VPLC_RUN."""
        return cls(
            Path(os.environ.get("VPLC_STATE", "/var/lib/vplc")),
            Path(os.environ.get("VPLC_RUN", "/run/vplc")),
        )

    @classmethod
    def of_project(cls, project: Path) -> Paths:
        """Those of a project folder that `vplc run` runs."""
        # Whole: the links in it hold wherever they are read from.
        state = project.resolve() / "state"
        return cls(state, state / "run")

    @property
    def shm(self) -> Path:
        return self.run / "shm"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def inbox(self) -> Path:
        return self.state / "inbox"

    @property
    def packages(self) -> Path:
        return self.state / "packages"

    @property
    def active(self) -> Path:
        """A link to the package that runs."""
        return self.state / "active"

    @property
    def previous(self) -> Path:
        """A link to the program that ran before: one step back."""
        return self.state / "previous"

    @property
    def config(self) -> Path:
        """A link to the configuration in force."""
        return self.state / "config"

    @property
    def retain(self) -> Path:
        return self.state / "retain" / "retain.bin"

    @property
    def journal(self) -> Path:
        """Events and errors, as lines of JSON."""
        return self.state / "journal.jsonl"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.inbox, self.packages, self.retain.parent, self.run):
            folder.mkdir(parents=True, exist_ok=True)
