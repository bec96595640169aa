"""Rules that cannot hold, found from the rules alone and before anything is planned.

`conflicts` looks at a whole plant, `conflicts_of` at one rule while it is written: at each of four
levels from "never in this pool" to "wished in vain". Whether there is room is the planner's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from millwright.core.lifecycle import Movability

from .conflict_words import sentence
from .feasible import TooHardError, bits, can_hold
from .model import Host, HostState, Plant, Rule, RuleKind, Vm
from .words import Translator, english


class Level(StrEnum):
    """How bad it is."""

    #: not in this pool, even with every host up
    NEVER = "never"
    #: not with the hosts that take machines now
    NOW = "now"
    #: not as long as machines stay that never move by themselves
    STAYS = "stays"
    #: a soft rule that hard ones never let hold
    VAIN = "vain"
    #: too many possibilities to say
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rules that cannot hold at once, the machines that they cannot hold for, and why.

    No rule could be left out: without any one of them the others can hold. `hosts`: where these
    machines could be, as far as rules about hosts allow.
    """

    rules: tuple[str, ...]
    message: str
    level: Level = Level.NEVER
    vms: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def groups(plant: Plant) -> list[tuple[str, ...]]:
    """Machines that hard rules keep on one host, closed over chains of rules; sorted."""
    head = {vm.name: vm.name for vm in plant.vms}

    def find(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for rule in plant.rules:
        if rule.hard and rule.kind is RuleKind.TOGETHER:
            for left, right in zip(rule.vms, rule.vms[1:], strict=False):
                head[find(left)] = find(right)
    members: dict[str, list[str]] = {}
    for vm in plant.vms:
        members.setdefault(find(vm.name), []).append(vm.name)
    return sorted(tuple(sorted(names)) for names in members.values())


def conflicts(plant: Plant) -> list[Conflict]:
    """Hard rules that can never hold at once, each conflict as few rules as make it.

    Of overlapping conflicts one is told: when it is mended, the next is seen. Hosts that are down
    count, since they come back.
    """
    finder = _Finder(plant)
    found: list[Conflict] = []
    for rules in _connected([rule for rule in plant.rules if rule.hard]):
        left = list(rules)
        while left and not finder.holds(left, Level.NEVER):
            few = finder.fewest(left, Level.NEVER)
            found.append(finder.conflict(few, Level.NEVER))
            left.remove(few[-1])
    return found


def conflicts_of(plant: Plant, name: str, translate: Translator = english) -> list[Conflict]:
    """Everything that stands against the rule of this name, the worst first.

    Told once, at the worst level: what can never be is not said again as "not now". `translate`
    turns the words of `conflict_words` into the reader's. Raises KeyError for an unknown name.
    """
    mine = {rule.name: rule for rule in plant.rules}[name]
    around = next(part for part in _connected(plant.rules) if any(mine is row for row in part))
    finder = _Finder(plant, translate)
    hard = [rule for rule in around if rule.hard and rule is not mine]
    found: list[Conflict] = []
    if mine.hard:
        for level in (Level.NEVER, Level.NOW, Level.STAYS):
            found = finder.against(mine, hard, level)
            if found:
                break
        if not any(conflict.level is Level.NEVER for conflict in found):
            for soft in (rule for rule in around if not rule.hard):
                found.extend(finder.against(mine, hard, Level.VAIN, beside=soft))
    else:
        found = finder.against(mine, hard, Level.VAIN)
    if finder.gave_up:
        text = sentence(Level.UNKNOWN, [mine], (), (), (), translate)
        found.append(Conflict((name,), text, Level.UNKNOWN))
    return found


def _connected(rules: Iterable[Rule]) -> list[list[Rule]]:
    """Rules in parts that share no machine, in their order."""
    rows = list(rules)
    head = list(range(len(rows)))

    def find(at: int) -> int:
        while head[at] != at:
            head[at] = head[head[at]]
            at = head[at]
        return at

    first: dict[str, int] = {}
    for at, rule in enumerate(rows):
        for name in rule.vms:
            head[find(at)] = find(first.setdefault(name, at))
    parts: dict[int, list[Rule]] = {}
    for at, rule in enumerate(rows):
        parts.setdefault(find(at), []).append(rule)
    return list(parts.values())


class _Finder:
    """Asks whether rules can hold at a level, and which few of them cannot."""

    def __init__(self, plant: Plant, translate: Translator = english) -> None:
        self.translate = translate
        self.hosts: Sequence[Host] = plant.hosts
        self.vms: Mapping[str, Vm] = {vm.name: vm for vm in plant.vms}
        self.index = {host.name: at for at, host in enumerate(plant.hosts)}
        self.gave_up = False
        self._room: dict[tuple[str, Level], int] = {}

    def room(self, name: str, level: Level) -> int:
        """The hosts on which the machine could be, before any rule, as bits."""
        known = self._room.get((name, level))
        if known is not None:
            return known
        vm = self.vms[name]
        here = 1 << self.index[vm.host] if vm.host is not None else 0
        mask = 0
        for at, host in enumerate(self.hosts):
            usable = level in (Level.NEVER, Level.VAIN) or host.state is HostState.UP
            if usable and not vm.requires - host.labels:
                mask |= 1 << at
        if level in (Level.NOW, Level.STAYS) and here:
            state = self.hosts[self.index[str(vm.host)]].state
            if not state.off:
                mask |= here
            if level is Level.STAYS and vm.moves is Movability.NEVER:
                mask = here
        # That no host suits the machine at all is no rule's doing.
        mask = mask or (1 << len(self.hosts)) - 1
        self._room[(name, level)] = mask
        return mask

    def holds(self, rules: Sequence[Rule], level: Level) -> bool:
        room = {name: self.room(name, level) for rule in rules for name in rule.vms}
        try:
            return can_hold(rules, self.hosts, room)
        except TooHardError:
            self.gave_up = True
            return True

    def against(
        self, mine: Rule, others: Sequence[Rule], level: Level, beside: Rule | None = None
    ) -> list[Conflict]:
        """Conflicts in which `mine` has a part (and `beside`, a soft rule that it may defeat)."""
        own = [mine] if beside is None else [mine, beside]
        left, found = list(others), []
        if beside is not None and not self.holds([mine], level):
            return []
        while not self.holds([*own, *left], level):
            # What the others cannot do even without it is not its doing.
            without = [*own[1:], *left]
            theirs = not self.holds(without, level)
            few = self.fewest(without if theirs else [*own, *left], level)
            if not theirs:
                found.append(self.conflict(few, level))
            spare = [rule for rule in few if rule not in own]
            if not spare:
                break
            left.remove(spare[0])
        return found

    def fewest(self, rules: Sequence[Rule], level: Level) -> list[Rule]:
        """Rules of which none can be left out, out of rules that cannot hold."""
        kept = list(rules)
        for rule in rules:
            trial = [other for other in kept if other is not rule]
            if not self.holds(trial, level):
                kept = trial
        return kept

    def conflict(self, rules: Sequence[Rule], level: Level) -> Conflict:
        """The conflict with the machines that matter."""
        names = list(dict.fromkeys(name for rule in rules for name in rule.vms))
        if len(rules) > 1:
            for name in list(names):
                trial = [other for other in names if other != name]
                if not self.holds(_only(rules, trial), level):
                    names = trial
        shown = [rule for rule in _only(rules, names) if rule.vms]
        mask = 0
        for name in names:
            left = self.room(name, level)
            for rule in shown:
                if name in rule.vms and rule.kind in (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS):
                    bit = sum(1 << self.index[h] for h in set(rule.hosts) if h in self.index)
                    left &= bit if rule.kind is RuleKind.ON_HOSTS else ~bit
            mask |= left
        could = tuple(self.hosts[at] for at in bits(mask))
        machines = tuple(self.vms[name] for name in names)
        return Conflict(
            tuple(rule.name for rule in rules),
            sentence(level, shown, machines, could, self.hosts, self.translate),
            level,
            tuple(names),
            tuple(host.name for host in could),
        )


def _only(rules: Sequence[Rule], names: Sequence[str]) -> list[Rule]:
    """The rules for these machines; one that counts its machines keeps them all."""
    kept = set(names)
    made = []
    for rule in rules:
        if rule.kind is RuleKind.SPREAD and rule.minimum is not None:
            made.append(rule)
        else:
            made.append(replace(rule, vms=tuple(name for name in rule.vms if name in kept)))
    return made
