"""Where this installation's files are, and which instance it is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CliError

LOCKS = Path("/run/lock/millwright")


def checkout() -> Path:
    """The checkout that this code runs from, or where the package is installed."""
    return Path(__file__).resolve().parents[3]


def owner() -> str:
    """Who owns an instance: the checkout and the state folder that was asked for, if one was."""
    home = os.environ.get("MILLWRIGHT_HOME", "")
    return f"{checkout()}#{home}" if home else str(checkout())


def adopt_instance(folder: Path = LOCKS) -> None:
    """Let settings name the instance that `millwright up` took for this checkout, unless one is given.

    Two clones on one machine so speak to their own instance each, without being told.
    """
    if os.environ.get("MILLWRIGHT_INSTANCE"):
        return
    for path in sorted(folder.glob("mw[0-9].json")):
        try:
            mine = json.loads(path.read_text(encoding="utf-8"))["owner"] == owner()
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if mine:
            os.environ["MILLWRIGHT_INSTANCE"] = path.stem
            return


def owner_of(instance: str, folder: Path = LOCKS) -> str | None:
    """Who holds an instance's number; None: nobody."""
    try:
        return str(json.loads((folder / f"{instance}.json").read_text(encoding="utf-8"))["owner"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Only one `up` or `down` of an installation at a time; the kernel drops the lock with the process.

    Raises:
        CliError: another one is at work.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    # Beside the home, which `down` removes.
    path = home.with_name(f".{home.name}.lock")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CliError(
                f"another millwright up or down is at work on {home}; wait for its end"
            ) from None
        yield
