"""`millwright request …` and `millwright plan`."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_json, show_one, show_rows
from millwright.cli.placement import show_placement

_COLUMNS = (
    "name",
    "state",
    "project",
    "template",
    "size",
    "requester",
    "decided_by",
    "environment",
)


@click.group()
def request() -> None:
    """Requests for environments."""


def _options(function: Any) -> Any:
    for option in (
        click.option("--project", required=True),
        click.option("--template", required=True),
        click.option("--size", required=True),
        click.option("--cell"),
        click.option(
            "--strict-realtime", is_flag=True, help="Refuse a host that can give only best effort."
        ),
    ):
        function = option(function)
    return function


@request.command("list")
@click.option("--state")
@format_option
def list_requests(state: str | None, form: str) -> None:
    """List requests."""
    show_rows(
        Api.from_settings().rows("requests/", **({"state": state} if state else {})), _COLUMNS, form
    )


def find(api: Api, name: str) -> dict[str, Any]:
    """The newest request of that name or id."""
    if name.count("-") == 4 and len(name) == 36:
        return dict(api.get(f"requests/{name}/"))
    found = api.first("requests/", name=name)
    if found is None:
        raise CliError(f"no request named {name!r}")
    return found


@request.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show a request with its placement preview."""
    row = find(Api.from_settings(), name)
    if form == "json":
        show_json(row)
        return
    show_one(row, form, hide=("placement",))
    if row["placement"]:
        show_placement(row["placement"])


@request.command()
@click.argument("name")
@_options
@click.option("--lease-days", default=30, show_default=True)
@click.option("--justification", default="")
@click.option("--program-version", help="Id of a program version to deliver.")
@click.option("--device", "devices", multiple=True, help="A registered device that it is for.")
@click.option("--draft", is_flag=True, help="Only write it; it can be changed until submitted.")
@click.option("--copies", default=1, show_default=True, help="So many alike, decided as one.")
@format_option
def create(
    name: str,
    project: str,
    template: str,
    size: str,
    cell: str | None,
    strict_realtime: bool,
    lease_days: int,
    justification: str,
    program_version: str | None,
    devices: tuple[str, ...],
    draft: bool,
    copies: int,
    form: str,
) -> None:
    """Ask for an environment: written and submitted in one go.

    Example: millwright request create mixer-2 --project line-1 --template vplc --size small --cell line1
    """
    api = Api.from_settings()
    body = {
        "name": name,
        "project": project,
        "template": template,
        "size": size,
        "cell": cell,
        "strict_realtime": strict_realtime,
        "lease_days": lease_days,
        "justification": justification,
        "program_version": program_version,
        "devices": list(devices),
    }
    if copies != 1:
        rows = api.post("requests/alike/", {**body, "copies": copies, "submit": not draft})
        show_rows(rows, _COLUMNS, form)
        return
    made = api.post("requests/", body)
    if draft:
        show_one(made, form, hide=("placement",))
        return
    show_one(api.post(f"requests/{made['id']}/submit/"), form, hide=("placement",))


@request.command()
@click.argument("name")
@click.option("--rename", help="Another name for the environment.")
@click.option("--size")
@click.option("--cell")
@click.option("--lease-days", type=int)
@click.option("--justification")
@click.option("--program-version", help="Id of a program version to deliver.")
@click.option("--device", "devices", multiple=True, help="In place of those that it names.")
@click.option("--no-devices", is_flag=True, help="It names none any more.")
@click.option("--no-cell", is_flag=True, help="In no cell.")
@click.option("--no-program", is_flag=True, help="Without a program; one can be deployed later.")
@click.option("--strict-realtime/--no-strict-realtime", default=None)
@format_option
def change(
    name: str,
    rename: str | None,
    no_devices: bool,
    no_cell: bool,
    no_program: bool,
    form: str,
    **given: Any,
) -> None:
    """Change a draft; what is not named stays.

    \b
    Example: millwright request change mixer-2 --size large --lease-days 7
             millwright request change mixer-2 --no-devices --no-program
    """
    api = Api.from_settings()
    given["devices"] = list(given["devices"]) or None
    body = {key: value for key, value in {"name": rename, **given}.items() if value is not None}
    for option, wanted, key, empty in (
        ("--no-devices", no_devices, "devices", []),
        ("--no-cell", no_cell, "cell", None),
        ("--no-program", no_program, "program_version", None),
    ):
        if not wanted:
            continue
        if key in body:
            raise click.UsageError(f"{option} takes away what another option sets")
        body[key] = empty
    if not body:
        raise CliError("say what changes, for example --lease-days 7")
    row = api.patch(f"requests/{find(api, name)['id']}/", body)
    show_one(row, form, hide=("placement",))


