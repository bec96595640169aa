"""Adding a host: what it says before it is registered, and which CPUs it should begin with."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.core.topology import CpuListError, parse_cpu_list
from millwright.desk import ask
from millwright.settings import get_settings

from .actions import register_host
from .models import Host

#: Without these nothing of ours can run there.
ARCHITECTURE, LEAST_MEMORY = "x86_64", 2 * 2**30
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_URI = re.compile(
    r"qemu\+tls://[A-Za-z0-9.\[\]:_-]+/system(\?[\x21-\x7e]*)?|qemu:///(system|session)"
)


def check(actor: Any, name: str, uri: str) -> dict[str, Any]:
    """Ask a host that is not registered yet: what it says, `findings` in words, and a `policy` to begin with.

    Raises:
        ValidationError: name or address break a rule, or are taken.
        DeskError: it cannot be reached, with libvirt's reason; or no orchestrator is active.
    """
    require(actor, "pool")
    _named(name, uri)
    facts = ask(get_settings().desk_socket, "host_check", name=name, uri=uri, timeout_s=60.0)
    return {**facts, "findings": _findings(facts), "policy": suggestion(facts["cpus"])}


def join(
    actor: Any,
    facts: dict[str, Any],
    *,
    name: str,
    uri: str,
    address: str | None,
    agent_url: str,
    policy: dict[str, Any],
) -> Host:
    """Register a host of which `check` has just told the facts.

    Raises:
        ValidationError: a field breaks a rule, or names CPUs that the host does not have.
    """
    for key in ("housekeeping_cpus", "realtime_cpus", "shared_cpus"):
        try:
            wanted = parse_cpu_list(policy.get(key, ""))
        except CpuListError as error:
            raise ValidationError({f"policy.{key}": str(error)}) from None
        if unknown := set(wanted) - set(facts["cpus"]):
            raise ValidationError(
                {f"policy.{key}": _("the host has no CPU %(cpu)s") % {"cpu": min(unknown)}}
            )
    return register_host(
        actor, name=name, uri=uri, policy=policy, address=address, agent_url=agent_url
    )


def suggestion(cpus: list[int]) -> dict[str, Any]:
    """Roles to begin with: the first CPU keeps house, half of the others are realtime, where there are enough."""
    first, *others = sorted(cpus)
    realtime = others[(len(others) + 1) // 2 :] if len(others) >= 3 else []
    shared = [cpu for cpu in others if cpu not in realtime] or [first]
    return {
        "housekeeping_cpus": str(first),
        "shared_cpus": ",".join(map(str, shared)),
        "realtime_cpus": ",".join(map(str, realtime)),
        "best_effort": True,
        "memory_reserved_bytes": 2**30,
    }


def _named(name: str, uri: str) -> None:
    # `new` is the address of the page itself.
    if not _NAME.fullmatch(name) or name == "new":
        raise ValidationError(
            {"name": _("%(value)r: up to 48 small letters, digits and hyphens") % {"value": name}}
        )
    if not _URI.fullmatch(uri):
        raise ValidationError(
            {
                "uri": _("%(value)r: expected qemu+tls://host/system or qemu:///system")
                % {"value": uri}
            }
        )
    if Host.objects.filter(name=name).exists():
        raise ValidationError({"name": _("a host is named %(value)r already") % {"value": name}})
    if taken := Host.objects.filter(uri=uri).first():
        raise ValidationError({"uri": _("that is %(host)s already") % {"host": taken}})


def _findings(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """`{"ok", "text"}` of what a host must have; probes by doing follow once it is registered."""
    memory_gib = facts["memory_bytes"] / 2**30
    return [
        {
            "ok": facts["architecture"] == ARCHITECTURE,
            "text": _("architecture %(value)s (x86_64 is needed)")
            % {"value": facts["architecture"]},
        },
        {
            "ok": len(facts["cpus"]) >= 2,
            "text": _("%(n)s CPUs (two at least, so that control has one of its own)")
            % {"n": len(facts["cpus"])},
        },
        {
            "ok": facts["memory_bytes"] >= LEAST_MEMORY,
            "text": _("%(n).1f GiB memory (2 at least)") % {"n": memory_gib},
        },
        {
            "ok": bool(facts["kvm"]),
            "text": _("KVM is offered")
            if facts["kvm"]
            else _("no KVM: machines are emulated, and timing is not promised"),
        },
    ]
