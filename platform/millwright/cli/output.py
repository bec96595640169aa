"""Tables for people, JSON for programs: the same rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

F = TypeVar("F", bound=Callable[..., Any])


def format_option(function: F) -> F:
    """`--format table|json`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Table for people, JSON for programs.",
    )(function)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(entry) for entry in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def show_rows(rows: Iterable[dict[str, Any]], columns: tuple[str, ...], form: str) -> None:
    """Print rows: JSON has all fields, the table the named columns."""
    listed = list(rows)
    if form == "json":
        show_json(listed)
        return
    if not listed:
        click.echo("none")
        return
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in listed:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    # Width of a pipe is unknown: never fold there, programs cut columns.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(table)


def show_one(row: dict[str, Any], form: str, hide: tuple[str, ...] = ()) -> None:
    """Print one thing, a field a line."""
    if form == "json":
        show_json(row)
        return
    width = max((len(name) for name in row if name not in hide), default=0)
    for name, value in row.items():
        if name not in hide:
            click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}")


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
