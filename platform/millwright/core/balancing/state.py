"""Who is where, kept up to date move by move: what fits, what forbids it, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .answers import Code
from .frame import BIT, CODES, Bools, Floats, Frame, Ints
from .model import RuleKind

_TABLES = (
    "at", "free", "memory", "ordinary", "closed", "present", "in_domain", "near_domain",
    "soft_present", "node_free", "nodes", "card_profile", "card_used", "cards", "coming",
)  # fmt: skip


class State:
    """Changing tables over a frame. Unplaced units have the host -1."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        hosts = len(frame.hosts)
        self.at = np.full(len(frame.units), -1, np.int64)
        self.free = frame.capacity.copy()
        self._load: Floats | None = None
        self._peak: Floats | None = None
        self.memory = np.zeros(hosts)
        self.ordinary = np.zeros(hosts)
        self.closed = frame.closed.copy()
        self.present = np.zeros((len(frame.apart), hosts), np.int32)
        self.in_domain = np.zeros((len(frame.spread), frame.domains), np.int32)
        self.near_domain = np.zeros((len(frame.near), frame.domains), np.int32)
        self.soft_present = np.zeros((len(frame.soft), hosts), np.int32)
        self.node_free = frame.node_capacity.copy()
        self.nodes: dict[int, list[tuple[int, int, Ints]]] = {}  # unit: (member, node, vector)
        cards = frame.instances.shape[1]
        self.card_profile = np.full((hosts, cards), -1, np.int64)
        self.card_used = np.zeros((hosts, cards), np.int64)
        self.cards: dict[int, list[tuple[int, int, int]]] = {}  # unit: (card, profile, count)
        #: units on their way: target, nodes and cards held there
        self.coming: dict[
            int, tuple[int, list[tuple[int, int, Ints]] | None, list[tuple[int, int, int]] | None]
        ] = {}
        self._fill()

    def copy(self) -> State:
        """The same state of the same frame, changed apart from this one."""
        other = object.__new__(State)
        other.frame = self.frame
        for name in _TABLES:
            setattr(other, name, getattr(self, name).copy())
        other._load = None if self._load is None else self._load.copy()
        other._peak = None if self._peak is None else self._peak.copy()
        return other

    @property
    def load(self) -> Floats:
        """Cores that the units of each host are entitled to; counted when it is first asked for, and kept up then."""
        if self._load is None:
            self._load = self._sum(self.frame.demand)
        return self._load

    @property
    def peak(self) -> Floats:
        """Cores that the units of each host wanted in their worst moments, as `load`."""
        if self._peak is None:
            self._peak = self._sum(self.frame.peak)
        return self._peak

    def _sum(self, wants: Floats) -> Floats:
        here = np.flatnonzero(self.at >= 0)
        total = np.bincount(self.at[here], weights=wants[here], minlength=len(self.frame.hosts))
        return total.astype(np.float64)

    def _fill(self) -> None:
        """Everything that has a host, in one go; nodes and cards one by one, known nodes first."""
        frame = self.frame
        placed = np.flatnonzero(frame.home >= 0)
        where = frame.home[placed]
        self.at[placed] = where
        hosts = len(frame.hosts)
        for row in range(len(frame.need)):
            used = np.bincount(where, weights=frame.need[row, placed], minlength=hosts)
            self.free[row] -= used.astype(np.int64)
        self.memory += np.bincount(where, weights=frame.memory[placed], minlength=hosts)
        self.ordinary += np.bincount(where, weights=frame.ordinary[placed], minlength=hosts)
        for table, sets, column in self._tables():
            for number, members in enumerate(sets):
                for unit in members:
                    if frame.home[unit] >= 0:
                        table[number, column[frame.home[unit]]] += 1
        units = sorted(frame.node_need, key=lambda u: (not self._pinned(u), u))
        for unit in units:
            if frame.home[unit] >= 0:
                self._take_nodes(unit, int(frame.home[unit]), known=True)
        for unit in frame.gpu_need:
            if frame.home[unit] >= 0:
                self._take_cards(unit, int(frame.home[unit]))

    def _pinned(self, unit: int) -> bool:
        return any(self.frame.vms[member].node is not None for member in self.frame.units[unit])

    def _tables(
        self,
    ) -> tuple[tuple[NDArray[np.int32], Sequence[Sequence[int]], Ints], ...]:
        frame = self.frame
        own = np.arange(len(frame.hosts))
        return (
            (self.present, frame.apart, own),
            (self.in_domain, frame.spread, frame.domain),
            (self.near_domain, frame.near, frame.domain),
            (self.soft_present, [entry.members for entry in frame.soft], own),
        )

    # -- what fits ---------------------------------------------------------

    def fits(self, unit: int) -> Bools:
        """Hosts that may take the unit now. Its own host is answered as if it came from outside."""
        frame = self.frame
        mask: Bools = frame.allowed[frame.signature[unit]] & ~self.closed
        need = frame.need
        for row in frame.wanted[unit]:
            mask &= self.free[row] >= need[row, unit]
        if unit in frame.node_need and mask.any():
            mask &= self._nodes_fit(unit, mask)
        if unit in frame.gpu_need:
            mask &= self._cards_fit(unit)
        for code_mask in self._group_masks(unit).values():
            mask &= code_mask
        return mask

    def codes(self, unit: int) -> Ints:
        """For each host every reason why not, as bits of `BIT`; 0 where it may go."""
        frame = self.frame
        bits: Ints = frame.static[frame.signature[unit]].copy()
        bits |= np.where(self.closed, BIT[Code.HOST_STATE], 0)
        additive = np.ones(len(bits), np.bool_)
        for row in frame.wanted[unit]:
            lacking = self.free[row] < frame.need[row, unit]
            bits |= np.where(lacking, BIT[frame.resources[row].code], 0)
            additive &= ~lacking
        if unit in frame.node_need:
            bits |= np.where(additive & ~self._nodes_fit(unit, additive), BIT[Code.NUMA], 0)
        if unit in frame.gpu_need:
            bits |= np.where(~self._cards_fit(unit), BIT[Code.GPU], 0)
        for code, mask in self._group_masks(unit).items():
            bits |= np.where(~mask, BIT[code], 0)
        return bits

    def _group_masks(self, unit: int) -> dict[Code, Bools]:
        frame = self.frame
        masks: dict[Code, Bools] = {}
        here = int(self.at[unit])
        for number in frame.apart_of.get(unit, ()):
            others = self.present[number]
            if here >= 0:
                others = others.copy()
                others[here] -= 1
            masks[Code.APART] = masks.get(Code.APART, True) & (others == 0)
        for number in frame.spread_of.get(unit, ()):
            count = self.in_domain[number].copy()
            now = int((count > 0).sum()) if here >= 0 else 0
            if here >= 0:
                count[frame.domain[here]] -= 1
            distinct = int((count > 0).sum()) + (count[frame.domain] == 0)
            wanted = min(frame.spread_minimum[number], int(count.sum()) + 1)
            good = (distinct >= wanted) | (distinct >= now if here >= 0 else False)
            masks[Code.SPREAD] = masks.get(Code.SPREAD, True) & good
        for number in frame.near_of.get(unit, ()):
            count = self.near_domain[number].copy()
            if here >= 0:
                count[frame.domain[here]] -= 1
            if count.any():
                masks[Code.NEAR] = masks.get(Code.NEAR, True) & (count[frame.domain] > 0)
        if unit in frame.tied:
            spots = {int(self.at[other]) for other in frame.tied[unit] if self.at[other] >= 0}
            if spots:
                mask = np.zeros(len(frame.hosts), np.bool_)
                mask[sorted(spots)] = True
                masks[Code.TOGETHER] = mask
        return masks

    def _nodes_fit(self, unit: int, candidates: Bools) -> Bools:
        wants = self.frame.node_need[unit]
        single = [entry for entry in wants if entry[2]]
        if not single:
            return candidates
        _, vector, _ = single[0]
        enough: Bools = np.all(self.node_free >= vector, axis=2)
        mask: Bools = candidates & np.any(enough, axis=1)
        if len(wants) > 1:
            for host in np.flatnonzero(mask):
                mask[host] = self._choose_nodes(unit, int(host), known=False) is not None
        return mask

    def _choose_nodes(
        self, unit: int, host: int, *, known: bool
    ) -> list[tuple[int, int, Ints]] | None:
        """Node for each member: the fullest that suffices; cores spread where one node is not asked."""
        room = self.node_free[host].copy()
        chosen: list[tuple[int, int, Ints]] = []
        for member, vector, one in sorted(
            self.frame.node_need[unit], key=lambda entry: (not entry[2], -int(entry[1].sum()))
        ):
            pinned = self.frame.vms[member].node if known else None
            if pinned is not None and pinned < len(room):
                node = pinned
            elif one:
                fitting = np.flatnonzero((room >= vector).all(axis=1))
                if len(fitting):
                    node = int(min(fitting, key=lambda n: (room[n].sum(), n)))
                elif known:
                    node = int(np.argmax(room[:, 0]))
                else:
                    return None
            else:
                left = vector.copy()
                for node in np.argsort(-room[:, 0], kind="stable"):
                    part = np.minimum(left, np.maximum(room[node], 0))
                    if part.any():
                        room[node] -= part
                        chosen.append((member, int(node), part))
                        left = left - part
                if left.any() and not known:
                    return None
                continue
            room[node] -= vector
            chosen.append((member, node, vector))
        return chosen

    def node_for(self, unit: int, member: int, host: int) -> int | None:
        """The NUMA node that a member would get on the host; nothing where it does not matter."""
        if unit not in self.frame.node_need:
            return None
        chosen = self._choose_nodes(unit, host, known=False) or []
        return next((node for who, node, _ in chosen if who == member), None)

    def _cards_fit(self, unit: int) -> Bools:
        """Exact for one profile; several kinds are tried card by card."""
        frame = self.frame
        need = frame.gpu_need[unit]
        mask = np.ones(len(frame.hosts), np.bool_)
        for name, count in need.items():
            column = frame.profiles.index(name)
            mask &= self._instances(column).sum(axis=1) >= count
        if len(need) > 1:
            for host in np.flatnonzero(mask):
                mask[host] = self._choose_cards(unit, int(host)) is not None
        return mask

    def _instances(self, column: int) -> Ints:
        held = self.frame.instances[:, :, column]
        same = np.where(self.card_profile == column, held - self.card_used, 0)
        return np.where(self.card_profile == -1, held, np.maximum(same, 0))

    def _choose_cards(self, unit: int, host: int) -> list[tuple[int, int, int]] | None:
        """Cards that run the profile already come first, so that empty cards stay whole."""
        frame = self.frame
        profile, used = self.card_profile[host].copy(), self.card_used[host].copy()
        chosen: list[tuple[int, int, int]] = []
        for name, count in sorted(frame.gpu_need[unit].items()):
            column = frame.profiles.index(name)
            left = count
            for card in sorted(range(len(profile)), key=lambda c: (profile[c] != column, c)):
                if left and profile[card] in (-1, column):
                    part = min(left, int(frame.instances[host, card, column] - used[card]))
                    if part > 0:
                        profile[card] = column
                        used[card] += part
                        chosen.append((card, column, part))
                        left -= part
            if left:
                return None
        return chosen

    # -- changes -----------------------------------------------------------

    def take(self, unit: int, host: int) -> None:
        """Put an unplaced unit on a host, whether it fits or not."""
        self._count(unit, host, 1)
        self.at[unit] = host
        if unit in self.frame.node_need:
            self._take_nodes(unit, host, known=False)
        if unit in self.frame.gpu_need:
            self._take_cards(unit, host)

    def drop(self, unit: int) -> int:
        """Take a unit away from its host, which is returned."""
        host = int(self.at[unit])
        self._count(unit, host, -1)
        self.at[unit] = -1
        for _, node, vector in self.nodes.pop(unit, ()):
            self.node_free[host, node] += vector
        for card, _, count in self.cards.pop(unit, ()):
            self.card_used[host, card] -= count
            if self.card_used[host, card] == 0:
                self.card_profile[host, card] = -1
        return host

    def move(self, unit: int, host: int) -> None:
        if self.at[unit] >= 0:
            self.drop(unit)
        self.take(unit, host)

    def reserve(self, unit: int, host: int) -> None:
        """Hold room on the host for a unit that is on its way; it still runs where it was."""
        self._hold(unit, host, 1)
        nodes = cards = None
        if unit in self.frame.node_need:
            nodes = self._choose_nodes(unit, host, known=False) or []
            for _, node, vector in nodes:
                self.node_free[host, node] -= vector
        if unit in self.frame.gpu_need:
            cards = self._choose_cards(unit, host) or []
            for card, column, count in cards:
                self.card_profile[host, card] = column
                self.card_used[host, card] += count
        self.coming[unit] = (host, nodes, cards)

    def arrive(self, unit: int) -> None:
        """The reserved unit runs on its new host now, in the nodes and cards held for it."""
        host, nodes, cards = self.coming.pop(unit)
        self._hold(unit, host, -1)
        self.drop(unit)
        self._count(unit, host, 1)
        self.at[unit] = host
        if nodes is not None:
            self.nodes[unit] = nodes
        if cards is not None:
            self.cards[unit] = cards

    def _hold(self, unit: int, host: int, sign: int) -> None:
        frame = self.frame
        for row in frame.wanted[unit]:
            self.free[row, host] -= sign * frame.need[row, unit]
        for number in frame.apart_of.get(unit, ()):
            self.present[number, host] += sign

    def _count(self, unit: int, host: int, sign: int) -> None:
        frame = self.frame
        self._hold(unit, host, sign)
        if self._load is not None:
            self._load[host] += sign * frame.demand[unit]
        if self._peak is not None:
            self._peak[host] += sign * frame.peak[unit]
        self.memory[host] += sign * frame.memory[unit]
        self.ordinary[host] += sign * frame.ordinary[unit]
        for number in frame.spread_of.get(unit, ()):
            self.in_domain[number, frame.domain[host]] += sign
        for number in frame.near_of.get(unit, ()):
            self.near_domain[number, frame.domain[host]] += sign
        for number in frame.soft_of.get(unit, ()):
            self.soft_present[number, host] += sign

    def _take_nodes(self, unit: int, host: int, *, known: bool) -> None:
        chosen = self._choose_nodes(unit, host, known=known)
        if chosen is None:
            chosen = self._choose_nodes(unit, host, known=True) or []
        for _, node, vector in chosen:
            self.node_free[host, node] -= vector
        self.nodes[unit] = chosen

    def _take_cards(self, unit: int, host: int) -> None:
        chosen = self._choose_cards(unit, host) or []
        for card, column, count in chosen:
            self.card_profile[host, card] = column
            self.card_used[host, card] += count
        self.cards[unit] = chosen

    # -- what it costs -----------------------------------------------------

    def soft_price(self, unit: int) -> Floats:
        """Cores that soft rules ask for the unit's being on each host; negative attracts."""
        frame = self.frame
        price = np.zeros(len(frame.hosts))
        for where, weight in frame.drawn.get(unit, ()):
            price[where] += weight
        here = int(self.at[unit])
        for number in frame.soft_of.get(unit, ()):
            entry = frame.soft[number]
            others = self.soft_present[number].astype(np.float64)
            if here >= 0:
                others[here] -= 1
            if entry.by_domain:
                others = np.bincount(frame.domain, weights=others, minlength=frame.domains)[
                    frame.domain
                ]
            attracts = entry.kind in (RuleKind.TOGETHER, RuleKind.NEAR)
            price += (-1 if attracts else 1) * entry.weight * others / (len(entry.members) - 1)
        return price


def codes_of(bits: int) -> tuple[Code, ...]:
    """The codes that a row of bits stands for."""
    return tuple(code for code in CODES if bits & BIT[code])
