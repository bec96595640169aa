"""`vplc describe` and `vplc diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from industrial.st import Folder, StError, load_paths
from industrial.st.describe import describe as describe_folder
from industrial.st.describe import diff as diff_folders

_PATH = click.Path(exists=True, path_type=Path)
_DIALECT = click.option("--dialect", type=click.Choice(["iec", "codesys23"]), default=None)
_FORMAT = click.option(
    "--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True
)


def _load(path: Path, dialect: str | None) -> Folder:
    try:
        folder = load_paths([path], dialect=dialect or "")
    except StError as error:
        raise click.ClickException(str(error)) from None
    if not folder.ok:
        raise click.ClickException("\n".join(item.render() for item in folder.diagnostics))
    return folder


@click.command()
@click.argument("path", type=_PATH)
@_DIALECT
@_FORMAT
def describe(path: Path, dialect: str | None, shape: str) -> None:
    """What a project is made of: tasks, POUs, addresses, sizes. Ends with 1 when it has errors."""
    report = describe_folder(_load(path, dialect))
    if shape == "json":
        click.echo(json.dumps(report))
    else:
        click.echo(f"{report['name']} {report['version']} ({report['dialect']})")
        for task in report["tasks"]:
            programs = ", ".join(task["programs"])
            click.echo(
                f"  task {task['name']}: every {task['interval_us']} us, priority {task['priority']}: {programs}"
            )
        for row in report["pous"]:
            click.echo(f"  {row['kind'].lower().replace('_', ' ')} {row['pou']}")
        for row in report["located"]:
            click.echo(
                f"  {row['address']:10} {row['type']:8} {row['path']}  {row['comment']}".rstrip()
            )
        click.echo(f"  {report['variables']} variables, {report['retain_bytes']} bytes retained")
        if not report["ok"]:
            click.echo("it has errors: vplc check tells them")
    raise SystemExit(0 if report["ok"] else 1)


@click.command()
@click.argument("old", type=_PATH)
@click.argument("new", type=_PATH)
@_DIALECT
@_FORMAT
def diff(old: Path, new: Path, dialect: str | None, shape: str) -> None:
    """What changed between two projects, and whether a running controller could take the new one over.

    Ends with 0 when nothing changed, else with 1.
    """
    report = diff_folders(_load(old, dialect), _load(new, dialect))
    if shape == "json":
        click.echo(json.dumps(report))
    else:
        for sign, key in (("+", "added"), ("-", "removed"), ("~", "changed")):
            for name in report[key]:
                click.echo(f"{sign} {name}")
        for sign, key in (("+", "added"), ("-", "removed")):
            for name in report["variables"][key]:
                click.echo(f"{sign} variable {name}")
        for key in ("retyped", "moved"):
            for row in report["variables"][key]:
                click.echo(f"~ variable {row['path']}: {row['old'] or '-'} -> {row['new'] or '-'}")
        if report["tasks_changed"]:
            click.echo("~ tasks")
        if report["same"]:
            click.echo("nothing changed")
        elif report["online"]:
            click.echo("a running controller can take it over")
        else:
            click.echo(f"needs a restart: {'; '.join(report['reasons'])}")
    raise SystemExit(0 if report["same"] else 1)
