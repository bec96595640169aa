"""Which instance a checkout is: two clones on one machine do not touch each other."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

LOCKS = Path("/run/lock/millwright")


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance and who it belongs to."""

    instance: str
    owner: str

    @property
    def index(self) -> int:
        return int(self.instance[2:])

    def release(self, folder: Path = LOCKS) -> None:
        """Give it back."""
        with suppress(FileNotFoundError):
            (folder / f"{self.instance}.json").unlink()


def claim_instance(
    owner: str, *, wanted: str | None = None, first: int = 0, folder: Path = LOCKS
) -> Claim:
    """The owner's instance: the one it has, or the first free one.

    An instance belongs to whoever is named in its file, until given back; a file whose owner's folder is
    gone is free.

    Raises:
        LabError: the wanted one belongs to another, or all ten are taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        owners = {f"mw{index}": _owner(folder / f"mw{index}.json") for index in range(10)}
        mine = [name for name, who in owners.items() if who == owner]
        if wanted is None and mine:
            return Claim(mine[0], owner)
        candidates = [wanted] if wanted else [f"mw{index}" for index in range(first, 10)]
        for name in candidates:
            if name not in owners:
                raise LabError(f"instance = {name!r}: mw0 to mw9")
            if owners[name] in (None, owner):
                scratch = folder / f".{name}.{os.getpid()}"
                scratch.write_text(json.dumps({"owner": owner, "pid": os.getpid()}))
                scratch.rename(folder / f"{name}.json")
                return Claim(name, owner)
        if wanted:
            raise LabError(f"instance {wanted} belongs to {owners[wanted]}")
        raise LabError(
            f"all instances are taken: {', '.join(f'{n} by {w}' for n, w in owners.items())}"
        )


def _owner(path: Path) -> str | None:
    try:
        owner = str(json.loads(path.read_text())["owner"])
    except (OSError, ValueError, KeyError):
        return None
    # Owners are folders: what they belonged to was deleted without `make down`.
    return owner if Path(owner.split("#")[0]).exists() else None
