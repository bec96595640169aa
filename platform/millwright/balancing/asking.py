"""Questions about the running plant that change nothing: why here, how many more, what if, how full."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from millwright.core.balancing import (
    BalanceState,
    Code,
    HostAnswer,
    HostState,
    explain,
    parts_of,
    say,
)
from millwright.core.lifecycle import HostPower
from millwright.environments.models import Machine
from millwright.inventory.models import Host
from millwright.inventory.waking import Wakeable, wakeable

from . import emptying
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
    closed = any(Code.HOST_STATE in row.codes for row in answer.answers)
    asleep = {row.name: row for row in wakeable()} if closed else {}
    now = _doing() if closed else {}
    rows = tuple(
        HostSays(
            row.host,
            row.host == answer.host,
            row.accepted,
            round(row.score, 1) if row.accepted else None,
            {part: round(value, 1) for part, value in row.parts.items() if row.accepted},
            tuple(str(code) for code in row.codes),
            _texts(row, woken, now.get(row.host)),
            woken.wake_s if woken is not None else None,
        )
        for row in answer.answers
        for woken in (asleep.get(row.host) if row.codes == (Code.HOST_STATE,) else None,)
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


#: What is said of a host that could be woken, by what it does now.
_WOKEN = {HostPower.WAKING: "note.wakes", HostPower.FALLING_ASLEEP: "note.falls_asleep"}
_EMPTIED = "emptied"


def _doing() -> dict[str, str]:
    """By host what it does that is for the balancer only closed, or asleep. Two queries."""
    powers = (HostPower.FALLING_ASLEEP, HostPower.WAKING)
    found = dict(Host.objects.filter(power__in=powers).values_list("name", "power"))
    if (going := emptying.current()) is not None:
        found.setdefault(going.host.name, _EMPTIED)
    return found


def _texts(row: HostAnswer, woken: Wakeable | None, doing: str | None) -> tuple[str, ...]:
    """Why it is not there, in the words that other pages have for what its host does."""
    if woken is not None:
        code = _WOKEN.get(woken.power, "note.can_wake")
        return (say(code, host=row.host, wake_s=woken.wake_s),)
    return tuple(_text(row.host, text, doing) for text in row.texts)


def _text(host: str, text: str, doing: str | None) -> str:
    """`text` stands for a host that does not answer, or that a person drains."""
    states = {part["facts"]["state"] for part in parts_of(text) if part["code"] == "at.host_state"}
    if doing == _EMPTIED and states == {str(HostState.DRAINING)}:
        return say("note.emptied", host=host)
    if doing in _WOKEN and states == {str(HostState.ASLEEP)}:
        return say("at.host_state", host=host, state=doing)
    return text
