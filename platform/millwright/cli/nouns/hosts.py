"""`millwright host …`."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows

#: Seconds between questions for an answer that is being computed, and until the command gives up.
ASKED_EVERY_S, PATIENCE_S = 3.0, 900.0


def _computed(path: str, **query: Any) -> Any:
    """The answer, waited for where the pool is large and nothing is kept yet.

    Raises:
        CliError: nothing came in time.
    """
    api, patience = Api.from_settings(), PATIENCE_S
    while True:
        answer = api.get(path, **query)
        if not (isinstance(answer, dict) and answer.get("computing")):
            return answer
        if patience == PATIENCE_S:
            click.echo("being computed: the pool is large", err=True)
        if patience <= 0:
            raise CliError(
                "nothing was computed in time; does the orchestrator run? `millwright status` says"
            )
        patience -= ASKED_EVERY_S
        time.sleep(ASKED_EVERY_S)


@click.group()
def host() -> None:
    """Hosts of the pool: what they can give, who owns which CPU."""


@host.command("list")
@format_option
def list_hosts(form: str) -> None:
    """List hosts."""
    show_rows(
        Api.from_settings().rows("hosts/"),
        ("name", "state", "power", "administration", "accel", "uri", "last_seen"),
        form,
    )


@host.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show one host with its capabilities, what it has beside CPUs and memory, and CPU claims."""
    row = Api.from_settings().get(f"hosts/{name}/")
    if form == "table":
        row |= _parts(row.pop("equipment"))
    show_one(row, form, hide=("topology",))


def _parts(told: dict[str, Any] | None) -> dict[str, str]:
    """What a host has, a line for each part; one that it has not told is unknown."""
    told = told or {}
    cpu = told.get("cpu")
    features = {way: len(names) for way, names in cpu["features"].items()} if cpu else {}
    counted = ", ".join(f"{count} features by {way}" for way, count in features.items())
    lines = {
        "pages": "{free} of {total} of {size_bytes} bytes free in node {node}",
        "pools": "{name} ({kind}): {available_bytes} of {capacity_bytes} bytes free",
        "nics": "{name}: {speed_bits_s} bit/s",
        "gpus": "{name} {model} at {address}",
    }
    found = {"cpu": f"{cpu['vendor']} {cpu['model']}, {counted}" if cpu else "unknown"}
    for part, line in lines.items():
        rows = told.get(part)
        known = "; ".join(line.format(**row) for row in rows or ()) or "none"
        found[part] = "unknown" if rows is None else known
    return found


@host.command()
@click.argument("name")
@click.argument("uri")
@format_option
def check(name: str, uri: str, form: str) -> None:
    """Ask a host that is not registered yet what it is; nothing is changed on it.

    Example: millwright host check press-1 qemu+tls://press-1/system
    """
    show_one(Api.from_settings().post("hosts/check/", {"name": name, "uri": uri}), form)


@host.command()
@click.argument("name")
@click.argument("uri")
@click.option("--address", help="Management address.")
@click.option("--agent-url", default="", help="http://address:port of its agent.")
@click.option(
    "--policy", default="{}", help='JSON, e.g. {"realtime_cpus": "2-3", "housekeeping_cpus": "0-1"}'
)
@format_option
def add(name: str, uri: str, address: str | None, agent_url: str, policy: str, form: str) -> None:
    """Register a host, or change how it is registered.

    Example: millwright host add press-1 qemu+tls://press-1/system --policy '{"housekeeping_cpus": "0-1"}'
    """
    try:
        parsed = json.loads(policy)
    except ValueError as error:
        raise CliError(f"--policy {policy!r}: not JSON ({error})") from None
    body = {"name": name, "uri": uri, "address": address, "agent_url": agent_url, "policy": parsed}
    made = Api.from_settings().post("hosts/", body)
    show_one(made, form, hide=("topology", "capabilities", "equipment"))


@host.command()
@click.argument("name")
@click.option("--reason", default="")
def cordon(name: str, reason: str) -> None:
    """Let a host take nothing new."""
    row = Api.from_settings().post(f"hosts/{name}/cordon/", {"reason": reason})
    click.echo(f"{row['name']}: {row['administration']}")


