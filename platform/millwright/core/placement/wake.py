"""What has room only on hosts that sleep, or are emptied to sleep: which of them is woken or stays awake for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from millwright.core.lifecycle import HostAdministration, HostPower

from .model import HostSnapshot, Snapshot, Wake
from .place import HostVerdict, Placement, Verdicts, place


def woken(plan: Placement) -> Iterator[Placement]:
    """The plan with each host that may be woken for its machine and would take it, the one to wake first.

    One that is being woken already, or that another machine waits for, comes before all others: as few as possible
    are woken. So next comes one that is being emptied to sleep, which goes on instead. Then the one that keeps most of
    the machine's class, takes the fewest watts, wakes soonest, has the best score. `pool` is as it will be once that
    host is awake and open; the chosen verdict says how it is woken, and whether emptying it is called off.
    """
    sleeping = {host.name: host for host in plan.asked.hosts if host.on_call}
    if not sleeping:
        return
    awake = Snapshot(tuple(_awake(host) for host in sleeping.values()))
    found = [verdict for verdict in place(awake, plan.want).verdicts if verdict.accepted]
    for verdict in sorted(found, key=lambda row: _order(row, sleeping[row.host])):
        seen = sleeping[verdict.host]
        chosen = replace(verdict, wake=seen.wake, emptied=seen.emptied, power=seen.power)
        whole = plan.pool or plan.asked
        yield replace(
            plan,
            chosen=chosen,
            verdicts=_led(plan.verdicts, chosen),
            pool=replace(
                whole,
                hosts=tuple(
                    _awake(host) if host.name == verdict.host else host for host in whole.hosts
                ),
            ),
        )


def or_woken(plan: Placement) -> Placement:
    """The plan, or where no host that is awake and open takes the machine the one with the host to wake."""
    return plan if plan.chosen is not None else next(woken(plan), plan)


def _led(verdicts: Sequence[HostVerdict], first: HostVerdict) -> Sequence[HostVerdict]:
    if isinstance(verdicts, Verdicts):
        return verdicts.led_by(first)
    return (first, *(row for row in verdicts if row.host != first.host))


def _awake(host: HostSnapshot) -> HostSnapshot:
    as_told = HostAdministration.SCHEDULABLE if host.emptied else host.administration
    return replace(host, power=HostPower.AWAKE, wake=None, administration=as_told, emptied=False)


def _order(verdict: HostVerdict, host: HostSnapshot) -> tuple[object, ...]:
    # One that is awake costs nothing to have awake.
    wake, parts = host.wake or Wake(0.0), verdict.parts
    return (
        not wake.begun,
        not host.emptied,
        -parts.get("honoured", 0.0),
        -parts.get("known", 0.0),
        wake.watts,
        wake.seconds,
        -(verdict.score or 0.0),
        verdict.host,
    )
