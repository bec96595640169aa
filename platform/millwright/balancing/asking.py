"""Questions about the running plant that change nothing: why here, how many more, what if, how full."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from millwright.core.balancing import BalanceState, Code, explain, say
from millwright.environments.models import Machine
from millwright.inventory.waking import wakeable

from .plant import read_plant
from .recommending import balancer


@dataclass(frozen=True, slots=True)
class HostSays:
    """One host's answer: taken at a price (core-seconds, in parts), or the codes that forbid it."""

    host: str
    here: bool
    accepted: bool
    score: float | None
    parts: dict[str, float]
    codes: tuple[str, ...]
    texts: tuple[str, ...]
    #: seconds in which it could be woken, where it sleeps and nothing else is known against it
    wake_s: float | None = None


@dataclass(frozen=True, slots=True)
class WhyHere:
    """Why a machine is where it is: in a sentence, what holds it, and every host's answer."""

    machine: str
    host: str | None
    text: str
    holds: tuple[str, ...]
    hosts: tuple[HostSays, ...]
    #: what its users suffer from a move, in core-seconds, and whether its environment says so (else its template)
    disruption: float = 0.0
    disruption_own: bool = False


def why_here(machine: Machine) -> WhyHere:
    """Ask the balancer about a machine; a fixed number of queries.

    The answers name hosts and this machine only.
    """
    plant, name = read_plant(), str(machine)
    host = machine.host.name if machine.host else None
    if name not in {vm.name for vm in plant.vms}:
        text = _("%(machine)s holds no place on any host now") % {"machine": name}
        return WhyHere(name, host, text, (), ())
    state = balancer().state
    answer = explain(plant, name, BalanceState.of(state) if state else None)
    closed = any(row.codes == (Code.HOST_STATE,) for row in answer.answers)
    asleep = {row.name: row.wake_s for row in wakeable()} if closed else {}
    rows = tuple(
        HostSays(
            row.host,
            row.host == answer.host,
            row.accepted,
            round(row.score, 1) if row.accepted else None,
            {part: round(value, 1) for part, value in row.parts.items() if row.accepted},
            tuple(str(code) for code in row.codes),
            (say("note.can_wake", host=row.host, wake_s=asleep[row.host]),)
            if row.host in asleep and row.codes == (Code.HOST_STATE,)
            else tuple(row.texts),
            asleep.get(row.host) if row.codes == (Code.HOST_STATE,) else None,
        )
        for row in answer.answers
    )
    order = sorted(
        rows, key=lambda row: (not row.here, not row.accepted, row.score or 0.0, row.host)
    )
    suffered = next(vm.disruption for vm in plant.vms if vm.name == name)
    return WhyHere(
        name,
        answer.host,
        answer.text,
        tuple(hold.text for hold in answer.holds),
        tuple(order),
        suffered,
        machine.environment.disruption is not None,
    )