@host.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would move and what cannot; move nothing.")
@click.option("--approve", is_flag=True, help="Also what moves only by a person's word.")
@click.option("--reason", default="")
@format_option
def drain(name: str, dry_run: bool, approve: bool, reason: str, form: str) -> None:
    """Empty a host: its machines move to the others, then it is in maintenance.

    With --dry-run, ends with 1 when a machine cannot leave.
    """
    api = Api.from_settings()
    if not dry_run:
        row = api.post(f"hosts/{name}/drain/", {"approve": approve, "reason": reason})
        click.echo(f"{row['name']}: {row['administration']}")
        return
    plan = api.get(f"hosts/{name}/drain/")
    if form == "json":
        show_one(plan, form)
    else:
        columns = ("machine", "destination", "approval", "seconds", "text")
        show_rows(plan["moves"], columns, form)
        for row in plan["blockers"]:
            click.echo(f"cannot leave: {row['machine']}: {row['why']}")
    if not plan["possible"]:
        raise SystemExit(1)


@host.command()
@click.argument("template")
@click.argument("size")
@click.option("--growth", type=float, default=0.0, help="New machines a day.")
@click.option("--spare", type=int, default=0, help="Hosts that may die.")
@format_option
def capacity(template: str, size: str, growth: float, spare: int, form: str) -> None:
    """How many more of a template's size fit, what runs out first, what one more host brings.

    Example: millwright host capacity vplc small --growth 0.5 --spare 1
    """
    query = {"template": template, "size": size, "growth": growth, "spare": spare}
    show_one(_computed("hosts/capacity/", **query), form)


@host.command()
@format_option
def losses(form: str) -> None:
    """Who would not restart if a host died, as many as are kept to spare, or a failure domain. Ends with 1 then.

    Of another number of hosts, another time or a file: millwright capacity --losses.
    """
    told = _computed("hosts/losses/")
    alone = [row | {"hosts": [row["host"]], "more": 0, "waits_more": 0} for row in told["hosts"]]
    sets = told["worst"] if told["k"] > 1 else []
    rows = [
        {
            "hosts": row.get("domain") or ", ".join(row["hosts"]),
            "no room": _listed(row["left"], row["more"]),
            "waits": _listed(row["waits"], row["waits_more"]),
        }
        for row in (*alone, *sets, *told["domains_broken"])
        if row["left"] or row["waits"]
    ]
    if form == "json":
        show_one(told, form)
    else:
        show_rows(rows, ("hosts", "no room", "waits"), form)
        if not told["complete"]:
            click.echo(
                f"tried: the {told['checked']} sets of {told['k']} hosts that ask for the most"
            )
    if rows:
        raise SystemExit(1)


def _listed(names: list[str], more: int) -> str:
    return ", ".join(names) + (f" and {more} more" if more else "")


@host.command()
@format_option
def heat(form: str) -> None:
    """How full each host is: ratios of what it has."""
    rows = _computed("hosts/heat/")
    show_rows(rows, ("host", "state", "cpu", "memory", "cores", "disk"), form)


