"""Plans that lack room, with sleeping hosts awake: who would find a place then, on which of them, and how few do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from millwright.core.balancing import HostState, Plant, drain, say
from millwright.inventory.waking import wakeable


@dataclass(frozen=True, slots=True)
class IfWoken:
    """`places`: by machine the host where it would be; `hosts`: those of them that sleep, to be woken."""

    places: Mapping[str, str]
    hosts: tuple[str, ...] = ()


def with_awake(plant: Plant, names: Collection[str]) -> Plant:
    """The plant with those of these hosts that sleep awake and up."""
    return replace(
        plant,
        hosts=tuple(
            replace(host, state=HostState.UP)
            if host.state is HostState.ASLEEP and host.name in names
            else host
            for host in plant.hosts
        ),
    )


def if_woken(
    left: Collection[str],
    plant: Plant,
    ask: Callable[[Plant], Mapping[str, str]],
    *,
    asked: bool = True,
) -> IfWoken:
    """Of these machines without room those that would have it, with as few hosts woken as that needs.

    `ask`: where everything would be on a plant. `asked`: hosts that are not woken for machines stay asleep. Two
    queries; nothing is asked of a plant in which no host can be woken. Those that are waking already come first,
    then those that take the fewest watts; how many of that order are needed is found by bisection.
    """
    order = [row.name for row in wakeable(asked=asked)] if left else []
    if not order:
        return IfWoken({})

    def found(count: int) -> dict[str, str]:
        places = ask(with_awake(plant, order[:count]))
        return {name: places[name] for name in left if name in places}

    low, high, best = 1, len(order), found(len(order))
    if not best:
        return IfWoken({})
    while low < high:
        middle = (low + high) // 2
        fewer = found(middle)
        if len(fewer) >= len(best):
            high, best = middle, fewer
        else:
            low = middle + 1
    whole = ask(with_awake(plant, order[:high]))
    used = set(whole.values())
    return IfWoken(best, tuple(name for name in order[:high] if name in used))


def would_leave(blockers: Mapping[str, str], plant: Plant, host: str) -> dict[str, str]:
    """Of what cannot leave a host, for those that could if another were woken, the reason with that beside it."""

    def asked(other: Plant) -> dict[str, str]:
        made = drain(other, [host])
        return {move.vm: move.target for move in made.moves}

    would = if_woken(blockers, plant, asked)
    return {
        name: say("note.if_woken", why=blockers[name], host=target)
        for name, target in would.places.items()
        if target in would.hosts
    }
