"""`millwright plan SNAPSHOT`, `balance`, `drain`, `capacity`, `recover`: the balancer on a file or on the plant as it
runs; nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from millwright.cli.errors import CliError
from millwright.cli.nouns import snapshots
from millwright.cli.nouns.balance_history import history
from millwright.cli.output import format_option, show_json, show_rows
from millwright.core import balancing as core

F = TypeVar("F", bound=Callable[..., Any])
_MOVES = ("vm", "source", "target", "mode", "why", "seconds", "net", "text")
_REFUSALS = ("vm", "codes", "text")
#: exit code of what can be done once somebody agrees
NEEDS_APPROVAL = 3
_LEGS = ("start_s", "end_s", "vm", "source", "target", "detour", "approval")
#: where to stop a plan of years of work
_MOST_GROWTH = 1e6


def snapshot_option(function: F) -> F:
    """`--snapshot FILE`, and `-` for standard input."""
    return click.option(
        "--snapshot",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True),
        help="Plant as JSON; - reads standard input. Without it the running plant is asked.",
    )(function)


def limit_options(function: F) -> F:
    """How many migrations at once."""
    at_least_one = click.IntRange(min=1)
    function = click.option(
        "--at-once", type=at_least_one, default=8, show_default=True, help="Migrations in all."
    )(function)
    function = click.option(
        "--per-link",
        type=at_least_one,
        help="Migrations between any two failure domains at once; any number unless given.",
    )(function)
    return click.option(
        "--per-host",
        type=at_least_one,
        default=2,
        show_default=True,
        help="Migrations that one host may send or receive at once.",
    )(function)


def now_option(function: F) -> F:
    """`--now TIME`, by which the calendar is read."""
    return click.option(
        "--now", metavar="TIME", help="Time by which the calendar holds, like 2026-05-04T06:00."
    )(function)


@click.group(invoke_without_command=True)
@snapshot_option
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What the last round left; read where it exists, then written anew.",
)
@click.option("--lasting", is_flag=True, help="Take an imbalance as one that has lasted.")
@now_option
@format_option
@click.pass_context
def balance(
    context: click.Context,
    snapshot: str | None,
    state: Path | None,
    lasting: bool,
    now: str | None,
    form: str,
) -> None:
    """One balancing round: which machines move, why, and what it brings. Moves nothing.

    An imbalance is acted upon when it has lasted for `settings.sustain_rounds`: give --state for
    rounds that follow each other, or --lasting. What the plant's own rounds decided:
    millwright balance history, millwright recommendation list.

    Example: millwright balance --snapshot plant.json --lasting
    """
    if context.invoked_subcommand is not None:
        return
    before = snapshots.read_state(state)
    plant = snapshots.plant(snapshot, now)
    made = core.balance(_lasting(plant) if lasting else plant, before)
    if state is not None:
        snapshots.write_state(state, made.state)
    if form == "json":
        show_json(asdict(made) | {"moves": _moves(made.moves)})
        return
    _tell_round(made)


balance.add_command(history)


@click.command()
@click.argument("hosts", nargs=-1)
@snapshot_option
@limit_options
@click.option("--rolling", is_flag=True, help="One host after another; without HOSTS, every host.")
@click.option(
    "--work",
    type=float,
    default=1800.0,
    show_default=True,
    help="Seconds of work on each host of a rolling drain.",
)
@click.option(
    "--approved", is_flag=True, help="Whoever decides has agreed to the moves that need a word."
)
@now_option
@format_option
@click.pass_context
def drain(
    context: click.Context,
    hosts: tuple[str, ...],
    snapshot: str | None,
    per_host: int,
    at_once: int,
    per_link: int | None,
    rolling: bool,
    work: float,
    approved: bool,
    now: str | None,
    form: str,
) -> None:
    """How HOSTS would be emptied, how long it takes, and what cannot leave. Moves nothing.

    Windows are read by the plant's own clock: give --now to ask of another time, when one opens, say.
    With a file and no --now, windows of its calendar count as closed.

    \b
    Exit codes: 0 it can be emptied; 1 something cannot leave, or the question is wrong;
                3 it can be emptied with an approval (0 with --approved)

    \b
    Example: millwright drain host-3 --now 2026-05-04T22:00
             millwright drain host-3 --snapshot plant.json
    """
    snapshots.number("--work", work, "work_s")
    plant = snapshots.plant(snapshot, now)
    _known("HOSTS", hosts, (host.name for host in plant.hosts))
    limits = core.Limits(per_host, at_once, per_link)
    if rolling:
        turns = core.rolling_drain(plant, work, hosts or None, limits)
        if form == "json":
            rows = [_drain_row(plant, turn, limits) for turn in turns.drains]
            show_json({"drains": rows, "seconds": turns.seconds, "blocked": turns.blocked})
        else:
            for turn in turns.drains:
                word = f"{len(turn.moves)} moves" if turn.possible else "cannot be emptied"
                click.echo(f"{', '.join(turn.hosts)}: {word}, {turn.seconds:.0f} s")
                _tell_approvals(turn.moves)
                _tell_refusals(turn.blockers)
            click.echo(f"in all {turns.seconds:.0f} s; blocked: {', '.join(turns.blocked) or '-'}")
        waits = any(_approvals(turn.moves) for turn in turns.drains) and not approved
        context.exit(1 if turns.blocked else NEEDS_APPROVAL if waits else 0)
    if not hosts:
        raise click.UsageError("name at least one host, or give --rolling")
    made = core.drain(plant, hosts, limits)
    row = _drain_row(plant, made, limits)
    if form == "json":
        show_json(row)
    else:
        show_rows(row["legs"], _LEGS, form)
        _tell_refusals((*made.blockers, *(core.Refusal(**entry) for entry in row["dropped"])))
        click.echo(
            f"{', '.join(hosts)} {_verdict(row)}; {len(made.moves)} moves, {row['seconds']:.0f} s"
        )
    if not made.possible or row["dropped"]:
        context.exit(1)
    context.exit(NEEDS_APPROVAL if row["approvals"] and not approved else 0)


@click.command()
@snapshot_option
@click.option("--like", metavar="VM", help="Count copies of this machine of the snapshot.")
@click.option(
    "--template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Count copies of the machine in this JSON file.",
)
@click.option(
    "--growth",
    type=float,
    default=0.0,
    help="New machines a day (for days left).",
)
@click.option(
    "--spare", type=click.IntRange(min=0), default=0, help="Hosts that may die at once afterwards."
)
@click.option(
    "--losses",
    is_flag=True,
    help="Say instead who would not restart if any --spare hosts (at least 1) died at once.",
)
@click.option(
    "--domains", is_flag=True, help="With --losses: so many failure domains in place of hosts."
)
@now_option
@format_option
@click.pass_context
def capacity(
    context: click.Context,
    snapshot: str | None,
    like: str | None,
    template: Path | None,
    growth: float,
    spare: int,
    losses: bool,
    domains: bool,
    now: str | None,
    form: str,
) -> None:
    """How many more machines fit, what runs out first, and what one more host would bring.

    With --losses: which machines would find no room, or wait for another, if hosts died; ends with 1 then.

    \b
    Example: millwright capacity --snapshot plant.json --like cae-1 --growth 0.5 --spare 1
             millwright capacity --snapshot plant.json --losses --spare 2
    """
    if domains and not losses:
        raise click.UsageError("--domains: goes with --losses")
    if losses:
        if like is not None or template is not None or growth:
            raise click.UsageError("--losses: goes without --like, --template and --growth")
        snapshots.number("--spare", spare, "spare_hosts")
        context.exit(_losses(snapshots.plant(snapshot, now), max(1, spare), domains, form))
    if (like is None) == (template is None):
        raise click.UsageError("give either --like or --template")
    if not (math.isfinite(growth) and 0 <= growth <= _MOST_GROWTH):
        raise CliError(f"--growth: {growth:g}: must be from 0 to {_MOST_GROWTH:g} machines a day")
    snapshots.number("--spare", spare, "spare_hosts")
    plant = snapshots.plant(snapshot, now)
    if like is not None:
        _known("--like", [like], (vm.name for vm in plant.vms))
        wanted = next(vm for vm in plant.vms if vm.name == like)
    else:
        wanted = snapshots.read_template(template or Path())
    made = core.capacity(plant, wanted, growth, spare)
    if form == "json":
        show_json(asdict(made))
        return
    click.echo(f"{made.fits} more fit")
    for host, count in made.per_host.items():
        click.echo(f"  {host}: {count}")
    for what, count in made.limited_by.items():
        click.echo(f"  {core.runs_out(what)}: first to run out on {_hosts(count)}")
    if made.days_left is not None:
        click.echo(f"full in {made.days_left:.1f} days at {growth:g} a day")
    if made.with_woken is not None:
        click.echo(f"{made.with_woken} would fit with all that sleep woken: {_hosts(made.asleep)}")
    click.echo(f"{made.with_one_more} would fit with one more host like {made.more_host or '-'}")


def _hosts(count: int) -> str:
    return f"{count} host{'' if count == 1 else 's'}"


def _losses(plant: core.Plant, k: int, domains: bool, form: str) -> int:
    """Show who would be left, set by set; the exit code."""
    told = core.failure_capacity(plant, k, domains=domains)
    if form == "json":
        show_json(asdict(told))
        return 0 if told.ok else 1
    rows = [
        {
            "hosts": ", ".join(entry.hosts),
            "vm": refusal.vm,
            "waits_for": refusal.waits_for,
            "codes": ", ".join(refusal.codes),
            "text": refusal.text,
        }
        for entry in told.broken
        for refusal in entry.left
    ]
    if rows:
        show_rows(rows, ("hosts", "vm", "waits_for", "codes", "text"), form)
    what = "failure domains" if domains else "hosts"
    tried = "" if told.complete else f"; tried: the {told.checked} sets that ask for the most"
    if told.ok:
        click.echo(f"any {k} {what} may die: every protected machine restarts{tried}")
    else:
        click.echo(
            f"{len(told.broken)} of {told.checked} sets of {k} {what} leave machines that would not restart{tried}"
        )
    return 0 if told.ok else 1


@click.command()
@click.argument("hosts", nargs=-1)
@snapshot_option
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="NAME",
    help="All hosts of this failure domain (rack, room) are lost too. May be repeated.",
)
@click.option(
    "--gone",
    multiple=True,
    metavar="HOST",
    help="A lost host that cannot come back: autonomous machines leave it too. May be repeated.",
)
@now_option
@format_option
@click.pass_context
def recover(
    context: click.Context,
    hosts: tuple[str, ...],
    snapshot: str | None,
    domains: tuple[str, ...],
    gone: tuple[str, ...],
    now: str | None,
    form: str,
) -> None:
    """Where and in which order the machines of lost HOSTS would start again. Starts nothing.

    Ends with 1 when a machine finds no place.

    \b
    Example: millwright recover host-3 --snapshot plant.json
             millwright recover --domain rack-1 --snapshot plant.json
    """
    if not hosts and not domains:
        raise click.UsageError("name HOSTS that are lost, or a --domain")
    plant = snapshots.plant(snapshot, now)
    _known("HOSTS", hosts, (host.name for host in plant.hosts))
    _known("--domain", domains, (host.domain for host in plant.hosts if host.domain))
    inside = (host.name for host in plant.hosts if host.domain and host.domain in domains)
    hosts = tuple(dict.fromkeys((*hosts, *inside)))
    _known("--gone", gone, hosts)
    made = core.recover(plant, hosts, gone)
    if form == "json":
        show_json(asdict(made))
    else:
        rows = [asdict(entry) for entry in made.restarts]
        show_rows(rows, ("wave", "vm", "lost", "target", "text"), form)
        _tell_refusals((*made.waiting, *made.left))
    context.exit(1 if made.left else 0)


def plan_offline(snapshot: str | None, now: str | None, form: str) -> bool:
    """Place what has no host, then one round as if the imbalance had lasted, then the order of moves.

    Whether every machine has a place, and as many hosts may die as the settings want.
    """
    plant = _lasting(snapshots.plant(snapshot, now))
    homeless = [vm for vm in plant.vms if vm.host is None]
    placed = core.admit(plant, homeless, plant.settings.spare_hosts)
    homes = {entry.vm: entry for entry in placed.placed}
    settled = replace(
        plant,
        vms=tuple(
            replace(vm, host=homes[vm.name].host, node=homes[vm.name].node)
            if vm.name in homes
            else vm
            for vm in plant.vms
        ),
    )
    made = core.balance(settled)
    schedule = core.order(settled, made.moves)
    broken = core.verify(settled, schedule, core.Limits())
    if broken:
        raise CliError(f"the plan is not to be used, its check found: {broken[0].text}")
    if form == "json":
        show_json(
            {
                "ok": placed.ok,
                "reasons": _unplaced(placed),
                "placed": [_placed(entry) for entry in placed.placed],
                "spare": asdict(placed.spare) if placed.spare else None,
                "round": asdict(made) | {"moves": _moves(made.moves)},
                "schedule": asdict(schedule),
            }
        )
        return placed.ok
    for entry in placed.placed:
        click.echo(f"place {entry.vm} on {entry.host or 'no host'}")
        for answer in entry.answers if entry.host is None else ():
            click.echo(f"  {answer.host}: {'; '.join(answer.texts)}")
    _tell_round(made)
    if schedule.legs:
        click.echo(f"order of moves, {schedule.makespan_s:.0f} s:")
        show_rows((_leg(leg, made.moves) for leg in schedule.legs), _LEGS, form)
    _tell_refusals(schedule.dropped)
    for text in _unplaced(placed):
        click.echo(f"not: {text}")
    return placed.ok


def _unplaced(placed: core.Admission) -> list[str]:
    """Why the plan is not to be carried out; nothing: it may be."""
    found = [f"{entry.vm} has no place" for entry in placed.placed if not entry.host]
    if placed.spare is not None and not placed.spare.ok:
        found += [
            text for entry in placed.spare.broken[:3] for text in _unspared(entry, placed.spare)
        ]
    return found


def _unspared(entry: core.Broken, spare: core.FailureVerdict) -> list[str]:
    """What the death of these hosts would leave: without a place, or waiting for what does not start."""
    wanted = f"and {spare.k} hosts shall be to spare"
    # As many may die as are alive, or none is.
    without = f"without {', '.join(entry.hosts)}" if entry.hosts else "no host is alive:"
    lost = ", ".join(refusal.vm for refusal in entry.left if not refusal.waits_for)
    found = [f"{without} no place is left for {lost}, {wanted}"] if lost else []
    waits = [refusal.text for refusal in entry.left if refusal.waits_for]
    return found + [f"{without} {text}, {wanted}" for text in waits[:3]]


def _lasting(plant: core.Plant) -> core.Plant:
    return replace(plant, settings=replace(plant.settings, sustain_rounds=1))


def _known(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = sorted(known)
    for name in names:
        if name not in there:
            raise CliError(f"{option}: {name!r}: not known; there are {', '.join(there[:20])}")


def _moves(moves: Iterable[core.Move]) -> list[dict[str, Any]]:
    return [
        asdict(move) | {"net": round(move.effect.net, 1), "seconds": round(move.seconds, 1)}
        for move in moves
    ]


def _leg(leg: core.Leg, moves: Iterable[core.Move]) -> dict[str, Any]:
    return asdict(leg) | {
        "start_s": round(leg.start_s, 1),
        "end_s": round(leg.end_s, 1),
        "approval": leg.vm in _approvals(moves),
    }


def _approvals(moves: Iterable[core.Move]) -> list[str]:
    """Machines that move by a person's word alone."""
    return sorted({move.vm for move in moves if move.approval})


