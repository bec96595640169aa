"""`millwright machine …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows
from millwright.core.lifecycle import Movability


@click.group()
def machine() -> None:
    """Virtual machines, and moving them between hosts."""


@machine.command("list")
@click.option("--host", help="Only those on this host.")
@format_option
def list_machines(host: str | None, form: str) -> None:
    """List machines."""
    query = {"host__name": host} if host else {}
    columns = ("id", "environment", "name", "host", "state", "service_class", "movability")
    rows = Api.from_settings().rows("machines/", **query)
    show_rows(rows, (*columns, "retained_as_of"), form)


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option("--to", "host", help="Destination; without, the best host.")
@click.option("--reason", default="")
def move(environment: str, name: str | None, host: str | None, reason: str) -> None:
    """Move an environment's machine to another host: with its guest while it runs, without one while it is off.

    Example: millwright machine move line-1-test --to press-2 --reason "fan is noisy"
    """
    api = Api.from_settings()
    row = _machine(api, environment, name)
    made = api.post(f"machines/{row['id']}/move/", {"host": host, "reason": reason})
    click.echo(f"operation {made['id']}: {made['state']}")


@machine.command()
@click.argument("environment")
@click.argument("word", type=click.Choice([str(word) for word in Movability]))
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option("--reason", default="")
def movability(environment: str, word: str, name: str | None, reason: str) -> None:
    """Say what may move it: nothing, a planned window, a person each time, the balancer."""
    api = Api.from_settings()
    row = _machine(api, environment, name)
    made = api.post(f"machines/{row['id']}/movability/", {"movability": word, "reason": reason})
    click.echo(f"{made['environment']}/{made['name']}: {made['movability']}")


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@format_option
def explain(environment: str, name: str | None, form: str) -> None:
    """Why it is here and not there: what holds it, and every host's answer."""
    api = Api.from_settings()
    answer = api.get(f"machines/{_machine(api, environment, name)['id']}/explain/")
    if form == "json":
        show_one(answer, form)
        return
    click.echo(answer["text"])
    for hold in answer["holds"]:
        click.echo(f"held: {hold}")
    if answer["disruption"]:
        who = "its environment" if answer["disruption_own"] else "its template"
        click.echo(f"a move counts {answer['disruption']:g} core-seconds for its users, says {who}")
    show_rows(answer["hosts"], ("host", "here", "accepted", "score", "codes", "texts"), form)


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option("--shares", type=int, help="Its weight among those of its pool; 1000 is usual.")
@click.option("--cpu-reservation", type=float, help="CPUs that it gets whatever others want.")
@click.option("--cpu-limit", type=float, help="The most CPUs that it gets; 0 takes the limit away.")
@click.option(
    "--memory-minimum", type=int, help="MiB that the balloon leaves it; 0 leaves its memory alone."
)
@click.option(
    "--priority",
    type=int,
    help="Higher ones get CPUs first where they lack, and start first after a host's loss.",
)
@click.option("--pool", help='Its resource pool; "" takes it out of one.')
@click.option(
    "--after",
    multiple=True,
    metavar="MACHINE",
    help='Must run before it starts after a loss of its host; may be repeated, "" takes all away.',
)
@click.option(
    "--balance-mode",
    type=click.Choice(["", "off", "shadow", "recommend", "automatic"]),
    help='What rounds do with it; "" as with its pool.',
)
@click.option("--reason", default="")
@format_option
def entitlement(
    environment: str,
    name: str | None,
    shares: int | None,
    cpu_reservation: float | None,
    cpu_limit: float | None,
    memory_minimum: int | None,
    priority: int | None,
    pool: str | None,
    after: tuple[str, ...],
    balance_mode: str | None,
    reason: str,
    form: str,
) -> None:
    """What it is promised and given; with options, say what it is promised.

    Example: millwright machine entitlement cae-night --shares 200 --cpu-limit 4
    """
    api = Api.from_settings()
    path = f"machines/{_machine(api, environment, name)['id']}/entitlement/"
    body: dict[str, Any] = {
        "shares": shares,
        "cpu_reservation": cpu_reservation,
        "cpu_limit": cpu_limit,
        "memory_minimum_bytes": None if memory_minimum is None else memory_minimum * 2**20,
        "priority": priority,
        "pool": pool,
        "balance_mode": balance_mode,
        "after": [each for each in after if each] if after else None,
    }
    body = {key: value for key, value in body.items() if value is not None}
    for key in ("cpu_limit", "memory_minimum_bytes"):
        if body.get(key) == 0:
            body[key] = None
    show_one(api.post(path, {**body, "reason": reason}) if body else api.get(path), form)


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
def console(environment: str, name: str | None) -> None:
    """The serial console, in this terminal. Ctrl-] leaves it.

    Whoever is at this console now loses it. Opening and closing are written into the audit trail.
    """
    from millwright.cli import console as terminal

    api = Api.from_settings()
    made = api.post(f"machines/{_machine(api, environment, name)['id']}/console/")
    terminal.carry(api.url, made["path"], made["ticket"])


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(1, 3600),
    default=120.0,
    show_default=True,
    help="Seconds to wait for a viewer.",
)
def screen(environment: str, name: str | None, wait_s: float) -> None:
    """The screen of its graphics card, for a VNC viewer on this computer.

    A socket is made that only you can open; the first viewer that opens it sees the screen. Whoever is
    at this screen now loses it. Opening and closing are written into the audit trail.
    """
    from millwright.cli import screen as viewer

    api = Api.from_settings()
    row = _machine(api, environment, name)

    def ask() -> tuple[str, str]:
        made = api.post(f"machines/{row['id']}/screen/")
        return made["path"], made["ticket"]

    viewer.serve(api.url, ask, wait_s)


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@format_option
def forces(environment: str, name: str | None, form: str) -> None:
    """What is forced in a controller: held at a value against its program."""
    api = Api.from_settings()
    found = api.get(f"machines/{_machine(api, environment, name)['id']}/forces/")["forced"]
    show_rows(found, ("path", "value", "at", "by"), form)


