"""How full the pool is, how many more machines of a size fit, and who would be left if a host died."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import (
    Broken,
    Capacity,
    HostState,
    Plant,
    Vm,
    capacity,
    failure_capacity,
)
from millwright.core.balancing.capacity import MOST
from millwright.core.lifecycle import HostPower, ServiceClass
from millwright.environments.sizes import requires_of, size_of, sizes_of
from millwright.inventory.models import Host
from millwright.inventory.snapshot import OVERHEAD_BYTES
from millwright.inventory.waking import wakeable

from .measuring import used_on
from .parts import Held, machine, with_room
from .plant import being_emptied, not_emptied, read_plant

#: Bounds of what is asked: hosts that may die, and new machines a day.
MOST_SPARE, MOST_GROWTH = 3, 1000.0
#: Sets of hosts that are tried, those that leave somebody that are told, and machines of one that are named.
SETS, WORST, NAMED = 2_000, 50, 20


#: State of a host that is drained so that it can sleep: people read another word than of a drain.
EMPTYING = "emptying"


@dataclass(frozen=True, slots=True)
class Heat:
    """One host's ratios of what it has: CPUs wanted, memory promised, own cores given, disk used.

    Nothing: it is not known, as of CPUs where the host is down or none of its machines was measured lately.
    """

    host: str
    state: str
    cpu: float | None
    memory: float | None
    cores: float | None
    disk: float | None


@dataclass(frozen=True, slots=True)
class HeatChange:
    """One host before moves and after them; `touched`: machines leave or come."""

    before: Heat
    after: Heat
    touched: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """A host that dies: machines that would find no room.

    `waits`: those that would find room and wait for another machine, as "machine → that other one".
    """

    host: str
    left: tuple[str, ...]
    waits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Together:
    """Hosts that die at once, as `domain` where they stand in one: machines that would find no room, and how many
    beside those that are named; and those that would wait for another, as in `Loss`."""

    hosts: tuple[str, ...]
    left: tuple[str, ...]
    more: int = 0
    domain: str = ""
    waits: tuple[str, ...] = ()
    waits_more: int = 0


@dataclass(frozen=True, slots=True)
class Losses:
    """The death of as many hosts as the pool keeps to spare (at least 1), and of each failure domain that is named.

    `broken`: sets of hosts that leave somebody, of which `worst` are the worst; `complete`: every set was tried.
    """

    k: int
    checked: int
    complete: bool
    broken: int
    worst: tuple[Together, ...]
    domains: int
    domains_broken: tuple[Together, ...]


@dataclass(frozen=True, slots=True)
class Spare:
    """For how many lost hosts room is wanted, and for how many of them there is any.

    `left`: machines that would not restart if `hosts` died, for want of room or of what they start after, the worst
    of the sets as large as is wanted; `complete`: every set was tried.
    """

    wanted: int
    kept: int
    left: int
    hosts: tuple[str, ...]
    complete: bool


def kinds() -> list[tuple[str, str]]:
    """(template, size) of everything that the catalogue offers, newest versions. One query."""
    found: dict[tuple[str, str], None] = {}
    for version in _versions():
        for size in sizes_of(version.spec):
            found[version.template.name, size.name] = None
    return list(found)


def _versions() -> list[TemplateVersion]:
    rows = TemplateVersion.objects.filter(template__offered=True).select_related("template")
    newest: dict[int, TemplateVersion] = {}
    for row in rows.order_by("template__name", "-created_at"):
        newest.setdefault(row.template_id, row)
    return list(newest.values())


def heat(plant: Plant | None = None) -> list[Heat]:
    """Every host's ratios; a fixed number of queries."""
    plant = plant or read_plant()
    used = used_on(plant)
    memory: dict[str, int] = defaultdict(int)
    cores: dict[str, int] = defaultdict(int)
    for vm in plant.vms:
        if vm.host is not None:
            memory[vm.host] += vm.memory_bytes
            cores[vm.host] += vm.cores
    told = Host.objects.values_list("name", "disk_bytes", "disk_free_bytes", "power")
    disks = {name: (whole, free) for name, whole, free, _power in told}
    # For the balancer one that wakes is asleep still; people read the same word of it everywhere.
    asleep = {host.name for host in plant.hosts if host.state is HostState.ASLEEP}
    powers = {
        name: power for name, *_, power in told if name in asleep and power != HostPower.AWAKE
    }
    powers |= dict.fromkeys(being_emptied(plant), EMPTYING)
    rows = []
    for host in plant.hosts:
        whole, free = disks.get(host.name, (0, 0))
        rows.append(
            Heat(
                host.name,
                powers.get(host.name, str(host.state)),
                # What runs uses something: nothing at all says that nobody has measured it.
                used.get(host.name)
                or (0.0 if not memory[host.name] and host.name in used else None),
                _ratio(memory[host.name], host.memory_bytes - host.memory_aside_bytes),
                _ratio(cores[host.name], host.cores),
                _ratio(whole - free, whole),
            )
        )
    return rows


