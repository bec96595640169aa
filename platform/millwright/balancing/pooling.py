"""Resource pools: a tree that shares capacity, and how boldly rounds balance the machines of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import BOUNDS, MOST_DEPTH, Mode

from .models import Balancer, ResourcePool

#: Bounds of what people set.
MOST_SHARES, MOST_CPUS = int(BOUNDS["shares"][1]), 100_000.0


@dataclass(frozen=True, slots=True)
class PoolDraft:
    """A pool as somebody writes it. `parent`: a name, or "" for the top; `balance_mode`: "" as above it."""

    name: str = ""
    parent: str = ""
    shares: int = 1000
    cpu_reservation: float = 0.0
    cpu_limit: float | None = None
    balance_mode: str = ""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool in the tree: how deep it lies, its machines, and the mode that holds for them."""

    pool: ResourcePool
    depth: int
    machines: int
    mode: str
    own: bool

    @property
    def words(self) -> str:
        return str(dict(Balancer.MODES)[self.mode])


def draft_of(row: ResourcePool) -> PoolDraft:
    """A kept pool as it was written."""
    return PoolDraft(
        row.name,
        row.parent.name if row.parent else "",
        row.shares,
        row.cpu_reservation,
        row.cpu_limit,
        row.balance_mode,
    )


def tree(mode: str) -> list[PoolRow]:
    """Every pool below its parent, by name; `mode`: the plant's. One query."""
    below: dict[int | None, list[ResourcePool]] = {}
    for row in ResourcePool.objects.annotate(count=Count("machines")).order_by("name"):
        below.setdefault(row.parent_id, []).append(row)

    def walk(parent: int | None, depth: int, above: str) -> Iterator[PoolRow]:
        for row in below.get(parent, ()):
            holds = row.balance_mode or above
            yield PoolRow(row, depth, row.count, holds, bool(row.balance_mode))  # type: ignore[attr-defined]  # annotated
            yield from walk(row.pk, depth + 1, holds)

    return list(walk(None, 0, mode))


@transaction.atomic
def save_pool(
    actor: Any, draft: PoolDraft, row: ResourcePool | None = None, reason: str = ""
) -> ResourcePool:
    """Write a pool, or change one (`row`). The next round goes by it.

    Raises:
        PermissionRefused: pools are for those who keep the pool of hosts.
        ValidationError: field by field what is wrong.
    """
    require(actor, "pool")
    if row is not None:
        row = ResourcePool.objects.select_for_update().get(pk=row.pk)
    parent = _check(draft, row)
    before = asdict(draft_of(row)) if row is not None else {}
    made = row or ResourcePool()
    made.name, made.parent, made.shares = draft.name, parent, draft.shares
    made.cpu_reservation, made.cpu_limit = draft.cpu_reservation, draft.cpu_limit
    made.balance_mode = draft.balance_mode
    made.save()
    verb = "pool.change" if row is not None else "pool.create"
    record(actor, verb, made, reason=reason, before=before, after=asdict(draft))
    return made


@transaction.atomic
def remove_pool(actor: Any, row: ResourcePool, reason: str = "") -> None:
    """Remove a pool that holds nothing.

    Raises:
        PermissionRefused: pools are for those who keep the pool of hosts.
        ValidationError: machines or pools are in it.
    """
    require(actor, "pool")
    row = ResourcePool.objects.select_for_update().get(pk=row.pk)
    machines, pools = row.machines.count(), row.children.count()
    if machines or pools:
        raise ValidationError(
            {
                "pool": _(
                    "%(name)s holds %(machines)s machines and %(pools)s pools: empty it first"
                )
                % {"name": row.name, "machines": machines, "pools": pools}
            }
        )
    record(actor, "pool.remove", row, reason=reason, before=asdict(draft_of(row)))
    row.delete()


def _check(draft: PoolDraft, row: ResourcePool | None) -> ResourcePool | None:
    errors: dict[str, list[str]] = {}

    def wrong(field: str, text: str) -> None:
        errors.setdefault(field, []).append(text)

    others = ResourcePool.objects.exclude(pk=row.pk if row else None)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,47}", draft.name):
        text = _("%(value)r: small letters, digits, - and _, at most 48, not - or _ first")
        wrong("name", text % {"value": draft.name})
    elif others.filter(name=draft.name).exists():
        wrong("name", _("a pool is named %(name)r already") % {"name": draft.name})
    parent = None
    if draft.parent:
        rows = {each.name: each for each in ResourcePool.objects.select_related("parent")}
        above = {each.pk: each.parent_id for each in rows.values()}
        parent = rows.get(draft.parent)
        if parent is None:
            wrong("parent", _("no pool is named %(name)r") % {"name": draft.parent})
        elif row is not None and row.pk in _upwards(parent.pk, above):
            wrong("parent", _("%(name)s lies below it") % {"name": draft.parent})
        elif (
            # A tree that is deeper already may stay as it is.
            (row is None or row.parent_id != parent.pk)
            and len(_upwards(parent.pk, above)) + _levels(row, above) > MOST_DEPTH
        ):
            text = _("%(name)s: pools lie at most %(most)s deep")
            wrong("parent", text % {"name": draft.parent, "most": MOST_DEPTH})
    if not 1 <= draft.shares <= MOST_SHARES:
        text = _("%(value)s: from %(low)s to %(high)s")
        wrong("shares", text % {"value": draft.shares, "low": 1, "high": MOST_SHARES})
    for field in ("cpu_reservation", "cpu_limit"):
        value = getattr(draft, field)
        if value is not None and not (math.isfinite(value) and 0 <= value <= MOST_CPUS):
            text = _("%(value)s: from %(low)s to %(high)s")
            wrong(field, text % {"value": value, "low": 0, "high": f"{MOST_CPUS:g}"})
    if draft.cpu_limit is not None and draft.cpu_reservation > draft.cpu_limit:
        text = _("%(value)s is above the limit of %(limit)s")
        wrong("cpu_reservation", text % {"value": draft.cpu_reservation, "limit": draft.cpu_limit})
    if draft.balance_mode and draft.balance_mode not in set(Mode):
        text = _("%(value)r: one of %(known)s")
        wrong("balance_mode", text % {"value": draft.balance_mode, "known": ", ".join(Mode)})
    if errors:
        raise ValidationError({name: list(texts) for name, texts in errors.items()})
    return parent


def _upwards(pk: int, above: dict[int, int | None]) -> set[int]:
    found: set[int] = set()
    at: int | None = pk
    while at is not None and at not in found:
        found.add(at)
        at = above[at]
    return found


def _levels(row: ResourcePool | None, above: dict[int, int | None]) -> int:
    """How many levels the pool and those below it take; one that is new takes its own."""
    levels, found = 1, {row.pk} if row is not None else set()
    while found := {pk for pk, parent in above.items() if parent in found}:
        levels += 1
    return levels
