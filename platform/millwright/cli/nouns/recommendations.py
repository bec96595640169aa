"""`millwright recommendation …`."""

from __future__ import annotations

import json
from typing import Any, TextIO

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.nouns.slept import savings
from millwright.cli.output import format_option, show_one, show_rows


@click.group()
def recommendation() -> None:
    """Moves that the balancer decided: list, approve, reject; its mode."""


@recommendation.command("list")
@click.option("--state", help="open, shadow, moving, rejected or superseded.")
@click.option("--limit", default=20, show_default=True)
@format_option
def list_recommendations(state: str | None, limit: int, form: str) -> None:
    """List them, newest first, with their reasons."""
    found = Api.from_settings().rows("recommendations/", **({"state": state} if state else {}))
    rows = [row for row, _ in zip(found, range(limit), strict=False)]
    fields = ("id", "machine", "source", "destination", "state", "created_at", "revision", "text")
    show_rows(rows, fields, form)


@recommendation.command()
@click.argument("number", type=int)
@click.option("--reason", default="")
@click.option(
    "--revision",
    type=click.IntRange(1),
    help="That of the list: a move whose numbers have materially changed since is not begun.",
)
def approve(number: int, reason: str, revision: int | None) -> None:
    """Begin a recommended move; one that is part of a plan with all its steps."""
    body: dict[str, Any] = {"reason": reason} | ({"revision": revision} if revision else {})
    row = Api.from_settings().post(f"recommendations/{number}/approve/", body)
    if plan := row.get("plan"):
        for place, step in enumerate(plan["steps"], 1):
            aside = ", for a while" if step["aside"] else ""
            click.echo(f"{place}. {step['machine']}: {step['source']} → {step['target']}{aside}")
        return
    click.echo(f"{row['machine']}: {row['state']}, operation {row['operation']}")


@recommendation.command()
@click.argument("number", type=int)
@click.option("--reason", default="")
def reject(number: int, reason: str) -> None:
    """Do without a recommended move; a plan under way begins no further step."""
    row = Api.from_settings().post(f"recommendations/{number}/reject/", {"reason": reason})
    click.echo(f"{row['machine']}: {row['state']}")


@recommendation.command()
@click.argument(
    "word", required=False, type=click.Choice(["off", "shadow", "recommend", "automatic"])
)
@click.option("--level", type=click.IntRange(1, 5), help="1 mends only, 5 balances the finest.")
@click.option(
    "--spare",
    type=click.IntRange(0, 3),
    help="Hosts that may die at once: rounds and placements keep the room.",
)
@click.option("--moves", type=click.IntRange(1, 50), help="That a round decides at most.")
@click.option(
    "--lasting",
    type=click.IntRange(1, 24),
    help="Rounds of five minutes that an imbalance lasts before it is acted upon.",
)
@click.option(
    "--rest",
    type=click.IntRange(0, 288),
    help="Rounds of five minutes for which a machine that moved stays.",
)
@click.option(
    "--per-link",
    type=click.IntRange(0, 50),
    help="Moves of rounds and drains at once between any two failure domains; 0: any number.",
)
@click.option("--reason", default="", help="Kept in the audit trail.")
@format_option
def mode(word: str | None, form: str, reason: str, **numbers: int | None) -> None:
    """Show what rounds do, or set it."""
    names = {
        "level": "level",
        "spare": "spare_hosts",
        "moves": "max_moves",
        "lasting": "sustain_rounds",
        "rest": "cooldown_rounds",
        "per_link": "link_moves",
    }
    given = {names[name]: number for name, number in numbers.items() if number is not None}
    if word is None and given:
        raise click.UsageError("give the mode too: off, shadow, recommend or automatic")
    api = Api.from_settings()
    body: dict[str, Any] = {"mode": word, "reason": reason} | given
    row = api.post("recommendations/mode/", body) if word else api.get("recommendations/mode/")
    if form != "json" and (before := row["figures"].get("before")):
        after = row["figures"]["after"]
        row["unevenness"] = f"{before['imbalance']:.2f} → {after['imbalance']:.2f}"
        row["fullest"] = (
            f"{before['highest_host']} {_percent(before['highest'])} → "
            f"{after['highest_host']} {_percent(after['highest'])}"
        )
    show_one(row, form, hide=("figures",))


@recommendation.command()
@click.argument("file", required=False, type=click.File(encoding="utf-8"))
@click.option("--reason", default="")
@format_option
def calendar(file: TextIO | None, reason: str, form: str) -> None:
    """Show what holds by shift or until a date, or take it from a FILE (JSON; - reads standard input).

    \b
    [{"name": "night", "pools": ["cae"], "start": "22:00", "end": "06:00", "shares": 9000},
     {"name": "rush", "vms": ["press/vplc"], "until": "2026-05-08T12:00", "priority": 9}]

    Example: millwright recommendation calendar shifts.json
    """
    api = Api.from_settings()
    if file is None:
        show_rows(api.get("recommendations/calendar/")["lines"], ("name", "pools", "vms"), form)
        return
    try:
        lines = json.load(file)
    except ValueError as error:
        raise CliError(f"{file.name}: not JSON ({error})") from None
    body = {"lines": lines, "reason": reason}
    kept = api.post("recommendations/calendar/", body)["lines"]
    click.echo(f"{len(kept)} lines hold from the next round on")


