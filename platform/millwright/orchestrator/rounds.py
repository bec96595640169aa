"""What happens by the clock: leases, old requests, what balancing does by itself."""

from __future__ import annotations

import datetime as dt
import logging

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from millwright.accounts.models import Project
from millwright.audit.actions import record
from millwright.balancing import entitling, reporting
from millwright.balancing.circling import plan_round
from millwright.balancing.consolidating import consolidation_round
from millwright.balancing.draining import drain_round
from millwright.balancing.emptying import emptying_round
from millwright.balancing.measuring import measure_round
from millwright.balancing.recommending import balance_round
from millwright.balancing.recovering import recovery_round
from millwright.balancing.rolling import rolling_round
from millwright.core.lifecycle import (
    EnvironmentState,
    LifecycleError,
    MachineDesired,
    OperationKind,
    RequestState,
)
from millwright.environments import consoles
from millwright.environments.actions import decide_by_policy
from millwright.environments.enqueue import enqueue
from millwright.environments.history import transition
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.hypervisor import Share
from millwright.inventory.waking import power_round

from .forcing import forces_round
from .hosts import Hosts
from .traits import traits_round
from .watcher import prune_samples

log = logging.getLogger(__name__)

#: A lease is announced to end this long before; a request waits this long for a decision.
WARN = dt.timedelta(days=3)
REQUEST_LIFETIME = dt.timedelta(days=30)


def leases(now: dt.datetime) -> int:
    """Flag leases that end soon; stop (never remove) environments whose lease has ended."""
    Environment.objects.present().filter(
        lease_until__lte=now + WARN, lease_until__gt=now, lease_ending=False
    ).update(lease_ending=True)
    stopped = 0
    ended = Environment.objects.filter(
        lease_until__lte=now, state__in=(EnvironmentState.RUNNING, EnvironmentState.DEGRADED)
    )
    for environment in ended[:100]:
        with transaction.atomic():
            for machine in environment.machines.filter(desired=MachineDesired.RUNNING):
                if Operation.objects.live().filter(machine=machine).exists():
                    continue
                Machine.objects.filter(pk=machine.pk).update(desired=MachineDesired.STOPPED)
                enqueue(
                    OperationKind.STOP,
                    actor=None,
                    reason="the lease has ended",
                    environment=environment,
                    machine=machine,
                )
                record(None, "environment.lease_ended", environment, project=environment.project)
                stopped += 1
    return stopped


def requests(now: dt.datetime) -> int:
    """Requests that nobody decided expire."""
    expired = 0
    for request in Request.objects.filter(
        state=RequestState.SUBMITTED, submitted_at__lt=now - REQUEST_LIFETIME
    )[:100]:
        with transaction.atomic():
            transition(request, "request", RequestState.EXPIRED, cause="nobody decided in time")
            record(None, "request.expire", request, project=request.project)
        expired += 1
    return expired


def undecided(now: dt.datetime) -> int:
    """Decide by the project's policy what nobody decided in the days that it gives."""
    decided = 0
    waiting = Request.objects.filter(state=RequestState.SUBMITTED).select_related("project")
    terms = Project.objects.filter(decide_after_days__gt=0).values_list(
        "decide_after_days", flat=True
    )
    # A term is one of thirty numbers: a query for each that is in use.
    due = [
        request
        for days in sorted(set(terms))
        for request in waiting.filter(
            project__decide_after_days=days, submitted_at__lte=now - dt.timedelta(days=days)
        ).order_by("submitted_at")[:100]
    ]
    for request in due:
        try:
            decide_by_policy(request)
        except (ValidationError, LifecycleError) as error:
            # Quota or pool have no room by now: a person must see it.
            log.info("policy cannot decide %s: %s", request, error)
            continue
        decided += 1
    return decided


def shares(hosts: Hosts, now: dt.datetime) -> int:
    """Give machines their parts of their hosts, as their entitlements are now."""
    return entitling.apply_round(
        lambda host, machine, weight, quota, memory: hosts.get(host).set_share(
            machine, Share(weight, quota, memory), deadline_s=5.0
        ),
        now,
    )


class _Forgetting:
    """What no balancing looks at any more is forgotten once an hour, however long passes take."""

    EVERY = dt.timedelta(hours=1)

    def __init__(self) -> None:
        self._last: dt.datetime | None = None

    def __call__(self, now: dt.datetime) -> int:
        if self._last is not None and dt.timedelta() <= now - self._last < self.EVERY:
            return 0
        self._last = now
        return prune_samples(now) + reporting.forget(now)


forget_round = _Forgetting()


def all_rounds(hosts: Hosts) -> None:
    """One round of each."""
    now = timezone.now()
    for work in (
        # First: where a host is lost, the one that was being emptied takes its machines.
        lambda: emptying_round(now),
        lambda: recovery_round(now),
        lambda: power_round(now),
        lambda: rolling_round(now),
        lambda: drain_round(now),
        lambda: plan_round(now),
        lambda: balance_round(now),
        lambda: measure_round(now),
        lambda: consolidation_round(now),
        lambda: forget_round(now),
        lambda: shares(hosts, now),
        lambda: traits_round(hosts, now),
        lambda: forces_round(now),
        lambda: leases(now),
        lambda: requests(now),
        lambda: undecided(now),
        consoles.sweep,
    ):
        try:
            work()
        except Exception:
            log.exception("a round failed")
