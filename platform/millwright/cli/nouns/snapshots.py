"""Plants that the balancer's commands work on: from a file, or as the running plant has it now."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.core import balancing as core

#: where the portal tells the plant as a snapshot
ADDRESS = "hosts/snapshot/"


def decode(text: str) -> Any:
    """JSON in which no key stands twice.

    Raises ValueError that says what is wrong.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{where}: {error.msg}; a snapshot as JSON is wanted") from None
    except RecursionError:
        raise ValueError("lists and objects lie deeper in each other than a snapshot has") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r}: stands twice in one object; each key once is wanted")
    return found


def plant(path: str | None, now: str | None) -> core.Plant:
    """The plant of a file (`-`: standard input), or without one as it runs, as its calendar has it at that time.

    Without a time: a file without its calendar, the running plant as it is now.
    Raises CliError with field, value and rule.
    """
    at = moment(now)
    if path is None:
        return _running(now)
    try:
        with click.open_file(path, encoding="utf-8") as file:
            found = core.read_plant(told := decode(file.read()))
        if not found.hosts:
            # A plant of its own may have none yet; who hands in a file has forgotten them, or it is another file.
            raise core.SnapshotError("hosts", told.get("hosts"), "at least one host is wanted")
    except UnicodeDecodeError as error:
        raise CliError(
            f"{path}: byte {error.start + 1} is no text in UTF-8; a snapshot as JSON is wanted"
        ) from error
    except (core.SnapshotError, ValueError, OSError) as error:
        raise CliError(f"{path}: {error}") from error
    return core.at(found, at) if at else found


def _running(now: str | None) -> core.Plant:
    try:
        api = Api.from_settings()
    except CliError as error:
        raise CliError(f"{error}; or give a snapshot of a plant") from None
    told = api.get(ADDRESS, at=now or "now")
    try:
        return core.read_plant(told, strict=False)
    except core.SnapshotError as error:
        raise CliError(f"the running plant: {error}") from error


def read_template(path: Path) -> core.Vm:
    """One machine from JSON, read with the rules of a snapshot.

    Raises CliError with field, value and rule.
    """
    try:
        row = decode(path.read_text(encoding="utf-8"))
        if isinstance(row, Mapping):
            row = {"name": "template", **row, "host": None, "node": None}
            row = {key: value for key, value in row.items() if key not in ("pool", "after")}
        return core.read_plant({"hosts": [], "vms": [row]}).vms[0]
    except (core.SnapshotError, ValueError, OSError) as error:
        raise CliError(f"{path}: {error}") from error


def read_state(path: Path | None) -> core.BalanceState | None:
    """What the last round left; nothing: there was none. Asked before any work is done.

    Raises CliError: it is not that, or could not be written anew.
    """
    if path is None:
        return None
    if not path.parent.is_dir():
        raise CliError(f"--state {path}: {str(path.parent)!r}: no such folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise CliError(
            f"--state {path}: {str(path.parent)!r}: must be writable: it is written anew"
        )
    if not path.exists():
        return None
    try:
        return core.read_state(decode(path.read_text(encoding="utf-8")))
    except (core.SnapshotError, ValueError, OSError) as error:
        raise CliError(f"--state {path}: not the state of a round: {error}") from error


def write_state(path: Path, state: core.BalanceState) -> None:
    """Whole or not at all: a state that is half there would end all rounds after it.

    Raises CliError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise CliError(f"--state {path}: {error}") from error


def moment(text: str | None) -> datetime | None:
    """The time that was given with --now.

    Raises CliError: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise CliError(f"--now: {text!r}: a time like 2026-05-04T06:00 is wanted") from None


def number(option: str, value: float, field: str) -> float:
    """A number of the command line within the bounds of the model's field.

    Raises CliError with option, value and rule.
    """
    low, high = core.BOUNDS[field]
    if not low <= value <= high:
        raise CliError(f"{option}: {value:g}: must be from {low:g} to {high:g}")
    return value