def heat_change(moves: Mapping[str, str], plant: Plant | None = None) -> list[HeatChange]:
    """What the pool would look like after these moves (machine → host), beside what it looks like.

    Demand goes with the machine. What moves bring to disks is not foretold: they stay as they are.
    """
    plant = plant or read_plant()
    known = {host.name for host in plant.hosts}
    going = {name: host for name, host in moves.items() if host in known}
    then = replace(
        plant, vms=tuple(replace(vm, host=going.get(vm.name, vm.host)) for vm in plant.vms)
    )
    touched = set(going.values()) | {str(vm.host) for vm in plant.vms if vm.name in going}
    return [
        HeatChange(before, after, before.host in touched)
        for before, after in zip(heat(plant), heat(then), strict=True)
    ]


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole > 0 else None


def fits(
    template: str, size: str, *, growth: float = 0.0, spare: int = 0, plant: Plant | None = None
) -> Capacity:
    """How many more of a template's size fit, so that any `spare` hosts may still die.

    What is asked of hosts is what a placement asks: disk, storage pool, hugepages, CPU features and cards too.
    No cell is: of a machine of a cell only hosts that reach it take any. A host that is being emptied to sleep takes
    some, for that is called off. Beside it stands how many would fit with all awake that sleep and are woken for machines.

    Raises:
        ValidationError: no such template or size, or out of bounds.
    """
    version = check(template, size, growth=growth, spare=spare)
    wanted, kind = size_of(version.spec, size), ServiceClass(version.spec["class"])
    needs = requires_of(version.spec)
    binds = bool(needs.hugepage_bytes and wanted.realtime_cores) and kind is ServiceClass.REALTIME
    takes = Held(None, wanted.memory_bytes, wanted.disk_bytes, needs, binds=binds)
    vm = Vm(
        name="one more",
        vcpus=wanted.vcpus,
        memory_bytes=wanted.memory_bytes + OVERHEAD_BYTES,
        service_class=kind,
        cores=wanted.realtime_cores,
    )
    pool = not_emptied(plant or read_plant())
    pool = with_room(pool, takes, MOST, realtime=kind is ServiceClass.REALTIME)
    asleep = {row.name: row.wake_s for row in wakeable()}
    made = capacity(pool, replace(vm, **machine(takes)), growth, spare, woken=asleep)
    return replace(made, wake_s=max(asleep.values(), default=None))


def cores_of(template: str, size: str) -> int:
    """Cores of its own that each of this template and size asks for; 0 where there is none such.

    `fits` counts those that get them. A host of best effort takes more, without promised timing.
    """
    version = next((row for row in _versions() if row.template.name == template), None)
    names = [entry.name for entry in sizes_of(version.spec)] if version else []
    return size_of(version.spec, size).realtime_cores if version and size in names else 0


