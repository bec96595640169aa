"""The pool: hosts, what they can do and what is missing, who owns which CPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may, sees_everything
from millwright.balancing import draining
from millwright.balancing.filling import heat_change
from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower
from millwright.core.topology import Topology
from millwright.environments.models import Machine, domain_name
from millwright.inventory import actions
from millwright.inventory.models import CpuClaim, Drift, Host
from millwright.inventory.snapshot import snapshot, topology_of
from millwright.portal.equipment import parts_of, read_at
from millwright.portal.networks import cells_on, networks_of
from millwright.portal.words import ABILITIES

from .base import WORDS, attempt
from .sleeping import change_power, power_of

#: capability → how to mend it where it is missing
MEND = {
    "kvm": gettext_lazy(
        "Enable virtualisation in the firmware, or nested virtualisation on the machine below; then probe again."
    ),
    "fifo": gettext_lazy(
        "Leave 'cpu' out of cgroup_controllers in qemu.conf, or give the group a realtime budget."
    ),
    "memory_lock": gettext_lazy("Raise the memory-lock limit of libvirtd (LimitMEMLOCK=infinity)."),
    "hugepages": gettext_lazy(
        "Reserve hugepages at boot: hugepagesz=1G hugepages=N on the kernel's command line."
    ),
    "isolation": gettext_lazy(
        "Isolate the realtime CPUs at boot: isolcpus=… nohz_full=… rcu_nocbs=…"
    ),
    "nwfilter": gettext_lazy("Install ebtables and iptables, and load br_netfilter."),
    "cgroup_cpu": gettext_lazy("Add 'cpu' to cgroup_controllers in qemu.conf."),
}


#: Hosts on one page.
HOSTS_A_PAGE = 24


def _owners(hosts: Iterable[Host]) -> dict[int, dict[int, tuple[int, str]]]:
    """Host → CPU → (vCPU, domain that owns it): one query, whatever the number of claims."""
    owners: dict[int, dict[int, tuple[int, str]]] = defaultdict(dict)
    rows = CpuClaim.objects.filter(host__in=hosts).order_by()
    names = ("machine__environment__name", "machine__name")
    for host_id, cpu, vcpu, environment, machine in rows.values_list(
        "host_id", "cpu", "vcpu", *names
    ):
        owners[host_id][cpu] = vcpu, domain_name(environment, machine)
    return owners


def _cpus(
    topology: Topology, owners: Mapping[int, tuple[int, str]], *, names: bool
) -> list[dict[str, Any]]:
    """CPUs with role and owner; without `names` an owner is only said to be there."""
    taken = _("taken")
    rows = []
    for cpu in topology.cpus:
        vcpu, owner = owners.get(cpu.id, (None, ""))
        rows.append(
            {
                "id": cpu.id,
                "node": cpu.node,
                "role": str(topology.role(cpu.id)),
                "owner": owner if names or not owner else taken,
                "vcpu": vcpu if names else None,
            }
        )
    return rows


def _in_words(topology: Topology, owners: Mapping[int, tuple[int, str]]) -> str:
    """How many CPUs there are of each kind: enough to compare hosts."""
    own = [cpu.id for cpu in topology.cpus if str(topology.role(cpu.id)) == "realtime"]
    words = [_("%(count)s in all") % {"count": len(topology.cpus)}]
    if own:
        facts = {"taken": sum(cpu in owners for cpu in own), "own": len(own)}
        words.append(_("%(taken)s of %(own)s for realtime taken") % facts)
    return ", ".join(words)


@login_required
def pool(request: HttpRequest) -> HttpResponse:
    """All hosts, page by page: what stands on a page is read for its hosts alone.

    Everyone who signed in sees states; names of others' machines need a plant-wide role.
    """
    text, state = request.GET.get("q", "").strip(), request.GET.get("state", "")
    wanted = Host.objects.order_by("name")
    if text:
        wanted = wanted.filter(name__icontains=text)
    if state == "attention":
        wanted = wanted.exclude(health=HostHealth.UP)
    elif state == "asleep":
        wanted = wanted.exclude(power=HostPower.AWAKE)
    elif state == "closed":
        wanted = wanted.exclude(administration=HostAdministration.SCHEDULABLE)
    page = Paginator(wanted, HOSTS_A_PAGE).get_page(request.GET.get("page"))
    rows = list(page.object_list)
    free = {host.name: host for host in snapshot(rows).hosts}
    owners = _owners(rows)
    counted = Machine.objects.filter(host__in=rows).order_by().values_list("host")
    machines = dict(counted.annotate(Count("pk")))
    sees_all = sees_everything(request.user)
    hosts = [
        {
            "row": host,
            "cpus": _cpus(free[host.name].topology, owners[host.pk], names=sees_all),
            "cpus_in_words": _in_words(free[host.name].topology, owners[host.pk]),
            "free": free[host.name],
            "machines": machines.get(host.pk, 0),
            "missing": [
                ABILITIES[kind][0]
                for kind in ABILITIES
                if host.capabilities.get(kind, {}).get("verdict") == "no"
            ],
        }
        for host in rows
    ]
    context = {
        "hosts": hosts,
        "page_obj": page,
        "text": text,
        "state": state,
        "searched": bool(text or state),
        "cells": cells_on(rows),
        "sees_all": sees_all,
        "can_balance": may(request.user, "pool"),
        "drifts": Drift.objects.select_related("host")[:50] if may(request.user, "pool") else [],
    }
    return render(request, "portal/pool.html", context)


@login_required
def host(request: HttpRequest, name: str) -> HttpResponse:
    """One host, for operators and readers of the whole plant."""
    if not sees_everything(request.user):
        raise PermissionDenied(_("Hosts in detail are for operators."))
    return _page_of(request, get_object_or_404(Host, name=name))


def _page_of(request: HttpRequest, row: Host, status: int = 200) -> HttpResponse:
    probes = [
        {
            "kind": kind,
            "title": ABILITIES.get(kind, (kind, ""))[0],
            "good_for": ABILITIES.get(kind, (kind, ""))[1],
            **probe,
            "mend": MEND.get(kind, "") if probe.get("verdict") != "yes" else "",
        }
        for kind, probe in sorted(
            row.capabilities.items(), key=lambda item: (item[1].get("verdict") == "yes", item[0])
        )
    ]
    seen = snapshot([row]).hosts[0]
    context = {
        "host": row,
        "vcpus": {
            "promised": seen.shared_vcpus,
            "most": seen.most_vcpus,
            "cpus": len(seen.topology.shared),
            "ratio": seen.overcommit_ratio,
            "told": row.policy.get("overcommit_ratio") is not None,
        },
        "cpus": _cpus(topology_of(row), _owners([row])[row.pk], names=True),
        "probes": probes,
        "networks": networks_of(row),
        "parts": parts_of(row),
        "parts_at": read_at(row),
        "machines": row.machines.select_related("environment__project"),
        "drifts": row.drifts.all(),
        "can_administer": may(request.user, "pool"),
        "drain": row.drains.filter(state="active").first(),
        "recovery": row.recoveries.filter(state="active").first(),
        "power": power_of(row),
        "typed": _typed(request, row) if status != 200 else None,
    }
    return render(request, "portal/host.html", context, status=status)


def _typed(request: HttpRequest, row: Host) -> Any:
    """What was typed and refused stands there again, unless the form asks for something else by now."""
    offered = "sleep" if row.power == HostPower.AWAKE else "wake"
    return request.POST if request.POST.get("wanted") == offered else None


@login_required
@require_POST
def set_power(request: HttpRequest, name: str) -> HttpResponse:
    """Put to sleep, or wake; refused, the page stands there with what was typed."""
    row = get_object_or_404(Host, name=name)
    if change_power(request, row):
        return redirect("portal:host", name)
    return _page_of(request, Host.objects.get(pk=row.pk), 422)


@login_required
@require_POST
def administer(request: HttpRequest, name: str) -> HttpResponse:
    """Cordon or uncordon."""
    row = get_object_or_404(Host, name=name)
    wanted = request.POST.get("wanted", "")
    if wanted in set(HostAdministration):
        attempt(
            request,
            lambda: actions.administer_host(
                request.user, row, HostAdministration(wanted), request.POST.get("reason", "")
            ),
            _("Done."),
        )
    return redirect("portal:host", name)


@login_required
def drain(request: HttpRequest, name: str) -> HttpResponse:
    """Before: where everything would go and what cannot leave. Then the drain is begun."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Draining a host is for those who keep the pool."))
    row = get_object_or_404(Host, name=name)
    if request.method == "POST":
        approve, reason = "approve" in request.POST, request.POST.get("reason", "")
        begun = attempt(
            request,
            lambda: draining.start(request.user, row, approve=approve, reason=reason),
            _("It is being drained."),
            WORDS,
        )
        if begun:
            return redirect("portal:host", name)
    plan = draining.preview(row)
    changes = heat_change({move.machine: move.destination for move in plan.moves})
    context = {
        "host": row,
        "given": request.POST,
        "plan": plan,
        "changes": [change for change in changes if change.touched],
        "others": sum(not change.touched for change in changes) if plan.moves else 0,
    }
    status = 422 if request.method == "POST" else 200
    return render(request, "portal/host_drain.html", context, status=status)
