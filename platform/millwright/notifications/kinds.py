"""What is told: each kind with its words, who is concerned, and whether it is mailed unless chosen otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of news."""

    code: str
    label: Any
    #: A sentence with the notice's facts in it.
    text: Any
    #: info, warning or danger, as the design system colours it.
    level: str
    #: Mailed to those who chose nothing.
    mailed: bool


KINDS: Mapping[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind(
            "request.submitted",
            _("A request waits for my decision"),
            _("%(who)s asks for %(name)s in %(project)s."),
            "info",
            True,
        ),
        Kind(
            "request.approved",
            _("My request was approved"),
            _("%(name)s was approved. %(why)s"),
            "info",
            True,
        ),
        Kind(
            "request.rejected",
            _("My request was rejected or expired"),
            _("%(name)s was not granted. %(why)s"),
            "warning",
            True,
        ),
        Kind(
            "environment.ready",
            _("An environment is ready"),
            _("%(name)s is ready."),
            "info",
            True,
        ),
        Kind(
            "environment.failed",
            _("An environment has failed"),
            _("%(name)s has failed: %(why)s"),
            "danger",
            True,
        ),
        Kind(
            "environment.degraded",
            _("An environment is degraded"),
            _("%(name)s is degraded: %(why)s"),
            "warning",
            False,
        ),
        Kind(
            "environment.recovered",
            _("An environment runs as it should again"),
            _("%(name)s runs as it should again."),
            "info",
            False,
        ),
        Kind(
            "lease.ending",
            _("A lease ends soon"),
            _("The lease of %(name)s ends on %(when)s. Extend it, or its machines are stopped."),
            "warning",
            True,
        ),
        Kind(
            "lease.ended",
            _("A lease has ended"),
            _("The lease of %(name)s has ended; its machines are being stopped."),
            "warning",
            True,
        ),
        Kind(
            "program.asked",
            _("A deployment waits for agreement"),
            _("%(who)s wants to deploy %(version)s to %(name)s. %(why)s"),
            "info",
            True,
        ),
        Kind(
            "host.lost",
            _("A host is lost"),
            _("Host %(name)s is lost: %(why)s"),
            "danger",
            True,
        ),
        Kind(
            "host.back",
            _("A host answers again"),
            _("Host %(name)s answers again."),
            "info",
            False,
        ),
        Kind(
            "host.not_waking",
            _("A host does not wake"),
            _("Host %(name)s does not wake: %(why)s"),
            "warning",
            True,
        ),
        Kind(
            "host.awake",
            _("A host woke by itself"),
            _("Host %(name)s is awake: %(why)s"),
            "info",
            False,
        ),
        Kind(
            "balancer.waits",
            _("Recommended moves wait for a decision"),
            _(
                "Recommended moves wait for a decision, %(waiting)s in all, of which new: %(count)s."
                " %(name)s"
            ),
            "info",
            True,
        ),
        Kind(
            "move.failed",
            _("A move of the balancer has failed"),
            _("The move of %(name)s to %(host)s has failed: %(why)s"),
            "warning",
            True,
        ),
        Kind(
            "drain.waits",
            _("A drain waits for a person"),
            _("The drain of %(name)s does not go on: %(why)s"),
            "warning",
            True,
        ),
        Kind(
            "drain.done",
            _("A drain is done"),
            _("%(name)s is drained. %(why)s"),
            "info",
            True,
        ),
        Kind(
            "rule.broken",
            _("A hard rule stays broken"),
            _("Rule %(name)s is not kept, and nothing mends it: %(why)s"),
            "warning",
            True,
        ),
        Kind(
            "spare.gone",
            _("Room for lost hosts is used up"),
            _(
                "Room for lost hosts: %(kept)s of %(wanted)s. Machines that would not restart without"
                " %(name)s: %(count)s."
            ),
            "warning",
            True,
        ),
        Kind(
            "spare.back",
            _("There is room for lost hosts again"),
            _("There is room for lost hosts again: %(kept)s of %(wanted)s."),
            "info",
            False,
        ),
        Kind(
            "account.emergency",
            _("The emergency account was used"),
            _("Somebody signed in as %(name)s, the emergency account."),
            "danger",
            True,
        ),
    )
}

#: State transitions that are news: (type, aspect, before or "", after) → kind.
TRANSITIONS: Mapping[tuple[str, str, str, str], str] = {
    ("request", "state", "", "submitted"): "request.submitted",
    ("request", "state", "", "approved"): "request.approved",
    ("request", "state", "", "rejected"): "request.rejected",
    ("request", "state", "", "expired"): "request.rejected",
    ("environment", "state", "provisioning", "running"): "environment.ready",
    ("environment", "state", "degraded", "running"): "environment.recovered",
    ("environment", "state", "", "failed"): "environment.failed",
    ("environment", "state", "", "degraded"): "environment.degraded",
    ("host", "health", "", "down"): "host.lost",
    ("host", "health", "down", "up"): "host.back",
    ("host", "power", "asleep", "awake"): "host.awake",
}
#: Lines of the audit trail that are news.
ACTIONS: Mapping[str, str] = {
    "environment.lease_ended": "lease.ended",
    "drain.done": "drain.done",
    "rolling.end": "drain.done",
    "program.ask": "program.asked",
    "user.break_glass": "account.emergency",
}