@request.command()
@click.argument("name")
def submit(name: str) -> None:
    """Ask for the approval of a draft."""
    _decide("submit", name, "")


def _decide(verb: str, name: str, reason: str, **more: bool) -> None:
    api = Api.from_settings()
    row = api.post(f"requests/{find(api, name)['id']}/{verb}/", {"reason": reason, **more})
    click.echo(f"{row['name']}: {row['state']}")


_alike = click.option(
    "--alike", is_flag=True, help="With all that were asked for together and wait."
)


@request.command()
@click.argument("name")
@click.option("--reason", default="")
@_alike
def approve(name: str, reason: str, alike: bool) -> None:
    """Approve: the environment is built."""
    _decide("approve", name, reason, alike=alike)


@request.command()
@click.argument("name")
@click.option("--reason", required=True)
@_alike
def reject(name: str, reason: str, alike: bool) -> None:
    """Reject, with a reason."""
    _decide("reject", name, reason, alike=alike)


@request.command()
@click.argument("name")
def withdraw(name: str) -> None:
    """Take a request back."""
    _decide("withdraw", name, "")


@click.command()
@click.argument(
    "snapshot", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--from-plant", is_flag=True, help="Plan the running plant, as with a SNAPSHOT of it."
)
@click.option(
    "--now",
    metavar="TIME",
    help="With SNAPSHOT or --from-plant: time by which its calendar holds.",
)
@click.option("--project")
@click.option("--template")
@click.option("--size")
@click.option("--cell")
@click.option(
    "--strict-realtime", is_flag=True, help="Refuse a host that can give only best effort."
)
@click.option("--name", default="plan-preview", help="Name it would have.")
@format_option
@click.pass_context
def plan(
    context: click.Context,
    snapshot: str | None,
    from_plant: bool,
    now: str | None,
    project: str | None,
    template: str | None,
    size: str | None,
    cell: str | None,
    strict_realtime: bool,
    name: str,
    form: str,
) -> None:
    """Where a machine would be placed now: the host, and why the others or not. Changes nothing.

    With SNAPSHOT, a plant as JSON (- for standard input), no portal is asked; with --from-plant it is
    asked for its own (as `millwright pool snapshot` writes it). Machines without a host are placed, then what should move is listed with reasons and in an order that breaks no rule.

    \b
    Exit codes: 0 it can be carried out; 1 a machine has no place, fewer hosts would be
                to spare than its settings want, or the question is wrong

    \b
    Example: millwright plan --project line-1 --template vplc --size small --cell line1
             millwright plan plant.json --format json
    """
    asked = {"--project": project, "--template": template, "--size": size}
    if snapshot is not None and from_plant:
        raise click.UsageError("give either --from-plant or a SNAPSHOT")
    if snapshot is not None or from_plant:
        for option, value in (
            asked | {"--cell": cell, "--strict-realtime": strict_realtime}
        ).items():
            if value:
                raise click.UsageError(
                    f"{option} asks the portal; it cannot be used with SNAPSHOT or --from-plant"
                )
        from millwright.cli.nouns.planning import plan_offline

        context.exit(0 if plan_offline(snapshot, now, form) else 1)
    for option, value in asked.items():
        if not value:
            raise click.UsageError(
                f"give {option}, or a SNAPSHOT to plan without a portal, or --from-plant"
            )
    if now:
        raise click.UsageError("--now is for a SNAPSHOT or --from-plant")
    body = {
        "name": name,
        "project": project,
        "template": template,
        "size": size,
        "cell": cell,
        "strict_realtime": strict_realtime,
    }
    answer = Api.from_settings().post("requests/preview/", body)
    if form == "json":
        show_json(answer)
        return
    show_placement(answer)
    for row in answer.get("quota", []):
        mark = "  EXCEEDED" if row["exceeded"] else ""
        click.echo(
            f"  quota {row['resource']}: {row['used']} → {row['after']} of {row['limit']}{mark}"
        )
