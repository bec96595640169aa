"""`vplc ctl`, `monitor`, `force` and `trace`: what an engineer does to a running program."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from industrial.cli.options import project_too
from industrial.runtime.paths import Paths

_project = click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A project that `vplc run` runs; without it, the controller of this machine.",
)


def _tools(project: Path | None) -> Any:
    from industrial.runtime.shm import ShmError
    from industrial.runtime.tools import Tools

    try:
        return Tools(Paths.of_project(project) if project else Paths.default())
    except ShmError as error:
        raise click.ClickException(
            f"no vPLC runs here ({error}); --project names one that `vplc run` runs"
        ) from None


def _refuse(error: Exception) -> click.ClickException:
    return click.ClickException(str(error))


_VERBS = ["run", "stop", "step", "reload", "cold", "change", "rollback", "active", "standby"]


@click.command()
@click.argument("verb", type=click.Choice(_VERBS))
@click.option("--count", type=click.IntRange(1, 10_000), default=1, help="Cycles of `step`.")
@click.option(
    "--restart",
    is_flag=True,
    help="change and rollback: start anew where it is not possible online.",
)
@click.option(
    "--optimise/--no-optimise",
    default=True,
    help="change: gcc's program in place of tcc's when it is ready.",
)
@_project
def ctl(verb: str, count: int, restart: bool, optimise: bool, project: Path | None) -> None:
    """Order the scan.

    run, stop, and step (single cycles while stopped); reload or cold (start the active program anew, with
    retained values or without); change (compile the project again and take it over between two scans) and
    rollback (the program before); active or standby (whether devices are written).
    """
    from industrial.runtime.shm import Command, State

    tools = _tools(project)
    if verb in ("change", "rollback"):
        _exchange(verb, tools, project, "auto" if restart else "online", optimise=optimise)
        return
    if verb == "step" and tools.shm.state is not State.STOP:
        raise click.ClickException(
            f"state = {tools.shm.state.name}: single cycles want a stopped program (vplc ctl stop)"
        )
    for _ in range(count if verb == "step" else 1):
        if why := tools.shm.order(Command[verb.upper()]):
            raise click.ClickException(why)
    click.echo(json.dumps({"format": 1, "ok": True, "state": tools.shm.state.name.lower()}))


def _exchange(verb: str, tools: Any, project: Path | None, mode: str, *, optimise: bool) -> None:
    """Another program in place of the one that runs."""
    from industrial.runtime.delivery import (
        LocalError,
        Source,
        announce,
        announce_rollback,
        answer_to,
    )
    from industrial.runtime.keys import local_key
    from industrial.st import StError

    try:
        if verb == "rollback":
            answer = answer_to(tools.paths, announce_rollback(tools.paths, mode))
        else:
            if project is None:
                raise click.ClickException("change: --project names what is to be compiled")
            key, source = local_key(project / "state"), Source.read(project)
            staged = optimise and source.stages
            compiler = "tcc" if staged else ""
            answer = answer_to(
                tools.paths, announce(tools.paths, source.bundle(key, compiler), mode)
            )
    except (LocalError, StError) as error:
        raise click.ClickException(str(error)) from None
    shown = {"format": 1, **answer, "state": tools.shm.state.name.lower()}
    click.echo(json.dumps(shown))
    if verb == "change" and staged:
        try:
            number = announce(tools.paths, source.bundle(key, "gcc", idle=True), "online")
            answer = answer_to(tools.paths, number)
        except LocalError as error:
            raise click.ClickException(f"it runs, but not optimised: {error}") from None
        click.echo(json.dumps({"format": 1, "optimised": True, **answer}))


@click.command()
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
@click.option("--events", type=click.IntRange(0, 64), default=10, show_default=True, help="How many of the last.")  # fmt: skip
@click.option("--journal", type=click.IntRange(0), default=0, help="As many lines of the journal on the disk, which outlives restarts.")  # fmt: skip
@_project
def status(shape: str, events: int, journal: int, project: Path | None) -> None:
    """Show how the controller is: state, tasks, how it came up, what it retained, its clock, devices, events.

    Read from the scan's own memory: it answers with the protocols dead, too. Ends with 1 when no task runs.
    """
    from industrial.runtime.status import full_report, read_journal

    tools = _tools(project)
    report = full_report(tools.shm, tools.paths.active, events=events)
    try:
        served = json.loads(tools.paths.status.read_text())
        report |= {key: served[key] for key in ("devices", "message") if key in served}
        report["protocols_age_s"] = round(max(0.0, time.time() - float(served["at"])), 3)
    except (OSError, ValueError, KeyError):
        report |= {"devices": {}, "message": "", "protocols_age_s": None}
    if journal:
        report["journal"] = read_journal(tools.paths.journal, journal)
    click.echo(json.dumps(report) if shape == "json" else _in_words(report))
    raise SystemExit(0 if report["alive"] and report["state"] in ("run", "wait") else 1)


def _in_words(report: dict[str, Any]) -> str:
    program, retain, clock = report["program"], report["retain"], report["clock"]
    named = f"{program['name']} {program['version']}" if program else "no program"
    alive = "" if report["alive"] else f", silent for {report['heartbeat_age_s']:.1f} s"
    lines = [
        f"{named}: {report['state']}{alive}, {report['start']} start, role {report['role']}",
        f"retained: {retain['result']}, {retain['bytes']} bytes"
        + (f", saved {retain['age_s']:.1f} s ago" if retain["age_s"] is not None else "")
        + (f", NOT SAVED: {retain['error']}" if retain["error"] else ""),
        *(f"  not kept: {row}" for row in retain.get("lost", [])),
        f"clock: {'trusted' if clock['trusted'] else 'not trusted'}, set {clock['steps']} times, stood still {clock['gaps']} times",
    ]
    if report["forced"]:
        lines.append(f"FORCED: {report['forced']} variables (vplc force shows them)")
    if report["crashes"]:
        lines.append(f"{report['crashes']} starts before this one did not last")
    for task in report["tasks"]:
        scan, late = task["scan_us"], task["late_us"]
        lines.append(
            f"task {task['name']} every {task['interval_us']} us: {task['scans']} scans, {task['overruns']} missed, "
            f"scan {scan['mean']:.0f} us (at most {scan['max']:.0f}), late {late['mean']:.0f} us (at most {late['max']:.0f})"
        )
    lines += [
        f"FAULT of {row['task']}: code {row['code']}, {row['file']}:{row['line']}, scan {row['scan']}"
        for row in report["faults"]
    ]
    for name, device in report["devices"].items():
        how = "good" if device["good"] else f"SILENT: {device['error']}"
        lines.append(f"device {name}: {how}, {device['reads']} reads, {device['errors']} errors")
    if report["message"]:
        lines.append(f"configuration: {report['message']}")
    lines += [f"{row['at']} {row['text']}" for row in report["events"]]
    lines += [f"{row['at']} {row.get('source', '')} {row['text']}".replace("  ", " ") for row in report.get("journal", [])]  # fmt: skip
    return "\n".join(lines)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--every", "every_s", type=click.FloatRange(0.01), help="Again and again, in seconds."
)
@click.option("--times", type=click.IntRange(1), default=1, help="How often, with --every.")
@_project
def monitor(
    paths: tuple[str, ...], every_s: float | None, times: int, project: Path | None
) -> None:
    """Print variables by path, one JSON object a line, each of one scan."""
    from industrial.runtime.variables import VariableError

    tools = _tools(project)
    try:
        for number in range(times if every_s else 1):
            if number and every_s:
                time.sleep(every_s)
            shown = {"format": 1, "values": tools.read(list(paths))}
            # Beside the values: where a device feeds one, whether it answers and how long ago it did.
            if inputs := tools.quality(list(paths)):
                shown["inputs"] = inputs
            click.echo(json.dumps(shown))
    except VariableError as error:
        raise _refuse(error) from None


@click.group(invoke_without_command=True)
@_project
@click.pass_context
def force(context: click.Context, project: Path | None) -> None:
    """Force variables against the program and clients; without a verb, list what is forced.

    Forces end with the scan process.
    """
    context.obj = project
    if context.invoked_subcommand is None:
        _show_forces(_tools(project).forced())


def _show_forces(forced: dict[str, Any]) -> None:
    click.echo(json.dumps({"format": 1, "forced": forced}))


@force.command("set")
@click.argument("assignments", nargs=-1, required=True)
@project_too
@click.pass_obj
def force_set(project: Path | None, assignments: tuple[str, ...]) -> None:
    """Force PATH=VALUE …; a value is written as in JSON, or as a literal (T#1s)."""
    from industrial.runtime.variables import VariableError

    values: dict[str, Any] = {}
    for text in assignments:
        path, sign, value = text.partition("=")
        if not sign or not path:
            raise click.ClickException(f"{text!r}: written as PATH=VALUE")
        try:
            values[path] = json.loads(value)
        except ValueError:
            values[path] = value
    try:
        _show_forces(_tools(project).force(values))
    except VariableError as error:
        raise _refuse(error) from None


@force.command("clear")
@click.argument("paths", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="End all forces.")
@project_too
@click.pass_obj
def force_clear(project: Path | None, paths: tuple[str, ...], everything: bool) -> None:
    """End forces."""
    from industrial.runtime.variables import VariableError

    if bool(paths) == everything:
        raise click.ClickException("name variables, or --all")
    try:
        _show_forces(_tools(project).unforce(None if everything else list(paths)))
    except VariableError as error:
        raise _refuse(error) from None


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--scans", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
@click.option("--task", type=click.IntRange(0, 15), default=0, show_default=True)
@click.option("--limit", "limit_s", type=click.FloatRange(0.1), default=60.0, show_default=True)
@click.option(
    "--format", "shape", type=click.Choice(["csv", "json"]), default="csv", show_default=True
)
@_project
def trace(
    paths: tuple[str, ...], scans: int, task: int, limit_s: float, shape: str, project: Path | None
) -> None:
    """Note up to 16 variables after every scan: scan, time in microseconds, values. With json, a line for each."""
    from industrial.runtime.shm import ShmError
    from industrial.runtime.variables import VariableError

    out = csv.writer(sys.stdout)
    tools = _tools(project)
    try:
        rows = tools.trace(list(paths), scans, task=task, limit_s=limit_s)
        for number, (scan, time_us, values) in enumerate(rows):
            if shape == "json":
                named = dict(zip(paths, values, strict=True))
                click.echo(
                    json.dumps({"format": 1, "scan": scan, "time_us": time_us, "values": named})
                )
                continue
            if number == 0:
                out.writerow(["scan", "time_us", *paths])
            out.writerow([scan, time_us, *values])
    except (VariableError, ShmError, TimeoutError) as error:
        raise _refuse(error) from None
