"""`millwright sla …`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows
from millwright.core.sla.seal import Finding, follows, read_file


@click.group()
def sla() -> None:
    """What was promised and what is kept."""


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{int(value * 1e5 + 1e-6) / 1e3:.3f} %"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds // 60:.0f} min"


def _month_option(function: Any) -> Any:
    return click.option("--month", default="", help="YYYY-MM; left out: the month that runs.")(
        function
    )


@sla.command()
@format_option
def status(form: str) -> None:
    """Lines in service, worst first, as the wall shows them."""
    found = Api.from_settings().get("service-levels/wall/")
    if form == "table" and found["silent_since"]:
        click.echo(f"nothing was measured since {found['silent_since']}", err=True)
    rows = [
        row
        if form == "json"
        else {
            **row,
            "since": row["since"][:19],
            "availability": _percent(row["availability"]),
            "budget_left": _minutes(row["budget_left_s"]),
            "burn": "-" if row["burn"] is None else f"{row['burn']:.2f}",
        }
        for row in found["lines"]
    ]
    columns = ("environment", "state", "since", "class", "availability", "budget_left", "burn")
    show_rows(rows, (*columns, "cause", "why"), form)


@sla.command("list")
@_month_option
@format_option
def list_months(month: str, form: str) -> None:
    """A month's figures of all environments."""
    rows = list(Api.from_settings().rows("service-levels/", **({"month": month} if month else {})))
    if form == "table":
        for row in rows:
            row |= {
                "availability": _percent(row["availability"]),
                "down": _minutes(row["down_s"]),
                "budget": _minutes(row["budget_s"]),
            }
    show_rows(rows, ("environment", "month", "availability", "down", "budget", "outages"), form)


@sla.command()
@click.argument("environment")
@_month_option
@format_option
def show(environment: str, month: str, form: str) -> None:
    """One environment's month: figures, causes, what changed."""
    query = {"month": month} if month else {}
    row = Api.from_settings().get(f"service-levels/{environment}/", **query)
    if form == "json":
        show_one(row, form)
        return
    for name in ("availability", "objective", "scans_in_time"):
        row[name] = _percent(row[name])
    lists = ("causes", "contracts", "windows", "changes", "budget", "seals")
    show_one(row, form, hide=lists)
    click.echo()
    for bar in row["causes"]:
        bar["share"] = _percent(bar["share"])
    show_rows(row["causes"], ("cause", "length_s", "share"), form)
    click.echo()
    show_rows(row["changes"], ("at", "kind", "what", "state", "why"), form)


# --- report and seals ---------------------------------------------------------------------------------


def _write(output: Path | None, content: bytes, name: str) -> None:
    """To the named file, `-` for standard output; never over a file that was not named."""
    if output == Path("-"):
        click.get_binary_stream("stdout").write(content)
        return
    if output is None:
        output = Path(name)
        if output.exists():
            raise CliError(f"{output} exists; name another with --output")
    output.write_bytes(content)
    click.echo(f"{output}: {len(content)} bytes", err=True)


_output = click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file, or - ."
)


@sla.command()
@click.argument("environment")
@click.argument("month")
@click.option("--as", "form", type=click.Choice(["pdf", "csv"]), default="pdf", show_default=True)
@_output
def report(environment: str, month: str, form: str, output: Path | None) -> None:
    """An environment's MONTH (YYYY-MM) as PDF or CSV."""
    api = Api.from_settings()
    content = api.download(f"service-levels/{environment}/report/", month=month, **{"as": form})
    _write(output, content, f"{environment}-{month}.{form}")


@sla.command()
@click.argument("environment")
@click.argument("month")
def seal(environment: str, month: str) -> None:
    """Sign an environment's MONTH (YYYY-MM) off: its figures and everything they come from."""
    body = {"environment": environment, "month": month}
    row = Api.from_settings().post("seals/", body)
    click.echo(f"seal {row['number']} of {row['environment']} {row['month']}: {row['digest']}")


@sla.command()
@click.option("--environment", default="", help="Of one environment.")
@format_option
def seals(environment: str, form: str) -> None:
    """List months that were signed off."""
    query = {"environment__name": environment} if environment else {}
    columns = ("id", "environment", "month", "number", "made_by", "made_at", "digest")
    show_rows(Api.from_settings().rows("seals/", **query), columns, form)


@sla.command()
@click.argument("number", type=int, metavar="ID")
@_output
def export(number: int, output: Path | None) -> None:
    """A sealed month as a file that `millwright sla verify` checks anywhere."""
    api = Api.from_settings()
    row = api.get(f"seals/{number}/")
    name = f"{row['environment']}-{row['month']}-seal-{row['number']}.jsonl"
    _write(output, api.download(f"seals/{number}/file/"), name)


@sla.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--digest", default="", help="The digest that was kept elsewhere, of the last seal named."
)
def verify(files: tuple[Path, ...], digest: str) -> None:
    """Check files of sealed months, without portal or database: tells each row that is not what was sealed."""
    found: list[tuple[Path, Finding]] = []
    for path in files:
        with path.open("rb") as file:
            found.append((path, read_file(file)))
    found.sort(key=lambda each: (str(each[1].head.get("id")), _seal_number(each[1])))
    wrong = 0
    for path, finding in found:
        head = finding.head
        title = f"{path}: {head.get('environment')} {head.get('month')}, seal {head.get('number')}"
        for line in finding.wrong:
            click.echo(f"{title}: {line}")
        wrong += len(finding.wrong)
        if finding.intact:
            click.echo(f"{title}: {finding.rows} rows intact, digest {finding.seal['digest']}")
    for (_path, one), (path, two) in pairwise(found):
        neighbours = one.head.get("id") == two.head.get("id") and (
            _seal_number(two) == _seal_number(one) + 1
        )
        if neighbours and not follows(one, two):
            click.echo(f"{path}: was not sealed upon the seal before it")
            wrong += 1
    last = found[-1][1].seal.get("digest")
    if digest and digest.strip().lower() != last:
        click.echo(f"the last seal's digest is {last}, not the one that was kept")
        wrong += 1
    if wrong:
        raise CliError(f"{wrong} {'thing is' if wrong == 1 else 'things are'} not what was sealed")


def _seal_number(finding: Finding) -> int:
    number = finding.head.get("number")
    return number if isinstance(number, int) else 0
