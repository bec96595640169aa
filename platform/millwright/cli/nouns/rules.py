"""`millwright rule …`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_one, show_rows

KINDS = ("apart", "together", "spread", "near", "on_hosts", "off_hosts")
COLUMNS = ("name", "kind", "machines", "hosts", "hard", "weight", "minimum", "enabled")
#: What `change` keeps where it is not told otherwise.
FIELDS = ("name", "kind", "machines", "hosts", "hard", "weight", "minimum", "enabled", "purpose")


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a rule says, as options; None where it is not given."""
    for option in reversed(
        (
            click.option(
                "--machine",
                "machines",
                multiple=True,
                help="environment or environment/machine; again for more.",
            ),
            click.option(
                "--host", "hosts", multiple=True, help="Of on_hosts and off_hosts; again for more."
            ),
            click.option(
                "--hard/--soft",
                "hard",
                default=None,
                help="It must hold, or is kept where that is cheap.",
            ),
            click.option(
                "--weight",
                type=float,
                help="What a soft rule is worth, in CPUs that others would wait for.",
            ),
            click.option("--minimum", type=int, help="Failure domains that a spread must reach."),
            click.option("--purpose", help="What it is for."),
            click.option("--on/--off", "enabled", default=None, help="In force or not."),
        )
    ):
        function = option(function)
    return function


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, ())}


@click.group()
def rule() -> None:
    """Placement rules: which machines stay together or apart, and on which hosts."""


@rule.command("list")
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--machine", "environment", help="Only those about this environment's machines.")
@click.option("--host", help="Only those that name this host.")
@format_option
def list_rules(kind: str | None, environment: str | None, host: str | None, form: str) -> None:
    """List rules."""
    query = {"kind": kind, "machines__environment__name": environment, "hosts__name": host}
    rows = Api.from_settings().rows("rules/", **{k: v for k, v in query.items() if v})
    show_rows(rows, COLUMNS, form)


@rule.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show one rule, and what stands against it."""
    api = Api.from_settings()
    row = api.get(f"rules/{name}/")
    show_one(row, form, hide=() if form == "json" else ("broken",))
    if form != "json":
        if broken := row.get("broken"):
            lead = "being mended" if broken["mending"] else "not mended"
            why = broken["why"] or "no move that is allowed does it"
            click.echo(f"{broken['text']}; {lead}: {why}")
        _tell(api.post("rules/check/", {**{key: row[key] for key in FIELDS}, "current": name}))


@rule.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(KINDS))
@_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what stands against it; ends with 1 if it would be refused.",
)
@click.option("--reason", default="")
@format_option
def add(name: str, kind: str, dry_run: bool, reason: str, form: str, **options: Any) -> None:
    """Write a rule. The next round keeps it.

    Example: millwright rule add line-1-apart apart --machine line-1-a --machine line-1-b
    """
    api = Api.from_settings()
    body = {"name": name, "kind": kind, "machines": [], "reason": reason, **_given(options)}
    _write(api, body, dry_run, form, lambda: api.post("rules/", body))


@rule.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--rename", help="Its new name.")
@_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what stands against it; ends with 1 if it would be refused.",
)
@click.option("--reason", default="")
@format_option
def change(
    name: str,
    kind: str | None,
    rename: str | None,
    dry_run: bool,
    reason: str,
    form: str,
    **options: Any,
) -> None:
    """Change a rule; what is not given stays as it is. Lists of machines and hosts are given whole.

    Example: millwright rule change line-1-apart --soft --weight 2
    """
    api = Api.from_settings()
    row = api.get(f"rules/{name}/")
    body = {key: row[key] for key in FIELDS} | {"reason": reason} | _given(options)
    if kind:
        body["kind"] = kind
        if not kind.endswith("_hosts"):
            body["hosts"] = []
        if kind != "spread":
            body["minimum"] = None
    body["name"] = rename or name
    _write(api, body | {"current": name}, dry_run, form, lambda: api.put(f"rules/{name}/", body))


@rule.command()
@click.argument("name")
@click.option("--reason", default="")
def enable(name: str, reason: str) -> None:
    """Put a rule in force."""
    row = Api.from_settings().post(f"rules/{name}/enable/", {"reason": reason})
    click.echo(f"{row['name']}: in force")


@rule.command()
@click.argument("name")
@click.option("--reason", default="")
def disable(name: str, reason: str) -> None:
    """Put a rule out of force; it is kept."""
    row = Api.from_settings().post(f"rules/{name}/disable/", {"reason": reason})
    click.echo(f"{row['name']}: out of force")


@rule.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Remove a rule; the audit trail keeps what it said."""
    api = Api.from_settings()
    row = api.get(f"rules/{name}/")
    if not yes:
        click.confirm(f"Remove {name} ({row['kind']}: {', '.join(row['machines'])})?", abort=True)
    api.delete(f"rules/{name}/")
    click.echo(f"{name}: removed")


def _write(
    api: Api, body: dict[str, Any], dry_run: bool, form: str, write: Callable[[], dict[str, Any]]
) -> None:
    verdict = api.post("rules/check/", body)
    if dry_run:
        if form == "json":
            show_one(verdict, form)
        else:
            _tell(verdict)
        raise SystemExit(1 if verdict["refused"] else 0)
    row = write()
    show_one(row, form)
    if form != "json":
        _tell(verdict)


def _tell(verdict: dict[str, Any]) -> None:
    for name, texts in verdict["errors"].items():
        for text in texts:
            click.echo(f"{name}: {text}")
    for row in verdict["conflicts"]:
        click.echo(f"{row['level']}: {row['message']}")
    if not verdict["errors"] and not verdict["conflicts"]:
        click.echo("nothing stands against it")