def check(template: str, size: str, *, growth: float = 0.0, spare: int = 0) -> TemplateVersion:
    """The newest version of the template of which can be asked so.

    Raises:
        ValidationError: no such template or size, or out of bounds.
    """
    if not 0 <= spare <= MOST_SPARE:
        raise ValidationError(
            {"spare": _("%(value)s: from 0 to %(high)s") % {"value": spare, "high": MOST_SPARE}}
        )
    if not 0 <= growth <= MOST_GROWTH:
        raise ValidationError(
            {"growth": _("%(value)s: from 0 to %(high)s") % {"value": growth, "high": MOST_GROWTH}}
        )
    version = next((row for row in _versions() if row.template.name == template), None)
    if version is None:
        raise ValidationError({"template": _("no template is named %(name)r") % {"name": template}})
    names = [entry.name for entry in sizes_of(version.spec)]
    if size not in names:
        raise ValidationError(
            {"size": _("%(value)r: one of %(known)s") % {"value": size, "known": ", ".join(names)}}
        )
    return version


def losses(plant: Plant | None = None) -> list[Loss]:
    """For every host that is not down: which protected machines would find no room if it died, or would wait."""
    plant = plant or read_plant()
    lost = {row.hosts: row for row in failure_capacity(plant, 1).broken}
    return [
        Loss(host.name, _left(row), _waiting(row)) if row else Loss(host.name, ())
        for host in plant.hosts
        if not host.state.off
        for row in (lost.get((host.name,)),)
    ]


def _left(row: Broken) -> tuple[str, ...]:
    """Machines without room."""
    return tuple(refusal.vm for refusal in row.left if not refusal.waits_for)


def _waiting(row: Broken) -> tuple[str, ...]:
    """Machines with room that wait, each with the one that it waits for."""
    return tuple(f"{refusal.vm} → {refusal.waits_for}" for refusal in row.left if refusal.waits_for)


def together(plant: Plant | None = None) -> Losses:
    """What the death of the pool's own number of hosts to spare would leave, and that of a failure domain (a rack)."""
    plant = plant or read_plant()
    k = max(1, plant.settings.spare_hosts)
    told = failure_capacity(plant, k, sets=SETS)
    domain = {host.name: host.domain for host in plant.hosts}
    live = {host.domain for host in plant.hosts if host.domain and not host.state.off}
    lost = failure_capacity(plant, 1, domains=True).broken if live else ()
    return Losses(
        k,
        told.checked,
        told.complete,
        len(told.broken),
        _worst(told.broken),
        len(live),
        tuple(
            replace(row, domain=domain[row.hosts[0]])
            for row in _worst(row for row in lost if row.hosts and domain[row.hosts[0]])
        ),
    )


def spare(plant: Plant | None = None) -> Spare:
    """How much of the room that is wanted for lost hosts is there; at most three answers of `failure_capacity`."""
    plant = plant or read_plant()
    wanted = kept = plant.settings.spare_hosts
    first = None
    while kept:
        told = failure_capacity(plant, kept, sets=SETS)
        first = first or told
        if told.ok:
            break
        kept -= 1
    worst = _worst(first.broken)[0] if first is not None and first.broken else Together((), ())
    complete = first is None or first.complete
    left = len(worst.left) + worst.more + len(worst.waits) + worst.waits_more
    return Spare(wanted, kept, left, worst.hosts, complete)


def _worst(broken: Iterable[Broken]) -> tuple[Together, ...]:
    """Those that leave most, the first of them; machines are named up to a number."""
    rows = sorted(broken, key=lambda row: (-len(row.left), row.hosts))[:WORST]
    return tuple(
        Together(
            row.hosts,
            left[:NAMED],
            max(len(left) - NAMED, 0),
            waits=waits[:NAMED],
            waits_more=max(len(waits) - NAMED, 0),
        )
        for row in rows
        for left, waits in ((_left(row), _waiting(row)),)
    )
