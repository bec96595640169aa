"""`millwright balance history`: what became of the plant's own moves, and what its rounds did."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_rows

_MOVES = ("created_at", "machine", "source", "destination", "mode", "state", "text", "note")
_ROUNDS = ("at", "mode", "level", "moves", "broken", "fullest", "why no more")
_DAY = (
    "A day like 2026-05-04 or a time like 2026-05-04T06:00, in the plant's zone unless it names one"
)


@click.command()
@click.option("--rounds", is_flag=True, help="Rounds instead of moves; those of the last 14 days.")
@click.option("--from", "since", metavar="TIME", help=f"{_DAY}.")
@click.option("--to", "until", metavar="TIME", help="End of the period; a day counts whole.")
@click.option("--pool", help="A resource pool, with those below it.")
@click.option("--machine", metavar="ENVIRONMENT/MACHINE")
@click.option("--mode", help="recommend, automatic, shadow, or real: all but shadow.")
@click.option(
    "--outcome",
    help="Of moves: moved, failed, rejected, superseded, shadow, open, moving; of rounds: moves, nothing, broken.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@format_option
def history(
    rounds: bool,
    since: str | None,
    until: str | None,
    pool: str | None,
    machine: str | None,
    mode: str | None,
    outcome: str | None,
    limit: int,
    form: str,
) -> None:
    """What became of moves that rounds decided, newest first; with --rounds what rounds did.

    Example: millwright balance history --from 2026-05-04 --to 2026-05-08 --mode real --outcome failed
    """
    if rounds and (pool or machine):
        raise click.UsageError("a round is of the whole plant: --pool and --machine are of moves")
    query: dict[str, Any] = {
        "from": since, "to": until, "pool": pool, "machine": machine, "mode": mode, "state": outcome,
    }  # fmt: skip
    asked = {name: value for name, value in query.items() if value}
    path = "recommendations/rounds/" if rounds else "recommendations/"
    found = Api.from_settings().rows(path, page_size=min(limit, 500), **asked)
    rows = [row for row, _ in zip(found, range(limit), strict=False)]
    if rounds and form != "json":
        rows = [row | _in_short(row) for row in rows]
    show_rows(rows, _ROUNDS if rounds else _MOVES, form)


def _in_short(row: dict[str, Any]) -> dict[str, str]:
    """A round's figures and reasons in a line."""
    before, after = row["figures"].get("before"), row["figures"].get("after")
    full = ""
    if before and after:
        full = (
            f"{before['highest_host']} {before['highest']:.0%} → "
            f"{after['highest_host']} {after['highest']:.0%}"
        )
    words = (
        f"{each['title']} ({each['count']})" if each["count"] > 1 else each["title"]
        for each in row["reasons"]
    )
    return {"fullest": full, "why no more": "; ".join(words)}
