"""Links between failure domains: how many moves go over each now, and whether one more may begin (`link_moves`)."""

from __future__ import annotations

from collections import Counter

from millwright.core.balancing import Plant
from millwright.core.lifecycle import OperationKind
from millwright.environments.models import Operation

#: What is between two failure domains, whichever way a move goes.
_Link = frozenset[tuple[str, str]]


class Links:
    """Asked by rounds, drains and plans before each move that they begin. One query, where the plant has a limit.

    Everybody's moves count, also those that a person began; what a person begins is not held back.
    """

    def __init__(self, plant: Plant) -> None:
        self._most = plant.settings.link_moves
        # A host of no domain is one of its own.
        self._place = {
            host.name: ("domain", host.domain) if host.domain else ("host", host.name)
            for host in plant.hosts
        }
        self._now: Counter[_Link] = Counter()
        if self._most:
            for source, target in _under_way():
                self._now[self._link(source, target)] += 1

    def take(self, source: str, target: str) -> bool:
        """Count one more move, if it may begin; whether it may. Within a failure domain there is no link."""
        link = self._link(source, target)
        if not self._most or len(link) < 2:
            return True
        if self._now[link] >= self._most:
            return False
        self._now[link] += 1
        return True

    def _link(self, source: str, target: str) -> _Link:
        ends = (source, target)
        return frozenset(self._place.get(name, ("host", name)) for name in ends)


def _under_way() -> list[tuple[str, str]]:
    """From where to where machines go, or are about to; where no destination is named yet it is not known."""
    rows = Operation.objects.live().filter(kind=OperationKind.MIGRATE).order_by()
    found = []
    for operation in rows.select_related("machine__host", "move__source", "move__destination"):
        move = getattr(operation, "move", None)
        if move is not None:
            found.append((move.source.name, move.destination.name))
        elif operation.machine is not None and operation.machine.host is not None:
            target = str(operation.payload.get("destination") or "")
            if target:
                found.append((operation.machine.host.name, target))
    return found
