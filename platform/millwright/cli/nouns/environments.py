"""`millwright env …` and `millwright operation …`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api, wait_for
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_json, show_one, show_rows

LIVE = frozenset({"queued", "running", "waiting", "undoing"})


@click.group()
def env() -> None:
    """Environments and their machines."""


@env.command("list")
@click.option("--all", "everything", is_flag=True, help="Removed ones too.")
@format_option
def list_environments(everything: bool, form: str) -> None:
    """List environments."""
    query = {"removed": "true"} if everything else {}
    show_rows(
        Api.from_settings().rows("environments/", **query),
        ("name", "state", "project", "owner", "lease_until", "state_reason"),
        form,
    )


@env.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show an environment: where it runs and why, addresses, CPUs."""
    row = Api.from_settings().get(f"environments/{name}/")
    if form == "json":
        show_json(row)
        return
    show_one({key: value for key, value in row.items() if key != "machines"}, form)
    for machine in row["machines"]:
        click.echo()
        show_one(machine, form, hide=("id", "environment", "placement"))


def _power(name: str, verb: str, reason: str, wait: bool) -> None:
    api = Api.from_settings()
    made = api.post(f"environments/{name}/{verb}/", {"reason": reason})
    for row in made:
        click.echo(f"operation {row['id']}: {row['kind']} {row['state']}")
    if wait:
        for row in made:
            follow(api, row["id"])


def follow(api: Api, operation_id: str, limit_s: float = 900.0) -> dict[str, Any]:
    """Wait for an operation's end.

    Raises:
        CliError: it failed; with its error.
    """

    def ended() -> dict[str, Any] | None:
        row = dict(api.get(f"operations/{operation_id}/"))
        return None if row["state"] in LIVE else row

    row: dict[str, Any] = wait_for(
        ended, limit_s=limit_s, what=f"operation {operation_id}", every_s=1.0
    )
    if row["state"] != "succeeded":
        raise CliError(f"{row['kind']} {row['environment'] or ''} {row['state']}: {row['error']}")
    return row


def _power_command(verb: str, text: str) -> None:
    @env.command(verb, help=text)
    @click.argument("name")
    @click.option("--reason", default="")
    @click.option("--wait", is_flag=True, help="Return when it is done.")
    def command(name: str, reason: str, wait: bool) -> None:
        _power(name, verb, reason, wait)


_power_command("start", "Start its machines.")
_power_command("stop", "Shut its machines down.")
_power_command("restart", "Restart its machines.")


@env.command()
@click.argument("name")
@click.argument("core_seconds", metavar="CORE-SECONDS|template")
@click.option("--reason", default="")
def disruption(name: str, core_seconds: str, reason: str) -> None:
    """Say what its users suffer from a move: balancing counts it as the move's cost. "template": as that says.

    Example: millwright env disruption line-1-test 600 --reason "a film is being coated"
    """
    try:
        wanted = None if core_seconds == "template" else float(core_seconds)
    except ValueError:
        raise CliError(
            f"{core_seconds!r}: a number of core-seconds, or the word template"
        ) from None
    body = {"disruption": wanted, "reason": reason}
    row = Api.from_settings().post(f"environments/{name}/disruption/", body)
    told = (
        "as its templates say"
        if row["disruption"] is None
        else f"{row['disruption']:g} core-seconds"
    )
    click.echo(f"{row['name']}: {told}")


@env.command()
@click.argument("name")
@click.option("--reason", default="")
@click.option("--wait", is_flag=True)
@click.option("--yes", is_flag=True, help="Really: its disks are removed.")
def remove(name: str, reason: str, wait: bool, yes: bool) -> None:
    """Remove it with its disks. Without --yes it says what would go."""
    if not yes:
        row = Api.from_settings().get(f"environments/{name}/")
        for machine in row["machines"]:
            click.echo(f"would remove {machine['name']} on {machine['host']} with its disk")
        raise CliError("nothing was removed; add --yes")
    _power(name, "remove", reason, wait)


@env.command()
@click.argument("name")
@click.argument("days", type=int)
def extend(name: str, days: int) -> None:
    """Lengthen the lease by DAYS."""
    row = Api.from_settings().post(f"environments/{name}/extend/", {"days": days})
    click.echo(f"{row['name']}: until {row['lease_until']}")


@env.command()
@click.argument("name")
@format_option
def access(name: str, form: str) -> None:
    """Tell how to sign in to its services. Stands in the audit trail."""
    rows = Api.from_settings().post(f"environments/{name}/access/", {})
    show_rows(rows, ("machine", "web", "mqtt", "account", "word"), form)


@click.group()
def operation() -> None:
    """What is and was being done."""


@operation.command("list")
@click.option("--env", "environment")
@click.option("--state")
@click.option("--limit", default=20, show_default=True)
@format_option
def list_operations(environment: str | None, state: str | None, limit: int, form: str) -> None:
    """List operations, newest first."""
    query = {"environment__name": environment, "state": state}
    found = Api.from_settings().rows(
        "operations/", **{key: value for key, value in query.items() if value}
    )
    rows = [row for row, _ in zip(found, range(limit), strict=False)]
    show_rows(
        rows,
        ("id", "kind", "state", "environment", "requested_by", "created_at", "progress", "error"),
        form,
    )


@operation.command("show")
@click.argument("operation_id")
@format_option
def show_operation(operation_id: str, form: str) -> None:
    """Show an operation with the time each step took."""
    row = Api.from_settings().get(f"operations/{operation_id}/")
    show_one(row, form, hide=("steps",))
    if form == "table":
        show_rows(row["steps"], ("position", "title", "state", "elapsed_s", "detail"), form)


@operation.command()
@click.argument("operation_id")
def cancel(operation_id: str) -> None:
    """Stop it at its next step."""
    row = Api.from_settings().post(f"operations/{operation_id}/cancel/")
    click.echo(f"{row['id']}: {row['state']}, cancel requested")


@operation.command()
@click.argument("operation_id")
def retry(operation_id: str) -> None:
    """Try a failed one again."""
    row = Api.from_settings().post(f"operations/{operation_id}/retry/")
    click.echo(f"{row['id']}: {row['state']}, attempt {row['attempt']}")


@operation.command()
@click.argument("operation_id")
@click.argument("answer", required=False)
def answer(operation_id: str, answer: str | None) -> None:
    """Answer what a waiting operation asks; without ANSWER, show question and answers.

    Example: millwright operation answer 0b9c… keep_source
    """
    api = Api.from_settings()
    if answer is not None:
        row = api.post(f"operations/{operation_id}/answer/", {"answer": answer})
        click.echo(f"{row['id']}: {row['state']}, answered {row['answer']}")
        return
    asked = api.get(f"operations/{operation_id}/")["question"]
    if not asked:
        click.echo("It asks nothing.")
        return
    click.echo(asked["text"])
    for code, words in asked["answers"].items():
        click.echo(f"  {code:20} {words}")
