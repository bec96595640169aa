"""Room for hosts to die, kept where machines are placed: as many hosts as the balancer is told (`spare_hosts`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from millwright.core.balancing import Vm, failure_capacity
from millwright.core.lifecycle import ServiceClass
from millwright.core.placement import HostVerdict, Placement
from millwright.environments.sizes import requires_of
from millwright.inventory.snapshot import OVERHEAD_BYTES

from .models import Balancer
from .parts import Held, machine
from .plant import placed, read_plant

#: Hosts that are tried, the best first.
TRIES = 3


def spared(plan: Placement, standing: Callable[[HostVerdict], Vm]) -> tuple[Placement, str]:
    """The plan with the best host after which any `spare_hosts` may still die, or none and why not.

    `standing`: the machine as it would stand on a host. Nothing is read where no host is kept to spare.
    """
    k = Balancer.objects.filter(pk=1).values_list("spare_hosts", flat=True).first()
    if not k or plan.chosen is None:
        return plan, ""
    plant, first = read_plant(), ""
    others = [verdict for verdict in plan.verdicts if verdict.accepted and verdict != plan.chosen]
    for verdict in (plan.chosen, *others)[:TRIES]:
        vm = standing(verdict)
        kept = tuple(row for row in plant.vms if row.name != vm.name)
        answer = failure_capacity(replace(plant, vms=(*kept, vm)), k)
        if answer.ok:
            return replace(plan, chosen=verdict), ""
        broken = answer.broken[0]
        # Counted, not named: they may be other projects' machines.
        first = first or _(
            "with it on %(host)s, %(n)s machines would find no room if %(lost)s died; "
            "room is kept for %(number)s hosts to die"
        ) % {
            "host": verdict.host,
            "n": len(broken.left),
            "lost": ", ".join(broken.hosts),
            "number": k,
        }
    return replace(plan, chosen=None), first


def standing_machine(machine: Any) -> Callable[[HostVerdict], Vm]:
    """A machine that has no host yet, as it would stand on one."""
    return lambda verdict: placed(machine, verdict.host, _cores(verdict))


def standing_request(request: Any, size: Any) -> Callable[[HostVerdict], Vm]:
    """What a request asks for, as it would stand on a host."""
    spec = request.template_version.spec
    kind = ServiceClass(spec["class"])

    def standing(verdict: HostVerdict) -> Vm:
        takes = Held(verdict.host, size.memory_bytes, size.disk_bytes, requires_of(spec))
        vm = Vm(
            name="asked for",
            vcpus=size.vcpus,
            memory_bytes=size.memory_bytes + OVERHEAD_BYTES,
            host=verdict.host,
            service_class=kind,
            cores=_cores(verdict),
            requires=frozenset((f"cell:{request.cell.slug}",) if request.cell else ()),
        )
        return replace(vm, **machine(takes))

    return standing


def _cores(verdict: HostVerdict) -> int:
    return 0 if verdict.assignment is None else len(verdict.assignment.claims)
