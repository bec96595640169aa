"""`vplc test`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from industrial.st import Folder
    from industrial.testing.suite import Suite


@click.command()
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--suite",
    "suites",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A suite; all of PROJECT/tests by default.",
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Report for CI.")
@click.option("--cover", type=click.FloatRange(0, 100), help="Fail below so many percent of lines.")
@click.option("--compiler", type=click.Choice(["tcc", "gcc"]), default="tcc", show_default=True)
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
@click.option(
    "--trace",
    multiple=True,
    metavar="TAG",
    help="Note a variable scan by scan, in the JSON report; `auto` chooses up to 16.",
)
def test(
    project: Path,
    suites: tuple[Path, ...],
    junit: Path | None,
    cover: float | None,
    compiler: str,
    shape: str,
    trace: tuple[str, ...],
) -> None:
    """Run the suites of PROJECT in virtual time.

    Ends with 1 when a test fails or too little of the program ran, 2 when a suite or the program is not right.
    """
    from industrial.runtime.build import EngineBuildError
    from industrial.simulation import SimulationError
    from industrial.st import BuildError, StError, load_paths
    from industrial.testing import SuiteError, junit_xml, load_suite, run_suite
    from industrial.testing.coverage import merge

    files = list(suites) or sorted((project / "tests").glob("*.y*ml"))
    if not files:
        raise click.ClickException(f"{project}/tests: there is no suite (*.yaml)")
    try:
        folder = load_paths([project])
        loaded = [load_suite(path) for path in files]
        results = [
            run_suite(folder, suite, compiler=compiler, trace=_traced(folder, suite, trace))
            for suite in loaded
        ]
    except (SuiteError, SimulationError, StError, BuildError, EngineBuildError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    whole = merge({str(number): result.coverage for number, result in enumerate(results)})
    if junit is not None:
        junit.write_bytes(junit_xml(results))
    failed = sum(result.failed for result in results)
    if shape == "json":
        report = {"format": 1, "suites": [result.as_dict() for result in results], "coverage": whole.as_dict()}  # fmt: skip
        click.echo(json.dumps(report, indent=1))
    else:
        for result in results:
            for row in result.tests:
                mark = "failed" if row.failure else "ok"
                click.echo(f"{mark:<7}{result.name}: {row.name} ({row.time_us / 1e6:g} s in {row.scans} scans)")  # fmt: skip
                if row.failure:
                    click.echo(f"       {row.failure}")
        for file, lines in whole.missing().items():
            click.echo(f"{file}: not run: {', '.join(map(str, lines))}")
        total = sum(len(result.tests) for result in results)
        click.echo(f"{total - failed} of {total} passed, {whole.ratio:.1%} of the lines ran")
    short = cover is not None and whole.ratio * 100 < cover
    if short:
        click.echo(f"coverage: {whole.ratio:.1%}, wanted {cover:g} %", err=True)
    raise SystemExit(1 if failed or short else 0)


def _traced(folder: Folder, suite: Suite, asked: tuple[str, ...]) -> tuple[str, ...]:
    from industrial.st import compile_project
    from industrial.testing.trace import worth_tracing

    if asked != ("auto",):
        return asked
    # What does not compile is said by the run itself.
    compiled = compile_project(folder.sources, folder.config) if folder.ok else None
    symbols = compiled.symbols["symbols"] if compiled is not None and compiled.ok else []
    return worth_tracing(symbols, suite.plant.variables)
