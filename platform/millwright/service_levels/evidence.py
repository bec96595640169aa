"""Events near an interval that explain it: operations, hosts, crashes."""

from __future__ import annotations

import datetime as dt

from django.db.models import F, Q

from millwright.core.sla import Evidence, Happened, Row
from millwright.core.sla.causes import AFTER, BEFORE, NOTICED
from millwright.environments.models import Machine, Operation, StateTransition

#: Kinds of operations that explain a machine that is not up.
OPERATIONS = {
    "stop": Happened.ORDERED_STOP,
    "restart": Happened.ORDERED_STOP,
    "remove": Happened.ORDERED_STOP,
    "deliver_program": Happened.CHANGEOVER,
    "deliver_config": Happened.CHANGEOVER,
    "migrate": Happened.MOVE,
    "evacuate": Happened.MOVE,
    "recover": Happened.MOVE,
}
#: Operations that began longer ago are over.
LOOK_BACK = dt.timedelta(days=2)


def evidence_of(machine: Machine, row: Row) -> list[Evidence]:
    """What may explain a row of a machine. Two or three queries."""
    found = []
    begin = row.begin
    near = Operation.objects.filter(
        Q(machine=machine) | Q(machine=None, environment=machine.environment_id),
        kind__in=list(OPERATIONS),
        started_at__gt=begin - LOOK_BACK,
        started_at__lte=begin + BEFORE,
    ).filter(Q(ended_at=None) | Q(ended_at__gte=begin - AFTER))
    for kind, started, ended, reason, who in near.values_list(
        "kind", "started_at", "ended_at", "reason", "requested_by__username"
    ):
        text = " ".join(filter(None, (kind.replace("_", " "), f"by {who}" if who else "", reason)))
        found.append(Evidence(OPERATIONS[kind], started, ended, text))
    if machine.host is not None:
        failed = StateTransition.objects.filter(
            subject_type="host",
            subject_id=str(machine.host.pk),
            after__in=("down", "suspect"),
            at__gte=begin - AFTER,
            at__lte=begin + NOTICED,
        )
        found += [
            Evidence(Happened.HOST, at, at, f"host {machine.host.name} {after}: {cause}")
            for at, after, cause in failed.values_list("at", "after", "cause")
        ]
    crashed = StateTransition.objects.filter(
        subject_type="machine",
        subject_id=str(machine.pk),
        aspect="observed",
        after="crashed",
        at__gte=begin,
        at__lte=begin + AFTER,
    ).exclude(before=F("after"))
    found += [
        Evidence(
            Happened.CRASH, begin, at, "crashed" if cause == "crashed" else f"crashed: {cause}"
        )
        for at, cause in crashed.values_list("at", "cause")
    ]
    return found