@machine.command()
@click.argument("environment")
@click.argument("paths", nargs=-1)
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option("--all", "everything", is_flag=True, help="End all forces.")
@click.option("--reason", default="")
@click.confirmation_option(prompt="The program drives these variables again at once. Go on?")
@format_option
def unforce(
    environment: str,
    paths: tuple[str, ...],
    name: str | None,
    everything: bool,
    reason: str,
    form: str,
) -> None:
    """End forces of variables; shows what is left.

    Example: millwright machine unforce filling-line-1 main.valve --reason "test is over"
    """
    if bool(paths) == everything:
        raise CliError("name variables, or --all")
    api = Api.from_settings()
    body: dict[str, Any] = {"all": True} if everything else {"paths": list(paths)}
    path = f"machines/{_machine(api, environment, name)['id']}/unforce/"
    left = api.post(path, {**body, "reason": reason}, timeout_s=90.0)["forced"]
    show_rows(left, ("path", "value", "at", "by"), form)


@machine.command()
@click.argument("environment")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option(
    "--minutes", type=click.Choice(["10", "60", "480", "1440"]), default="60", show_default=True
)
@format_option
def trend(environment: str, name: str | None, minutes: str, form: str) -> None:
    """How its tags went: ten minutes of those somebody looks at, or longer of recorded ones."""
    api = Api.from_settings()
    path = f"machines/{_machine(api, environment, name)['id']}/trend/"
    found = api.get(path, minutes=minutes)
    if form == "json":
        show_one(found, form)
        return
    if found["error"]:
        raise CliError(found["error"])
    tags = list(found["values"])
    rows = [
        {"time": f"{at:.0f}", **{tag: found["values"][tag][row] for tag in tags}}
        for row, at in enumerate(found["time"])
    ]
    show_rows(rows, ("time", *tags), form)


@machine.command()
@click.argument("environment")
@click.argument("tag")
@click.option("--machine", "name", help="Its name, where the environment has several.")
@click.option("--stop", is_flag=True, help="Record it no longer.")
def record(environment: str, tag: str, name: str | None, stop: bool) -> None:
    """Record a tag for longer trends; 16 of a machine at most."""
    api = Api.from_settings()
    path = f"machines/{_machine(api, environment, name)['id']}/record/"
    left = api.post(path, {"tag": tag, "on": not stop})["recorded"]
    click.echo("recorded: " + (", ".join(left) or "nothing"))


def _machine(api: Api, environment: str, name: str | None) -> dict[str, str]:
    rows = api.get(f"environments/{environment}/")["machines"]
    found = [row for row in rows if name in (None, row["name"])]
    if len(found) != 1:
        known = ", ".join(row["name"] for row in rows) or "none"
        raise CliError(f"--machine {name or ''!r}: {environment} has these machines: {known}")
    return dict(found[0])
