"""Hosts and cells: registration and administration."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import HostAdministration, check_transition
from millwright.core.topology import CpuListError, parse_cpu_list

from .models import Cell, Host, Site
from .power import validate_sleep

_POLICY = {
    "cpus",
    "housekeeping_cpus",
    "realtime_cpus",
    "shared_cpus",
    "best_effort",
    "memory_reserved_bytes",
    "overcommit_ratio",
    "cells",
    "memory_limit_bytes",
    # hosts with the same word here have one file system under their pools
    "shared_storage",
    # {"agent": "fence_…", "options": {…}}: how its power is taken away when it is lost
    "fence",
    # {"by": …, "wake": …}: how it is put to sleep while it is empty, and woken
    "sleep",
}
#: least and greatest: bytes, and shared CPUs that are promised for each that there is
_BOUNDS: dict[str, tuple[float, float]] = {
    "memory_reserved_bytes": (0, 2**60),
    "memory_limit_bytes": (0, 2**60),
    "overcommit_ratio": (0.01, 1000),
}


def ensure_site(name: str = "plant") -> Site:
    """The plant's one site; its uuid marks what is ours on every host."""
    site = Site.objects.first()
    return site or Site.objects.create(name=name)


def _validate_fence(fence: Any) -> None:
    """An agent's name and its options; secrets only by the name of a file."""
    if not isinstance(fence, dict) or set(fence) - {"agent", "options"}:
        raise ValidationError({"policy.fence": 'expected {"agent": "fence_…", "options": {…}}'})
    agent, options = fence.get("agent"), fence.get("options", {})
    if not isinstance(agent, str) or not re.fullmatch(r"fence_[a-z0-9_]{1,40}", agent):
        raise ValidationError(
            {"policy.fence.agent": f"{agent!r}: expected a name like fence_ipmilan"}
        )
    if not isinstance(options, dict):
        raise ValidationError({"policy.fence.options": "expected names and values"})
    for name, value in options.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name == "action":
            raise ValidationError({f"policy.fence.options.{name}": "no option of an agent"})
        if name in ("password", "passwd", "snmp_priv_passwd", "password_script", "passwd_script"):
            raise ValidationError(
                {f"policy.fence.options.{name}": "secrets are not kept here: give password_file"}
            )
        if not isinstance(value, (str, int)) or re.search(r"[\r\n]", str(value)):
            raise ValidationError({f"policy.fence.options.{name}": "expected one line of text"})


def validate_policy(policy: dict[str, Any]) -> None:
    """Raise `ValidationError` for unknown keys, unreadable CPU lists and ratios, and fencing that cannot be."""
    if policy.get("fence"):
        _validate_fence(policy["fence"])
    validate_sleep(policy)
    if unknown := set(policy) - _POLICY:
        raise ValidationError(
            {
                "policy": f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(_POLICY))}"
            }
        )
    for key, (low, high) in _BOUNDS.items():
        value = policy.get(key)
        if value is None:
            continue
        whole = key != "overcommit_ratio"
        right = isinstance(value, int) or (isinstance(value, float) and not whole)
        # Of what is no number nothing is between: so neither.
        if not right or isinstance(value, bool) or not low <= value <= high:
            wanted = "a whole number" if whole else "a number"
            raise ValidationError(
                {f"policy.{key}": f"{value!r:.80}: {wanted} from {low} to {high} is wanted"}
            )
    cells = policy.get("cells")
    named = isinstance(cells, list) and all(isinstance(cell, str) and cell for cell in cells)
    if cells is not None and not named:
        raise ValidationError({"policy.cells": f"{cells!r:.80}: a list of cells' names is wanted"})
    lists = {}
    for key in ("cpus", "housekeeping_cpus", "realtime_cpus", "shared_cpus"):
        try:
            lists[key] = parse_cpu_list(policy.get(key, ""))
        except CpuListError as error:
            raise ValidationError({f"policy.{key}": str(error)}) from None
    if both := lists["realtime_cpus"] & (lists["housekeeping_cpus"] | lists["shared_cpus"]):
        raise ValidationError({"policy.realtime_cpus": f"CPU {min(both)} has another role too"})


@transaction.atomic
def register_host(
    actor: Any,
    *,
    name: str,
    uri: str,
    policy: dict[str, Any],
    address: str | None = None,
    agent_url: str = "",
) -> Host:
    """Have a host in the inventory. It is suspect until the watcher has seen it."""
    if actor is not None:
        require(actor, "pool")
    validate_policy(policy)
    if not uri.startswith(("qemu+tls://", "qemu:///", "fake://")):
        raise ValidationError(
            {"uri": f"{uri!r}: expected qemu+tls://host/system or qemu:///system"}
        )
    host, made = Host.objects.get_or_create(
        name=name,
        defaults={"uri": uri, "policy": policy, "address": address, "agent_url": agent_url},
    )
    changed = {
        field: value
        for field, value in (
            ("uri", uri),
            ("policy", policy),
            ("address", address),
            ("agent_url", agent_url),
        )
        if getattr(host, field) != value
    }
    if changed:
        for field, value in changed.items():
            setattr(host, field, value)
        host.save(update_fields=tuple(changed))
    if made or changed:
        record(actor, "host.register" if made else "host.update", host, fields=sorted(changed))
    return host


@transaction.atomic
def administer_host(actor: Any, host: Host, wanted: HostAdministration, reason: str = "") -> Host:
    """Cordon, uncordon, mark for draining or maintenance."""
    from millwright.environments.history import transition

    require(actor, "pool")
    host = Host.objects.select_for_update().get(pk=host.pk)
    check_transition("host_administration", host.administration, wanted)
    if transition(
        host, "host_administration", wanted, field="administration", cause=reason or str(actor)
    ):
        record(actor, f"host.{wanted}", host, reason=reason)
    return host


@transaction.atomic
def ensure_cell(
    actor: Any,
    *,
    slug: str,
    cidr: str,
    bridge: str,
    gateway_address: str,
    monitoring_address: str | None,
    first_address: str,
    last_address: str,
    title: str = "",
) -> Cell:
    """Have a cell; its addresses must lie in its network."""
    if actor is not None:
        require(actor, "pool")
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise ValidationError({"cidr": f"{cidr!r}: {error}"}) from None
    named = {
        "gateway_address": gateway_address,
        "monitoring_address": monitoring_address,
        "first_address": first_address,
        "last_address": last_address,
    }
    for field, value in named.items():
        if value and ipaddress.ip_address(value) not in network:
            raise ValidationError({field: f"{value} is not in {cidr}"})
    cell, made = Cell.objects.update_or_create(
        slug=slug,
        defaults={
            "cidr": cidr,
            "bridge": bridge,
            "network_name": f"mw-cell-{slug}",
            "title": title or slug,
            **named,
        },
    )
    if made:
        record(actor, "cell.create", cell, cidr=cidr)
    return cell
