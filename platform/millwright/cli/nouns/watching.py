"""`millwright watch`: what happens, line by line, as it happens."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import deque

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError

#: Events may come again after a lost connection: the newest that were shown are not shown twice.
_REMEMBERED = 200
#: Seconds between tries to reach a portal that went away, and tries in a row before giving up.
_WAIT_S, _TRIES = 2.0, 30


@click.command()
@click.option(
    "--type", "kind", type=click.Choice(["request", "environment", "machine", "host"]), default=None
)
@click.option("--name", help="Only things of this name.")
@click.option(
    "--until", metavar="STATE", help="End once that state is reached, for example running."
)
@click.option("--since", type=click.IntRange(min=0), help="Begin after this event's id; 0: all.")
@click.option("--for", "seconds", type=click.IntRange(min=0), help="End after so many seconds.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def watch(
    kind: str | None,
    name: str | None,
    until: str | None,
    since: int | None,
    seconds: int | None,
    form: str,
) -> None:
    """Follow what happens to requests, environments, machines and hosts that you may see.

    A line for each change of state; with --format json a JSON object on each line, for programs.
    A connection that is lost is made again and nothing is left out. Ctrl-C ends it.
    With --until it ends with 1 where --for is over before.

    \b
    Example: millwright watch --type environment --name mixer-2 --until running
    """
    api = Api.from_settings()
    ends = None if seconds is None else time.monotonic() + seconds
    shown: deque[int] = deque(maxlen=_REMEMBERED)
    query: dict[str, int | str] = {"subject_type": kind} if kind else {}
    if since is not None:
        query["last_event_id"] = since
    failures = 0
    while True:
        if ends is not None:
            # The portal ends a stream after ten minutes at the most; then it is asked again.
            query["seconds"] = max(0, min(600, round(ends - time.monotonic())))
        try:
            for number, event in api.events(**query):
                failures = 0
                query["last_event_id"] = max(number, int(query.get("last_event_id", 0)))
                if number in shown or (name and event["subject_name"] != name):
                    continue
                shown.append(number)
                click.echo(json.dumps({"id": number, **event}) if form == "json" else _line(event))
                if until and event["after"] == until:
                    return
        except ConnectionError as error:
            failures += 1
            if failures > _TRIES:
                raise CliError(
                    f"the portal at {api.url} does not answer any more: {error}"
                ) from None
            time.sleep(_WAIT_S)
        if ends is not None and time.monotonic() >= ends:
            if until:
                raise CliError(f"{until!r} was not reached within {seconds} s")
            return


def _line(event: dict[str, str]) -> str:
    at = dt.datetime.fromisoformat(event["at"]).astimezone()
    change = f"{event['before'] or '-'} → {event['after']}"
    aspect = "" if event["aspect"] == "state" else f" {event['aspect']}"
    cause = f"  ({event['cause']})" if event["cause"] else ""
    return f"{at:%Y-%m-%d %H:%M:%S}  {event['subject_type']} {event['subject_name']}{aspect}: {change}{cause}"
