"""`vplc check` and `vplc build`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from industrial.compiler import (
    ToolchainError,
    build_shared_object,
    check_paths,
    compile_project,
    render,
)


def project_files(project: Path) -> dict[str, str]:
    """Text files of a project folder."""
    found = {}
    for path in sorted(project.rglob("*")):
        if path.is_file() and path.suffix.lower() in {".st", ".toml", ".yaml"}:
            found[path.relative_to(project).as_posix()] = path.read_text(
                encoding="utf-8", errors="replace"
            )
    return found


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
def check(paths: tuple[Path, ...], shape: str) -> None:
    """Check Structured Text: one verdict for each POU and type."""
    sources = {}
    for path in paths:
        for file in sorted(path.rglob("*.st")) if path.is_dir() else [path]:
            sources[str(file)] = file.read_text(encoding="utf-8", errors="replace")
    rows, loose = check_paths(sources)
    if shape == "json":
        for row in rows:
            click.echo(json.dumps(row.as_dict()))
    else:
        for error in [*loose, *(error for row in rows for error in row.errors)]:
            click.echo(render(error, sources))
        wrong = sum(1 for row in rows if row.errors)
        click.echo(f"{len(rows) - wrong} of {len(rows)} are fine")
    if loose or any(row.errors for row in rows):
        raise SystemExit(1)


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
    files = project_files(project)
    compiled = compile_project(files)
    report: dict[str, object] = {
        "ok": compiled.ok,
        "diagnostics": [row.as_dict() for row in compiled.diagnostics],
        "error": "",
    }
    if compiled.ok:
        output.mkdir(parents=True, exist_ok=True)
        try:
            build_shared_object(compiled.c_source, output / "program.so", compiler=compiler or "")
            (output / "symbols.json").write_text(json.dumps(compiled.symbols), encoding="utf-8")
        except ToolchainError as error:
            report |= {"ok": False, "error": str(error)}
    if shape == "json":
        click.echo(json.dumps(report))
    else:
        for row in compiled.diagnostics:
            click.echo(render(row, files), err=True)
        click.echo("built" if report["ok"] else f"not built {report['error']}")
    raise SystemExit(0 if report["ok"] else 1)
