"""`vplc simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from industrial.st import BuildError, StError, load_paths


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--scenario",
    "scenario_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON: program, interval_us, steps.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Trace as JSON; else printed."
)
@click.option(
    "--with",
    "extra",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="More sources, for example globals.",
)
@click.option("--dialect", type=click.Choice(["iec", "codesys23"]), default=None)
@click.option("--compiler", type=click.Choice(["tcc", "gcc"]), default="tcc", show_default=True)
def simulate(
    paths: tuple[Path, ...],
    scenario_file: Path,
    out: Path | None,
    extra: tuple[Path, ...],
    dialect: str | None,
    compiler: str,
) -> None:
    """Run a program in virtual time, as a scenario says.

    The engine is the one that runs on a controller. Ends with 0 when all steps were done (a fault of the
    program is in the trace), 1 when the program does not compile, 2 when the scenario is not right.
    """
    from industrial.runtime.build import EngineBuildError
    from industrial.simulation import (
        ScenarioError,
        SimulationError,
        load_machine,
        parse_scenario,
        run_scenario,
    )

    try:
        scenario = parse_scenario(json.loads(scenario_file.read_text(encoding="utf-8")))
        folder = load_paths(paths, with_files=extra, dialect=dialect or scenario.dialect)
        with load_machine(folder, scenario, compiler=compiler) as machine:
            outcome = run_scenario(machine, scenario)
    except (ValueError, ScenarioError) as error:
        click.echo(f"{scenario_file}: {error}", err=True)
        raise SystemExit(2) from None
    except (SimulationError, StError, BuildError, EngineBuildError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None
    text = json.dumps(outcome.as_dict(scenario), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    if outcome.fault is not None:
        found = outcome.fault
        click.echo(
            f"task {found.task} stopped at {found.time_us} us: {found.message} ({found.file}:{found.line})",
            err=True,
        )
