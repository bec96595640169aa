"""Machines that find room elsewhere and wait there all the same, for what they start after does not start.

Room is one half of a restart (`failure`). The other is told here: what a machine starts after runs on, or starts
with it. What is not protected does not, nor does a recoverable machine's autonomous one, which its own host starts
when it returns, nor what has no host or stands on one that was down before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import combinations

from millwright.core.lifecycle import Recovery as Restarts

from .answers import Broken, Code, Refusal
from .frame import Frame, Ints
from .model import HostState, Plant
from .state import State
from .words import Said, say


class Waits:
    """Asked of one set of lost hosts after another. `coming`: units that are about to be placed count as running."""

    def __init__(self, frame: Frame, at: Ints, coming: Collection[int] = ()) -> None:
        self._frame, self._at, self._coming = frame, at, frozenset(coming)
        #: by unit of which some are protected and others are not: one of those others
        self._mixed: dict[int, int] = {}
        for number, unit in enumerate(frame.units):
            if len(unit) > 1:
                bare = [member for member in unit if not frame.vms[member].protected]
                if bare and len(bare) < len(unit):
                    self._mixed[number] = bare[0]
        self._after = {
            member: [frame.vm_index[name] for name in vm.after if name in frame.vm_index]
            for member, vm in enumerate(frame.vms)
            if vm.after
        }
        #: protected machines that may wait, by host
        self._on: dict[int, list[int]] = {}
        mixed = (member for unit in self._mixed for member in frame.units[unit])
        for member in dict.fromkeys((*self._after, *mixed)):
            if frame.vms[member].protected:
                self._on.setdefault(int(at[frame.unit_of[member]]), []).append(member)

    def of(self, hosts: Iterable[int], left: Collection[int] = ()) -> list[Refusal]:
        """Protected machines of these hosts that would wait, each with what holds it up. `left`: units without room."""
        lost = set(hosts)
        asked = [member for host in sorted(lost) for member in self._on.get(host, ())]
        if not asked:
            return []
        reached = self._reached(asked, lost)
        stuck = {gone: self._stuck(reached, lost, left, gone=gone) for gone in (False, True)}
        found = []
        for member in asked:
            unit = int(self._frame.unit_of[member])
            if unit in left:
                continue
            held = stuck[self._autonomous(unit)].get(member)
            if held is not None:
                found.append(self._refusal(member, unit, *held))
        return found

    def _refusal(self, member: int, unit: int, other: int, why: Said) -> Refusal:
        vms = self._frame.vms
        name, holder = vms[member].name, vms[other].name
        if self._mixed.get(unit) == other:
            text = say("waits.together", machine=name, other=holder, why=why)
            return Refusal(name, (Code.TOGETHER,), text, holder)
        text = say("waits", machine=name, other=holder, why=why)
        return Refusal(name, (Code.DEPENDENCY,), text, holder)

    def _reached(self, asked: Iterable[int], lost: set[int]) -> list[int]:
        """These machines and all that they start after, as far as none of it runs on."""
        seen = dict.fromkeys(asked)
        stack = list(seen)
        while stack:
            for other in self._after.get(stack.pop(), ()):
                if other not in seen and not self._runs(other, lost):
                    seen[other] = None
                    stack.append(other)
        return list(seen)

    def _stuck(
        self, reached: list[int], lost: set[int], left: Collection[int], *, gone: bool
    ) -> dict[int, tuple[int, Said]]:
        """Those that do not start, each with one that holds it up, and why that does not start.

        `gone`: a person has stated that the hosts cannot return with their machines.
        """
        dead = {
            member: why
            for member in reached
            if (why := self._dead(member, lost, left, gone=gone)) is not None
        }
        missing: dict[int, int] = {}
        waiting: dict[int, list[int]] = {}
        for member in reached:
            others = [other for other in self._after.get(member, ()) if not self._runs(other, lost)]
            missing[member] = len(others)
            for other in others:
                waiting.setdefault(other, []).append(member)
        ready = [member for member in reached if not missing[member] and member not in dead]
        started = set()
        while ready:
            started.add(member := ready.pop())
            for other in waiting.get(member, ()):
                missing[other] -= 1
                if not missing[other] and other not in dead:
                    ready.append(other)
        found = {}
        for member in reached:
            unit = int(self._frame.unit_of[member])
            if unit in self._mixed:
                found[member] = self._mixed[unit], say("waits.unprotected")
            elif member not in started:
                held = (o for o in self._after.get(member, ()) if o in missing and o not in started)
                for other in held:
                    found[member] = other, dead.get(other, say("waits.itself"))
                    break
        return found

    def _runs(self, member: int, lost: set[int]) -> bool:
        unit = int(self._frame.unit_of[member])
        host = int(self._at[unit])
        if unit in self._coming:
            return True
        return host >= 0 and host not in lost and not self._frame.hosts[host].state.off

    def _dead(
        self, member: int, lost: set[int], left: Collection[int], *, gone: bool
    ) -> Said | None:
        """Why the machine does not start whatever starts before it; nothing: it may."""
        frame = self._frame
        unit = int(frame.unit_of[member])
        host = int(self._at[unit])
        if host < 0:
            return say("waits.no_host")
        if host not in lost:
            return say("waits.down", host=frame.host_names[host])
        if not frame.vms[member].protected:
            return say("waits.unprotected")
        if unit in self._mixed:
            return say("waits.mixed")
        if unit in left:
            return say("waits.no_room")
        if not gone and self._autonomous(unit):
            return say("waits.autonomous", host=frame.host_names[host])
        return None

    def _autonomous(self, unit: int) -> bool:
        vms = self._frame.vms
        return any(
            vms[member].restarts is Restarts.AUTONOMOUS for member in self._frame.units[unit]
        )


def waits_with(plant: Plant, name: str, k: int) -> Broken | None:
    """Who would wait because of this machine's standing where it does, if its host died with k - 1 others.

    It itself, or what starts after it; the first such set of hosts. What waits without it is not told, nor what
    waits for a machine without a host or on one that is down already: another host for this one does not mend that.

    Raises ValueError for k below 1, KeyError for an unknown machine or one without a host.
    """
    if k < 1:
        raise ValueError(f"k: {k}: must be at least 1")
    frame = Frame(
        replace(plant, hosts=tuple(replace(host, state=HostState.UP) for host in plant.hosts))
    )
    state = State(frame)
    unit = int(frame.unit_of[frame.vm_index[name]])
    here = int(state.at[unit])
    if here < 0:
        raise KeyError(name)
    off = {number for number, host in enumerate(state.at.tolist()) if host < 0}
    here_too, elsewhere = Waits(frame, state.at, off), Waits(frame, state.at, off | {unit})
    used = sorted({int(host) for host in state.at.tolist() if host >= 0} - {here})
    for number in range(min(k - 1, len(used)) + 1):
        for others in combinations(used, number):
            lost = (here, *others)
            before = {row.vm for row in elsewhere.of(lost)}
            found = [row for row in here_too.of(lost) if row.vm == name or row.vm not in before]
            if found:
                return Broken(tuple(frame.host_names[host] for host in lost), tuple(found))
    return None
