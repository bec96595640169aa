"""`vplc record` and `vplc replay`: what a live controller was given, repeated with its program or with another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from industrial.runtime.paths import Paths
from industrial.st import BuildError, StError, compile_folder, read_folder


@click.command()
@click.option("--project", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A project that `vplc run` runs; without it, the controller of this machine.")  # fmt: skip
@click.option("--scans", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Of all tasks together.")  # fmt: skip
@click.option("--limit", "limit_s", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds to wait for them.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File of the recording.")  # fmt: skip
def record(project: Path | None, scans: int, limit_s: float, out: Path) -> None:
    """Record a live controller: its state between two scans, then inputs, writes, forces and time of every scan.

    It costs the controller nothing: the engine keeps this in a ring at all times.
    """
    from industrial.runtime.shm import SharedMemory, ShmError
    from industrial.simulation.recording import Recorder, RecordingError

    paths = Paths.of_project(project) if project else Paths.default()
    try:
        found = Recorder(SharedMemory(paths.shm)).record(paths.active, scans, limit_s=limit_s)
        found.save(out)
    except ShmError as error:
        raise click.ClickException(f"no vPLC runs here ({error})") from None
    except (RecordingError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps({"format": 1, "scans": found.scans, "program": found.about, "note": found.note, "out": str(out)}))  # fmt: skip


@click.command()
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another project: given the same, which outputs differ, scan by scan.")  # fmt: skip
@click.option("--compiler", type=click.Choice(["tcc", "gcc"]), default="tcc", show_default=True)
@click.option("--differences", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many are listed with --against.")  # fmt: skip
def replay(
    recording: Path, project: Path, against: Path | None, compiler: str, differences: int
) -> None:
    """Repeat RECORDING with the program of PROJECT, in virtual time and bit for bit.

    Ends with 0 when every scan's outputs are those that were recorded (with --against: those of the other
    program), 1 when not, 2 when it cannot be done.
    """
    from industrial.runtime.build import EngineBuildError
    from industrial.simulation import SimulationError
    from industrial.simulation.recording import Recording
    from industrial.simulation.replay import compare, replay_program

    try:
        found = Recording.load(recording)
        mine = _compiled(project)
        if against is None:
            report = replay_program(found, mine, compiler=compiler).as_dict()
        else:
            report = compare(found, mine, _compiled(against), compiler=compiler, most=differences)
    except (SimulationError, StError, BuildError, EngineBuildError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    click.echo(json.dumps({"format": 1, **report}))
    raise SystemExit(0 if report["identical"] else 1)


def _compiled(project: Path) -> Any:
    compiled = compile_folder(read_folder(project))
    if not compiled.ok:
        raise click.ClickException("\n".join(row.render() for row in compiled.diagnostics))
    return compiled
