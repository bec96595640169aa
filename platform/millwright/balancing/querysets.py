"""What a person may see of the balancer's rules."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Prefetch, Q

from millwright.accounts.permissions import own_projects, sees_everything

#: Machines whose moves are looked up one by one; of more the database joins.
MOST_NAMED = 500


class RuleQuerySet(models.QuerySet):
    def for_user(self, user: Any) -> Self:
        """Those about a machine of one's projects; all for people with a plant-wide reading role."""
        if sees_everything(user):
            return self
        if not user.is_authenticated:
            return self.none()
        mine = own_projects(user)
        return self.filter(machines__environment__project__in=mine).distinct()

    def with_names(self) -> Self:
        """With machines and hosts: two queries more, whatever the number of rules."""
        from millwright.environments.models import Machine

        machines = Machine.objects.select_related("environment", "host").order_by(
            "environment__name", "name"
        )
        return self.prefetch_related(Prefetch("machines", machines), "hosts")


class RecommendationQuerySet(models.QuerySet):
    #: what is not over: it waits for a person, or machines move
    LIVE = ("open", "moving")

    def leading(self) -> Self:
        """One of each plan, its first move, and all that belong to none."""
        first = self.model.objects.filter(plan=OuterRef("plan"), pk__lt=OuterRef("pk"))
        return self.filter(Q(plan=None) | ~Exists(first))

    def live(self) -> Self:
        """What waits for a person comes first, then what is under way; of each the newest first.

        Moves of one round stand as it decided them: what one says of its hosts holds with those before it made.
        """
        # "open" comes after "moving" and "moved" in the alphabet.
        return self.filter(self._going()).order_by("-state", "-created_at", "pk")

    def ended(self) -> Self:
        return self.filter(~Q(state__in=self.LIVE), Q(plan=None) | ~Q(plan__state="active"))

    def _going(self) -> Q:
        # Of a plan under way the first machine may have been moved and measured already.
        return Q(state__in=self.LIVE) | Q(plan__state="active")

    def became(self, state: str) -> Self:
        """Those in this state, and plans with a move in it."""
        plans = self.model.objects.filter(plan=OuterRef("plan"), state=state)
        return self.filter(Q(state=state) | Q(Exists(plans)))

    def about(self, text: str) -> Self:
        """Those whose machine, or a host, or a machine of the same plan has the text in its name."""
        from millwright.environments.models import Machine
        from millwright.inventory.models import Host

        line, slash, name = text.rpartition("/")
        if slash:
            # As machines are written: environment/machine.
            called = Q(environment__name__icontains=line, name__icontains=name)
        else:
            called = Q(environment__name__icontains=text) | Q(name__icontains=text)
        # Names first: machines and hosts are few beside their moves, which have indexes by them.
        machines = list(Machine.objects.filter(called).values_list("pk", flat=True)[:MOST_NAMED])
        hosts = list(Host.objects.filter(name__icontains=text).values_list("pk", flat=True))
        there = Q(machine__in=machines) | Q(source__in=hosts) | Q(destination__in=hosts)
        if len(machines) == MOST_NAMED:
            there |= Q(machine__in=Machine.objects.filter(called))
        plans = self.model.objects.filter(there).exclude(plan=None).order_by()
        return self.filter(
            there | Q(plan__in=list(plans.values_list("plan", flat=True).distinct()))
        )

    def with_names(self) -> Self:
        """With what they name."""
        return self.select_related(
            "machine__environment", "source", "destination", "operation", "plan", "decided_by"
        )
