"""`millwright pool …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_json, show_one, show_rows

MODES = ("off", "shadow", "recommend", "automatic")
MIB = 2**20
FIELDS = (
    "name",
    "parent",
    "shares",
    "cpu_reservation",
    "cpu_limit",
    "balance_mode",
    "memory_reservation_bytes",
    "memory_limit_bytes",
    "memory_shares",
)


@click.group()
def pool() -> None:
    """Resource pools: what machines share, and how boldly they are balanced."""


@pool.command("list")
@format_option
def list_pools(form: str) -> None:
    """List pools."""
    show_rows(Api.from_settings().rows("pools/"), FIELDS, form)


@pool.command("set")
@click.argument("name")
@click.option("--parent", help='The pool that it is part of; "" for none.')
@click.option("--shares", type=int, help="Its weight among those beside it; 1000 is usual.")
@click.option("--cpu-reservation", type=float, help="CPUs that it gets whatever others want.")
@click.option("--cpu-limit", type=float, help="The most CPUs that it gets; 0 takes the limit away.")
@click.option(
    "--memory-reservation",
    type=int,
    help="MiB that its machines get whatever others want, as far as balloons can give it.",
)
@click.option(
    "--memory-limit",
    type=int,
    help="The most MiB that its machines get together; 0 takes the limit away.",
)
@click.option(
    "--memory-shares",
    type=int,
    help="The weight of a byte that its machines touch; 1000 is usual.",
)
@click.option(
    "--mode",
    "balance_mode",
    type=click.Choice((*MODES, "")),
    help='How boldly its machines are balanced; "" as what it is part of.',
)
@click.option("--reason", default="")
@format_option
def set_pool(name: str, reason: str, form: str, **options: Any) -> None:
    """Make a pool, or change it: what is not given stays.

    Example: millwright pool set cae-night --mode automatic --shares 200 --memory-limit 65536
    """
    api = Api.from_settings()
    given = {key: value for key, value in options.items() if value is not None}
    if given.get("cpu_limit") == 0:
        given["cpu_limit"] = None
    for key in ("memory_reservation", "memory_limit"):
        if key in given:
            given[f"{key}_bytes"] = given.pop(key) * MIB
    if given.get("memory_limit_bytes") == 0:
        given["memory_limit_bytes"] = None
    known = {row["name"]: row for row in api.rows("pools/")}
    if name in known:
        # A portal of the release before says nothing of memory.
        body = (
            {key: known[name][key] for key in FIELDS if key in known[name]}
            | given
            | {"reason": reason}
        )
        body["parent"] = body["parent"] or ""
        show_one(api.put(f"pools/{name}/", body), form)
    else:
        show_one(api.post("pools/", {"name": name, "reason": reason, **given}), form)


@pool.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a pool that holds nothing."""
    Api.from_settings().delete(f"pools/{name}/")
    click.echo(f"{name}: removed")


@pool.command()
def snapshot() -> None:
    """The running plant as JSON: hosts, machines, resource pools, rules, calendar and settings.

    For those who see the whole pool. `millwright plan`, `balance`, `drain`, `capacity` and `recover` read it.

    Example: millwright pool snapshot > plant.json
    """
    show_json(Api.from_settings().get("hosts/snapshot/"))
