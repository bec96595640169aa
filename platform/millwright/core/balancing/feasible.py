"""Whether hard rules can hold at once: an exact search over where the machines they name may be.

Machines that are kept together are one *unit*; what a unit may choose from is a set of hosts, kept
as the bits of a whole number. Matchings see crowds (five machines apart over four hosts) without
trying; what is left is searched, with hosts that no rule tells apart tried once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .model import Host, Rule, RuleKind

#: Work (tries, each by the pairs of machines that it looks at) after which the question is too hard.
MOST_WORK = 60_000


class TooHardError(Exception):
    """The search was given up; whether the rules can hold is not known."""


def bits(mask: int) -> Iterable[int]:
    """The positions of the ones."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def can_hold(rules: Sequence[Rule], hosts: Sequence[Host], room: Mapping[str, int]) -> bool:
    """Is there a host for each machine so that every rule holds, soft ones taken as hard?

    `room`: the hosts on which each machine that a rule names could be, as bits in the order of
    `hosts`. Raises TooHardError when the search takes too long.
    """
    return _Case(rules, hosts, room).search()


class _Case:
    """The rules in numbers: what is left to each unit, and what must differ or agree."""

    def __init__(
        self, rules: Sequence[Rule], hosts: Sequence[Host], room: Mapping[str, int]
    ) -> None:
        names = [host.domain or f"\0{host.name}" for host in hosts]
        self.domains = [
            sum(1 << at for at, name in enumerate(names) if name == domain)
            for domain in dict.fromkeys(names)
        ]
        index = {host.name: at for at, host in enumerate(hosts)}
        head: dict[str, str] = {}
        for rule in rules:
            for name in rule.vms:
                head.setdefault(name, name)
            if rule.kind is RuleKind.TOGETHER:
                for left, right in zip(rule.vms, rule.vms[1:], strict=False):
                    head[_find(head, left)] = _find(head, right)
        number = {top: at for at, top in enumerate(dict.fromkeys(_find(head, n) for n in head))}
        self.left = [(1 << len(hosts)) - 1] * len(number)
        unit = {name: number[_find(head, name)] for name in head}
        for name, at in unit.items():
            self.left[at] &= room[name]
        self.apart: list[list[int]] = []
        self.near: list[list[int]] = []
        self.spread: list[tuple[list[int], int]] = []
        self.never = False
        for rule in rules:
            members = list(dict.fromkeys(rule.vms))
            units = [unit[name] for name in members]
            distinct = list(dict.fromkeys(units))
            named = sum(1 << index[name] for name in set(rule.hosts) if name in index)
            if rule.kind is RuleKind.ON_HOSTS or rule.kind is RuleKind.OFF_HOSTS:
                for at in distinct:
                    self.left[at] &= named if rule.kind is RuleKind.ON_HOSTS else ~named
            elif rule.kind is RuleKind.APART:
                self.never |= len(distinct) < len(units)
                self.apart.append(distinct)
            elif rule.kind is RuleKind.SPREAD:
                self.spread.append((distinct, rule.minimum or len(units)))
            elif rule.kind is RuleKind.NEAR:
                self.near.append(distinct)
        self._bind()
        self.work = 0

    def _bind(self) -> None:
        groups = (*self.apart, *self.near, *(group for group, _ in self.spread))
        self.bound = sorted({at for group in groups for at in group})

    def search(self) -> bool:
        if self.never or not self._narrow(self.left):
            return False
        self._leave_the_easy()
        return self._search(list(self.left))

    def _leave_the_easy(self) -> None:
        """Leave out units that find a host wherever the others go, until none is left that does."""
        wide = max((domain.bit_count() for domain in self.domains), default=1)
        while True:
            held = {at for group in self.near for at in group}
            held |= {at for group, wanted in self.spread if wanted < len(group) for at in group}
            taken = dict.fromkeys(self.bound, 0)
            for group in self.apart:
                for at in group:
                    taken[at] += len(group) - 1
            for group, _ in self.spread:
                for at in group:
                    taken[at] += (len(group) - 1) * wide
            easy = {at for at in set(self.bound) - held if self.left[at].bit_count() > taken[at]}
            if not easy:
                return
            self.apart = [[at for at in group if at not in easy] for group in self.apart]
            # None of a spread over fewer domains than machines is easy: what it wants stays.
            spread = [([at for at in group if at not in easy], n) for group, n in self.spread]
            self.spread = [(group, min(wanted, len(group))) for group, wanted in spread]
            self._bind()

    def _search(self, left: list[int]) -> bool:
        self.work += 1 + len(self.bound) ** 2 // 16
        if self.work > MOST_WORK:
            raise TooHardError
        if not self._narrow(left):
            return False
        open_ = [at for at in self.bound if left[at] & (left[at] - 1)]
        if not open_:
            return True
        at = min(open_, key=lambda unit: (left[unit].bit_count(), unit))
        tried = set()
        for host in bits(left[at]):
            alike = tuple(
                mask >> host & 1 for mask in (*(left[u] for u in self.bound), *self.domains)
            )
            if alike in tried:
                continue
            tried.add(alike)
            further = list(left)
            further[at] = 1 << host
            if self._search(further):
                return True
        return False

    def _narrow(self, left: list[int]) -> bool:
        """Take away what can no longer be, until nothing changes; False: nothing is left somewhere."""
        while True:
            before = list(left)
            for group in self.apart:
                for at in group:
                    if left[at] and not left[at] & (left[at] - 1):
                        for other in group:
                            if other != at:
                                left[other] &= ~left[at]
            for group in self.near:
                shared = [d for d in self.domains if all(left[at] & d for at in group)]
                within = 0
                for domain in shared:
                    within |= domain
                for at in group:
                    left[at] &= within
            if not all(left):
                return False
            if left == before:
                break
        if any(_matched([left[at] for at in group]) < len(group) for group in self.apart):
            return False
        return all(
            _matched([self._domains_of(left[at]) for at in group]) >= wanted
            for group, wanted in self.spread
        )

    def _domains_of(self, mask: int) -> int:
        return sum(1 << at for at, domain in enumerate(self.domains) if mask & domain)


def _find(head: dict[str, str], name: str) -> str:
    while head[name] != name:
        head[name] = head[head[name]]
        name = head[name]
    return name


def _matched(choices: Sequence[int]) -> int:
    """How many can have one each of their choices (Kuhn's augmenting paths)."""
    owner: dict[int, int] = {}

    def seat(at: int, seen: set[int]) -> bool:
        for place in bits(choices[at]):
            if place in seen:
                continue
            seen.add(place)
            if place not in owner or seat(owner[place], seen):
                owner[place] = at
                return True
        return False

    # Whoever has more choices than there are others always finds one.
    count = len(choices)
    hard = [at for at in range(count) if choices[at].bit_count() < count]
    return count - len(hard) + sum(seat(at, set()) for at in hard)
