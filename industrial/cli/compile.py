"""`vplc check` and `vplc build`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from industrial.runtime.checks import compile_checked, folder_errors
from industrial.st import (
    BuildError,
    PouReport,
    StError,
    build_shared_object,
    load_folder,
    read_folder,
)
from industrial.st import (
    check as check_paths,
)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--with",
    "extra",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Sources that are known but not reported on, for example globals.",
)
@click.option(
    "--dialect",
    type=click.Choice(["iec", "codesys23"]),
    default=None,
    help="Without it, that of a project's vplc.toml, else iec.",
)
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
def check(
    paths: tuple[Path, ...], extra: tuple[Path, ...], dialect: str | None, shape: str
) -> None:
    """Check Structured Text: one verdict for each POU and type.

    `ok` means checked, C emitted, and accepted by tcc. Of a project folder (with vplc.toml) the sources that it names
    are checked in its dialect, and its settings too; where they are wrong, a line of kind "settings" for each file
    says so. Ends with 1 when something is wrong.
    """
    try:
        sources, own_dialect = _sources(paths)
        report = check_paths(sources, dialect=dialect or own_dialect, with_files=extra)
        settings = [
            row for path in paths if (path / "vplc.toml").is_file() for row in folder_errors(path)
        ]
    except StError as error:
        raise click.ClickException(str(error)) from None
    if shape == "json":
        for row in report.rows:
            click.echo(json.dumps(row.as_dict()))
        for file in dict.fromkeys(item.file for item in settings):
            errors = [item for item in settings if item.file == file]
            click.echo(json.dumps(PouReport("", "settings", file, errors).as_dict()))
    else:
        for item in [*report.diagnostics, *settings]:
            click.echo(item.render())
        good = sum(row.ok for row in report.rows)
        click.echo(f"{good} of {len(report.rows)} are fine")
    raise SystemExit(0 if report.ok and not settings else 1)


def _sources(paths: tuple[Path, ...]) -> tuple[list[Path], str]:
    """The paths, projects as the sources that they name; and the dialect of the first project."""
    found: list[Path] = []
    dialects: list[str] = []
    for path in paths:
        folder = load_folder(read_folder(path)) if (path / "vplc.toml").is_file() else None
        if folder is None or not folder.ok:
            found.append(path)
            continue
        found += [path / name for name in folder.sources]
        dialects.append(folder.config.dialect)
    return found, next(iter(dialects), "iec")


@click.command()
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for program.so and symbols.json.",
)
@click.option("--compiler", type=click.Choice(["gcc", "tcc"]), default=None)
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
def build(project: Path, output: Path, compiler: str | None, shape: str) -> None:
    """Compile a project folder."""
    compiled = compile_checked(read_folder(project))
    report: dict[str, object] = {
        "format": 1,
        "ok": compiled.ok,
        "diagnostics": [row.as_dict() for row in compiled.diagnostics],
        "error": "",
    }
    if compiled.ok:
        output.mkdir(parents=True, exist_ok=True)
        try:
            build_shared_object(compiled.c_source, output / "program.so", compiler=compiler or "")
            (output / "symbols.json").write_text(json.dumps(compiled.symbols), encoding="utf-8")
        except BuildError as error:
            report |= {"ok": False, "error": str(error)}
    if shape == "json":
        click.echo(json.dumps(report))
    else:
        for row in compiled.diagnostics:
            click.echo(row.render(), err=True)
        click.echo("built" if report["ok"] else f"not built {report['error']}")
    raise SystemExit(0 if report["ok"] else 1)
