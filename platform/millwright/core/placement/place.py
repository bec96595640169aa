"""Initial placement: filter, score, choose; every host gets a verdict when somebody asks for it.

A request waits for it, and a pool may have a thousand hosts: each is filtered and scored by counts, and which
CPUs it would give, and all its reasons, are worked out for those verdicts that are read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import overload

from millwright.core import pinning
from millwright.core.lifecycle import HostPower, ServiceClass

from .filters import FILTERS, filters_for, keeps_the_pool_s_limit, node_pages
from .model import HostSnapshot, MachineWant, Snapshot, Wake
from .reasons import IN_BRIEF, Reason, ReasonCode

#: Weight of each part of the score. One part of the class that is not honoured (a quarter) outweighs everything
#: else but what is not known; what hosts do outweighs what they have promised.
WEIGHTS: Mapping[str, float] = {
    "honoured": 600.0,
    "known": 50.0,
    "used": 30.0,
    "memory": 10.0,
    "cpu": 10.0,
    "spare_realtime": 5.0,
}
#: Of the parts that not every host has: what unmeasured machines are thought to want counts as what was measured,
#: and so does what a soft rule is worth, both as a part of the host's shared CPUs.
MORE_WEIGHTS: Mapping[str, float] = {"assumed": 30.0, "soft_rules": 30.0}
#: A host that wants so many times its shared CPUs is as bad as one that wants more.
MOST_USED = 2.0
#: Verdicts that are kept and shown one by one; of the others it is told how many there are, and why not.
MOST_TOLD = 50
#: Refusals that one line tells host by host.
MOST_IN_LINE = 12


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """Why this host, or why not."""

    host: str
    reasons: tuple[Reason, ...] = ()
    score: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    #: what of the class the host would not honour, in words
    unmet: tuple[str, ...] = ()
    #: whose CPUs it would get
    judged: tuple[HostSnapshot, MachineWant] | None = field(default=None, repr=False, compare=False)
    #: PCI addresses of the cards that it would get there, with what goes with them
    cards: tuple[str, ...] = ()
    #: PCI addresses of the cards of its vGPU instances there, one for each
    vgpus: tuple[str, ...] = ()
    #: it is not awake, and nothing else stands in the way: how it is woken
    wake: Wake | None = None
    #: it is being emptied to sleep, and nothing else stands in the way: that is called off
    emptied: bool = False
    #: what it does now, of which pages say one word: one that wakes is not asleep
    power: HostPower = HostPower.AWAKE

    @property
    def accepted(self) -> bool:
        return not self.reasons

    @property
    def assignment(self) -> pinning.CpuAssignment | None:
        """The CPUs that it would get there; worked out when asked for."""
        return None if self.judged is None else _assigned(*self.judged)

    def as_dict(self) -> dict[str, object]:
        """For the database and the pages."""
        return {
            "host": self.host,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "score": None if self.score is None else round(self.score, 2),
            "parts": {name: round(value, 3) for name, value in self.parts.items()},
            "notes": list(self.unmet),
            "wake_s": self.wake.seconds if self.wake else None,
            "emptied": self.emptied,
            "power": str(self.power),
        }


@dataclass(frozen=True, slots=True)
class Placement:
    """The plan for one machine: a host or none, and the verdict on every host."""

    want: MachineWant
    chosen: HostVerdict | None
    #: those that take it by score, then the others by name
    verdicts: Sequence[HostVerdict]
    #: the pool as it was read for this plan
    pool: Snapshot | None = field(default=None, repr=False, compare=False)
    #: the hosts that were asked
    asked: Snapshot = field(default=Snapshot(()), repr=False, compare=False)

    def as_dict(self, most: int | None = None) -> dict[str, object]:
        """For the database and the pages; `most`: only the first so many verdicts. Counts name all hosts."""
        shown = self.verdicts if most is None else self.verdicts[:most]
        return {
            "chosen": self.chosen.host if self.chosen else None,
            # The chosen host sleeps: it is woken, which is expected to take so long.
            "wake_s": self.chosen.wake.seconds if self.chosen and self.chosen.wake else None,
            "power": str(self.chosen.power if self.chosen else HostPower.AWAKE),
            # It is being emptied to sleep, which is called off.
            "emptied": self.chosen is not None and self.chosen.emptied,
            "notes": list(self.chosen.unmet) if self.chosen else [],
            "hosts": [verdict.as_dict() for verdict in shown],
            "asked": len(self.verdicts),
            "counts": self._counts(),
        }

    def explain(
        self,
        word: Callable[[str], str] = str,
        brief: Mapping[ReasonCode, object] = IN_BRIEF,
    ) -> str:
        """Every refusal in one text, host by host; of many hosts how many for each first reason, and the first of them.

        `word` and `brief`: have reasons, and what is said of many, in the reader's language.
        """
        codes = tuple(code for _host, code in _firsts(self.verdicts))
        refused = [place for place, code in enumerate(codes) if code is not None]
        if len(refused) <= MOST_IN_LINE:
            return "; ".join(
                f"{verdict.host}: {', '.join(word(reason.message) for reason in verdict.reasons)}"
                for verdict in map(self.verdicts.__getitem__, refused)
            )
        told = []
        for code, count in Counter(codes).most_common():
            if code is not None:
                first = self.verdicts[codes.index(code)]
                why = word(first.reasons[0].message)
                told.append(f"{count} × {brief[code]} ({first.host}: {why})")
        if ReasonCode.NO_POOL_MEMORY not in codes and self.asked.hosts:
            # It is every host's, and stands behind others on each.
            limit = keeps_the_pool_s_limit(self.asked.hosts[0], self.want)
            told += [word(limit.message)] if limit is not None else []
        return "; ".join(told)

    def _counts(self) -> list[dict[str, object]]:
        """Hosts by the first reason against them, the most first; before all those that take it, without a code."""
        by_code: dict[ReasonCode | None, list[str]] = defaultdict(list)
        for host, code in _firsts(self.verdicts):
            by_code[code].append(host)
        return [
            {
                "code": code and str(code),
                "text": code and IN_BRIEF[code],
                "count": len(hosts),
                "hosts": hosts,
            }
            for code, hosts in sorted(
                by_code.items(), key=lambda row: (row[0] is not None, -len(row[1]), row[0] or "")
            )
        ]


#: A host that takes it: score (negative, so that the best sorts first), name, the host, parts of the score.
_Taken = tuple[float, str, HostSnapshot, dict[str, float]]
#: A host's name and the first reason against it, or None.
_First = tuple[str, ReasonCode | None]
#: One that does not: name, the first reason against it, the host.
_Refused = tuple[str, ReasonCode, HostSnapshot]


class Verdicts(Sequence[HostVerdict]):
    """Every host's verdict in the order of a plan, each made when it is first read."""

    def __init__(
        self,
        want: MachineWant,
        taken: list[_Taken],
        refused: list[_Refused],
        lead: tuple[HostVerdict, ...] = (),
    ) -> None:
        self._want, self._taken, self._refused, self._lead = want, taken, refused, lead
        self._made: dict[int, HostVerdict] = {}

    def __len__(self) -> int:
        return len(self._lead) + len(self._taken) + len(self._refused)

    def led_by(self, verdict: HostVerdict) -> Verdicts:
        """With this one first, in place of that host's own."""
        taken = [row for row in self._taken if row[1] != verdict.host]
        refused = [row for row in self._refused if row[0] != verdict.host]
        return Verdicts(self._want, taken, refused, (verdict,))

    def firsts(self) -> Iterator[_First]:
        """Of each verdict its host and the first reason against it, or None; no verdict is made for it."""
        yield from map(_first, self._lead)
        yield from ((name, None) for _score, name, _host, _parts in self._taken)
        yield from ((name, code) for name, code, _host in self._refused)

    @overload
    def __getitem__(self, index: int) -> HostVerdict: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[HostVerdict, ...]: ...
    def __getitem__(self, index: int | slice) -> HostVerdict | tuple[HostVerdict, ...]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return tuple(self._at(place) for place in places)
        return self._at(places)

    def __iter__(self) -> Iterator[HostVerdict]:
        return (self._at(place) for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of other collections that compare by what they hold

    def _at(self, place: int) -> HostVerdict:
        if place < (leading := len(self._lead)):
            return self._lead[place]
        place -= leading
        made = self._made.get(place)
        if made is None:
            best = len(self._taken)
            made = (
                _accepted(self._want, *self._taken[place])
                if place < best
                else _refused(self._refused[place - best][2], self._want)
            )
            self._made[place] = made
        return made


def _firsts(verdicts: Sequence[HostVerdict]) -> Iterator[_First]:
    """As `Verdicts.firsts`, of any verdicts."""
    return verdicts.firsts() if isinstance(verdicts, Verdicts) else map(_first, verdicts)


def _first(verdict: HostVerdict) -> _First:
    return verdict.host, verdict.reasons[0].code if verdict.reasons else None


def place(snapshot: Snapshot, want: MachineWant) -> Placement:
    """Choose the best host. Ties go to the first name, so that the same snapshot gives the same plan."""
    checks = filters_for(want)
    asks = _asks_for_equipment(want)
    soft = bool(want.soft_hosts or want.soft_domains)
    # Parts come in the order of their weights.
    weights = tuple(WEIGHTS.values())
    taken: list[_Taken] = []
    refused: list[_Refused] = []
    for host in snapshot.hosts:
        for check in checks:
            if (against := check(host, want)) is not None:
                refused.append((host.name, against.code, host))
                break
        else:
            parts = _score(host, want, len(_unknown(host, want)) if asks else 0)
            total = sum(map(mul, weights, parts.values()))
            if host.assumed_ratio:
                parts["assumed"] = _assumed(host)
                total += MORE_WEIGHTS["assumed"] * parts["assumed"]
            if soft:
                parts["soft_rules"] = _soft(host, want)
                total += MORE_WEIGHTS["soft_rules"] * parts["soft_rules"]
            taken.append((-total, host.name, host, parts))
    taken.sort(key=lambda row: row[:2])
    refused.sort(key=lambda row: row[0])
    verdicts = Verdicts(want, taken, refused)
    return Placement(want, verdicts[0] if taken else None, verdicts, snapshot, snapshot)


def _refused(host: HostSnapshot, want: MachineWant) -> HostVerdict:
    """With every reason, not only the first."""
    checked = (check(host, want) for check in FILTERS)
    reasons = tuple(reason for reason in checked if reason is not None)
    ends = {ReasonCode.HOST_ASLEEP, *((ReasonCode.HOST_DRAINING,) if host.emptied else ())}
    if not host.on_call or any(reason.code not in ends for reason in reasons):
        return HostVerdict(host.name, reasons, power=host.power)
    return HostVerdict(host.name, reasons, wake=host.wake, emptied=host.emptied, power=host.power)


def _accepted(
    want: MachineWant, negative: float, name: str, host: HostSnapshot, parts: Mapping[str, float]
) -> HostVerdict:
    unmet = _unmet(host, want) if want.service_class is ServiceClass.REALTIME else ()
    cards = tuple(
        address
        for card in want.fitting(host.cards_free or ())[: 0 if want.gpu_profile else want.gpus]
        for address in (card.address, *card.companions)
    )
    vgpus = want.instances(host.vgpus_free or {}) if want.gpu_profile else ()
    words = unmet + _unknown(host, want)
    return HostVerdict(name, (), -negative, parts, words, (host, want), cards, vgpus)


def _assigned(host: HostSnapshot, want: MachineWant) -> pinning.CpuAssignment:
    realtime = want.service_class is ServiceClass.REALTIME
    wants = [
        pinning.VcpuWant(index, control=realtime and index in want.control_vcpus)
        for index in range(want.vcpus)
    ]
    assignment = pinning.allocate(
        host.topology,
        wants,
        host.claimed_cpus,
        best_effort=host.best_effort and not want.strict,
        pages=node_pages(host, want),
    )
    if assignment is None:
        raise AssertionError("a filter let a host pass that the allocator refuses")
    return assignment


def _asks_for_equipment(want: MachineWant) -> bool:
    """Whether a host may not have told whether it has what is wanted."""
    return bool(want.hugepage_bytes or want.cpu_features or want.storage_pool)


def _unknown(host: HostSnapshot, want: MachineWant) -> tuple[str, ...]:
    """What it needs and the host has not told whether it has."""
    asked = (
        (bool(want.hugepage_bytes), host.hugepages_free is None, "hugepages"),
        (bool(want.cpu_features), host.cpu_features is None, "CPU features"),
        (bool(want.storage_pool), host.storage_free is None, "storage pool"),
    )
    return tuple(
        f"not known whether the host has it: {name}"
        for wanted, told, name in asked
        if wanted and told
    )


def _coreless(host: HostSnapshot, want: MachineWant) -> int:
    """Control vCPUs for which a host that takes it has no core of its own."""
    if want.strict or not host.best_effort or not want.control_vcpus:
        # There a filter has asked for all of them.
        return 0
    free = pinning.count_free_cores(host.topology, host.claimed_cpus)
    return max(0, len(want.control_vcpus) - free)


def _apart(host: HostSnapshot, want: MachineWant) -> bool:
    """Whether a host that takes it has its cores and its pages only in different NUMA nodes."""
    pages = node_pages(host, want)
    if pages is None or want.strict or not host.best_effort:
        return False
    count = len(want.control_vcpus)
    return pinning.cores_with_pages(host.topology, host.claimed_cpus, count, pages) is None


def _unmet(host: HostSnapshot, want: MachineWant) -> tuple[str, ...]:
    able, words = host.capabilities, []
    if host.accel != "kvm":
        words.append("emulated: timing is not promised")
    if without := _coreless(host, want):
        words.append(f"no core of its own for {without} control vCPU")
    elif _apart(host, want):
        words.append("its memory may lie in another NUMA node than its cores")
    if not able.get("fifo"):
        words.append("no FIFO priority")
    if not able.get("memory_lock"):
        words.append("memory is not locked")
    return tuple(words)


def _assumed(host: HostSnapshot) -> float:
    """Of a host with machines that nobody has measured lately: what they are thought to want, as a price."""
    return -min(host.assumed_ratio, max(0.0, MOST_USED - (host.used_ratio or 0.0)))


def _soft(host: HostSnapshot, want: MachineWant) -> float:
    """What soft rules make of it: above 0 it is where they want it, below where they do not."""
    cpus = want.soft_hosts.get(host.name, 0.0)
    if domain := str(host.labels.get("domain", "")):
        cpus += want.soft_domains.get(domain, 0.0)
    return max(-1.0, min(1.0, -cpus / max(1, len(host.topology.shared))))


def _score(host: HostSnapshot, want: MachineWant, unknown: int) -> dict[str, float]:
    """Parts of about 0 to 1, larger is better. `unknown`: what it needs and the host has not told."""
    memory = host.memory_bytes
    promised = (host.shared_vcpus + want.vcpus) / max(1, host.most_vcpus)
    cores = len(host.topology.realtime)
    needs_core = want.service_class is ServiceClass.REALTIME and bool(want.control_vcpus)
    # Nothing measured and nothing assumed: nobody is there who could do anything.
    used = host.used_ratio or 0.0
    return {
        "honoured": 1.0 - min(1.0, 0.25 * len(_unmet(host, want))) if needs_core else 1.0,
        # Where it is known that all is there comes before where it is not.
        "known": -0.25 * unknown,
        "used": 1.0 - (used if used < MOST_USED else MOST_USED),
        "memory": (host.memory_free_bytes - want.ordinary_bytes) / memory if memory else 0.0,
        "cpu": 1.0 - min(1.0, promised),
        # Machines that need no core leave hosts with many free ones to those that do.
        "spare_realtime": 0.0
        if needs_core or not cores
        else -1.0 * (cores - len(host.claimed_cpus)) / cores,
    }