@host.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would start where; start nothing.")
@click.option("--confirm-off", is_flag=True, help="You have made sure that it has no power.")
@click.option("--fence", is_flag=True, help="Let its fence agent take the power away.")
@click.option(
    "--gone", is_flag=True, help="It cannot return with its machines: autonomous ones too."
)
@click.option(
    "--initial-values",
    "initial",
    multiple=True,
    metavar="ENVIRONMENT/MACHINE",
    help="Rebuild this controller without the copy of what it retained; wants --reason. May be given again.",
)
@click.option("--stop", is_flag=True, help="Start nothing more of the recovery that is under way.")
@click.option("--reason", default="")
@format_option
def recover(
    name: str,
    dry_run: bool,
    confirm_off: bool,
    fence: bool,
    gone: bool,
    initial: tuple[str, ...],
    stop: bool,
    reason: str,
    form: str,
) -> None:
    """Start a lost host's machines elsewhere, the more important ones first.

    With --dry-run, ends with 1 when a machine finds no room, and shows of when the copy is that a rebuilt controller
    gets its retained values from: what changed after it is lost. Without any option: how far it is.
    """
    api = Api.from_settings()
    if dry_run:
        plan = api.get(f"hosts/{name}/recover/", gone="1" if gone else "0")
        if form == "json":
            show_one(plan, form)
        else:
            columns = ("machine", "destination", "priority", "rebuild", "retained_as_of")
            show_rows(plan["starts"], (*columns, "retained_before_loss_s"), form)
            for row in (row for row in plan["starts"] if row["note"]):
                click.echo(f"{row['machine']}: {row['note']}")
            for row in plan["waiting"]:
                click.echo(f"waits: {row['machine']}: {row['why']}")
            for row in plan["wakes"]:
                click.echo(f"once {', '.join(plan['woken'])} awake: {row['machine']}: {row['why']}")
            for row in plan["left"]:
                click.echo(f"no room: {row['machine']}: {row['why']}")
        if plan["left"]:
            raise SystemExit(1)
        return
    if confirm_off or fence:
        body = {"confirm_off": confirm_off, "fence": fence, "gone": gone, "reason": reason}
        if initial:
            body["initial_values"] = list(initial)
        show_one(api.post(f"hosts/{name}/recover/", body), form)
        return
    rows = api.rows("recoveries/", host__name=name)
    if stop:
        active = [row for row in rows if row["state"] == "active"]
        if not active:
            raise CliError(f"{name}: no recovery is under way")
        show_one(api.post(f"recoveries/{active[0]['id']}/stop/", {"reason": reason}), form)
        return
    show_rows(rows, ("created_at", "state", "confirmed_by", "gone", "blockers", "note"), form)
    if form != "json":
        for row in rows:
            for started in row["machines"]:
                click.echo(f"{started['machine']}: {started['state']}{_retained(started)}")


def _retained(started: dict[str, Any]) -> str:
    """What a rebuilt controller went on with, in words."""
    kept = started["retained"] or {}
    if kept.get("outcome") == "given" and kept.get("result") != "lost":
        loss = kept.get("before_loss_s")
        before = "" if loss is None else f", {loss:.0f} s before the host was lost"
        return f", retained values of {kept['as_of']}{before}"
    if kept.get("outcome") == "initial":
        return f", with initial values as {kept['by']} chose: {kept['why']}"
    words = {"own": ", with retained values of its own"}
    return words.get(kept["outcome"], ", with initial values") if "outcome" in kept else ""


@host.command()
@click.argument("name")
@click.option("--reason", default="")
def uncordon(name: str, reason: str) -> None:
    """Let a host take machines again."""
    row = Api.from_settings().post(f"hosts/{name}/uncordon/", {"reason": reason})
    click.echo(f"{row['name']}: {row['administration']}")


@host.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; it stands in the trail.")
@click.option("--until", help="Until when, as 2026-11-30T06:00+01:00; left out: until it is woken.")
@format_option
def sleep(name: str, reason: str, until: str | None, form: str) -> None:
    """Put an empty host to sleep, as its policy says.

    Example: millwright host sleep press-1 --reason "nobody works tonight" --until 2026-11-30T06:00+01:00
    """
    body = {"reason": reason} | ({"until": until} if until else {})
    made = Api.from_settings().post(f"hosts/{name}/sleep/", body)
    show_one(made, form, hide=("steps", "result", "question"))


@host.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; it stands in the trail.")
@format_option
def wake(name: str, reason: str, form: str) -> None:
    """Wake a host that sleeps; it takes machines again once it answers."""
    made = Api.from_settings().post(f"hosts/{name}/wake/", {"reason": reason})
    show_one(made, form, hide=("steps", "result", "question"))


@host.command()
@format_option
def drift(form: str) -> None:
    """Differences between intent and what the hosts say."""
    show_rows(
        Api.from_settings().rows("drifts/"), ("host", "kind", "name", "detail", "first_seen"), form
    )