def _tell_approvals(moves: Iterable[core.Move]) -> None:
    if names := _approvals(moves):
        click.echo(f"  with the approval of {', '.join(names)}")


def _verdict(row: dict[str, Any]) -> str:
    if not row["possible"] or row["dropped"]:
        return "cannot be emptied"
    names = ", ".join(row["approvals"])
    return f"can be emptied with the approval of {names}" if names else "can be emptied"


def _placed(entry: core.Placed) -> dict[str, Any]:
    answers = [
        asdict(answer) | {"score": answer.score if answer.accepted else None}
        for answer in entry.answers
    ]
    return asdict(entry) | {"answers": answers}


def _drain_row(plant: core.Plant, made: core.Drain, limits: core.Limits) -> dict[str, Any]:
    schedule = core.order(plant, made.moves, limits)
    return {
        "hosts": made.hosts,
        "possible": made.possible,
        "seconds": made.seconds,
        "approvals": _approvals(made.moves),
        "moves": _moves(made.moves),
        "legs": [_leg(leg, made.moves) for leg in schedule.legs],
        "dropped": [asdict(entry) for entry in schedule.dropped],
        "blockers": [asdict(entry) for entry in made.blockers],
    }


def _tell_round(made: core.Round) -> None:
    for entry in made.violations:
        click.echo(f"broken: {entry.text}")
    before, after = made.before, made.after
    show_rows(_moves(made.moves), _MOVES, "table")
    _tell_refusals(made.refused)
    click.echo(
        f"imbalance {before.imbalance:.3f} → {after.imbalance:.3f}, "
        f"highest {before.highest:.0%} ({before.highest_host}) → "
        f"{after.highest:.0%} ({after.highest_host}), "
        f"contended {before.contended:.2f} → {after.contended:.2f} cores"
    )


def _tell_refusals(refusals: Iterable[core.Refusal]) -> None:
    for entry in refusals:
        click.echo(f"not: {entry.text} [{', '.join(entry.codes)}]")