@recommendation.command()
@click.argument("number", type=int, required=False)
@format_option
def heat(number: int | None, form: str) -> None:
    """How full each host is now, and after a move, or after all that wait for a person."""
    path = f"recommendations/{number}/heat/" if number else "recommendations/heat/"
    rows = Api.from_settings().get(path)
    if form == "json":
        show_rows(rows, (), form)
        return
    words = [
        {
            "host": row["before"]["host"],
            **{
                key: f"{_percent(row['before'][key])} → {_percent(row['after'][key])}"
                for key in ("cpu", "memory", "cores")
            },
        }
        for row in rows
    ]
    show_rows(words, ("host", "cpu", "memory", "cores"), form)


@recommendation.command("round")
@format_option
def last_round(form: str) -> None:
    """What the last round decided, and why it did nothing or no more."""
    told = Api.from_settings().get("recommendations/round/")
    row = told["round"]
    if form == "json":
        show_one(told, form)
        return
    if row is None:
        click.echo("no round has been made yet")
        return
    click.echo(f"{row['at']}: {row['mode']}, level {row['level']}, {row['moves']} moves decided")
    if told["next_at"]:
        click.echo(f"next: {told['next_at']}")
    if before := row["figures"].get("before"):
        after = row["figures"]["after"]
        click.echo(
            f"unevenness {before['imbalance']:.2f} → {after['imbalance']:.2f}, fullest "
            f"{before['highest_host']} {_percent(before['highest'])} → "
            f"{after['highest_host']} {_percent(after['highest'])}"
        )
    for entry in row["violations"]:
        lead = "being mended" if entry["mending"] else "not mended"
        click.echo(f"{entry['text']}; {lead}: {entry['why'] or 'no move that is allowed does it'}")
    for refusal in row["refused"]:
        click.echo(refusal["text"])
    if left := sum(row["counts"].values()) - len(row["refused"]):
        click.echo(f"and {left} more")


@recommendation.command()
@format_option
def shadow(form: str) -> None:
    """What shadow would have done in the last week: moves, and host-minutes above the threshold."""
    rows = Api.from_settings().get("recommendations/shadow/")
    rows = [row | {"pool": row["pool"] or "(all)"} for row in rows]
    show_rows(rows, ("pool", "moves", "above_minutes", "foreseen_minutes"), form)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.0f} %"


@recommendation.command()
@click.argument(
    "word", required=False, type=click.Choice(["off", "shadow", "recommend", "automatic"])
)
@click.option("--headroom", type=click.IntRange(0, 200), help="Percent above what is expected.")
@click.option("--keep-awake", type=click.IntRange(1, 1000), help="Hosts that stay awake.")
@click.option("--least-hours", type=click.IntRange(1, 48), help="Hours of sleep, at least.")
@click.option("--from", "begin", help="From when on hosts may sleep, as 20:00; empty: always.")
@click.option("--to", "end", help="Until when.")
@click.option("--reason", default="", help="Kept in the audit trail.")
@format_option
def consolidation(word: str | None, form: str, reason: str, **given: int | str | None) -> None:
    """Show when hosts sleep that are not needed and what was decided, or set it."""
    names = {"headroom": "headroom_percent"}
    body = {names.get(name, name): value for name, value in given.items() if value is not None}
    if word is not None:
        body["mode"] = word
    api, path = Api.from_settings(), "recommendations/consolidation/"
    row = api.post(path, body | {"reason": reason}) if body else api.get(path)
    if form == "json":
        show_one(row, form)
        return
    show_one(row, form, hide=("answer", "emptying", "emptied"))
    for each in row["answer"]:
        if each["what"] == "more":
            click.echo(each["text"])
            continue
        click.echo(f"{each['host'] or 'all'}: {each['what']}: {each['text']}")
        for move in each.get("moves", ()):
            click.echo(f"  {move['machine']} → {move['destination']}, {move['seconds']:.0f} s")
    if row["emptying"] is not None:
        _emptying(row["emptying"])
    for each in row["emptied"]:
        end = "sleeps" if each["state"] == "done" else f"called off: {each['note']}"
        click.echo(f"{each['ended_at']} {each['host']}: {end}")


def _emptying(row: dict[str, Any]) -> None:
    click.echo(
        f"{row['host']} is being emptied: {row['moved']} of {row['machines']} machines moved; "
        f"{row['reason']}"
    )


@recommendation.command("empty")
@click.argument("host")
@click.option("--reason", default="", help="Kept in the audit trail.")
@format_option
def empty_host(host: str, reason: str, form: str) -> None:
    """Empty the host that the last round has named (see consolidation), and let it sleep."""
    body = {"host": host, "reason": reason}
    row = Api.from_settings().post("recommendations/consolidation/empty/", body)
    if form == "json":
        show_one(row, form)
    else:
        _emptying(row)


recommendation.add_command(savings)
