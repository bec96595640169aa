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
from .pool_memory import held_in_pools

#: Bounds of what people set.
MOST_SHARES, MOST_CPUS = int(BOUNDS["shares"][1]), 100_000.0
MOST_MEMORY = int(BOUNDS["memory_limit_bytes"][1])
MIB = 2**20


@dataclass(frozen=True, slots=True)
class PoolDraft:
    """A pool as somebody writes it. `parent`: a name, or "" for the top; `balance_mode`: "" as above it."""

    name: str = ""
    parent: str = ""
    shares: int = 1000
    cpu_reservation: float = 0.0
    cpu_limit: float | None = None
    balance_mode: str = ""
    memory_reservation_bytes: int = 0
    #: what its machines and those of pools below it have together at most
    memory_limit_bytes: int | None = None
    memory_shares: int = 1000


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool in the tree: how deep it lies, its machines, and the mode that holds for them.

    `held_bytes`: memory of the machines in it and below it that cannot be taken back.
    """

    pool: ResourcePool
    depth: int
    machines: int
    mode: str
    own: bool
    held_bytes: int = 0

    @property
    def over(self) -> bool:
        """Whether more is held than its limit lets: it was set lower since, and nothing more is placed."""
        limit = self.pool.memory_limit_bytes
        return limit is not None and self.held_bytes > limit

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
        row.memory_reservation_bytes,
        row.memory_limit_bytes,
        row.memory_shares,
    )


def tree(mode: str) -> list[PoolRow]:
    """Every pool below its parent, by name; `mode`: the plant's. Three queries."""
    held = held_in_pools()
    below: dict[int | None, list[ResourcePool]] = {}
    for row in ResourcePool.objects.annotate(count=Count("machines")).order_by("name"):
        below.setdefault(row.parent_id, []).append(row)

    def walk(parent: int | None, depth: int, above: str) -> Iterator[PoolRow]:
        for row in below.get(parent, ()):
            holds = row.balance_mode or above
            count: int = row.count  # type: ignore[attr-defined]  # annotated
            yield PoolRow(row, depth, count, holds, bool(row.balance_mode), held.get(row.pk, 0))
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
    made.memory_reservation_bytes = draft.memory_reservation_bytes
    made.memory_limit_bytes = draft.memory_limit_bytes
    made.memory_shares = draft.memory_shares
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
    for field in ("shares", "memory_shares"):
        shares = getattr(draft, field)
        if not 1 <= shares <= MOST_SHARES:
            text = _("%(value)s: from %(low)s to %(high)s")
            wrong(field, text % {"value": shares, "low": 1, "high": MOST_SHARES})
    for field in ("cpu_reservation", "cpu_limit"):
        value = getattr(draft, field)
        if value is not None and not (math.isfinite(value) and 0 <= value <= MOST_CPUS):
            text = _("%(value)s: from %(low)s to %(high)s")
            wrong(field, text % {"value": value, "low": 0, "high": f"{MOST_CPUS:g}"})
    if draft.cpu_limit is not None and draft.cpu_reservation > draft.cpu_limit:
        text = _("%(value)s is above the limit of %(limit)s")
        wrong("cpu_reservation", text % {"value": draft.cpu_reservation, "limit": draft.cpu_limit})
    for field, text in _wrong_memory(draft, row, parent):
        wrong(field, text)
    if draft.balance_mode and draft.balance_mode not in set(Mode):
        text = _("%(value)r: one of %(known)s")
        wrong("balance_mode", text % {"value": draft.balance_mode, "known": ", ".join(Mode)})
    if errors:
        raise ValidationError({name: list(texts) for name, texts in errors.items()})
    return parent


def _wrong_memory(
    draft: PoolDraft, row: ResourcePool | None, parent: ResourcePool | None
) -> Iterator[tuple[str, str]]:
    """What of the pool's memory cannot be: by itself, within the pool above it, and around those in it."""
    kept, limit = draft.memory_reservation_bytes, draft.memory_limit_bytes
    for field, value in (("memory_reservation_bytes", kept), ("memory_limit_bytes", limit)):
        if value is not None and not 0 <= value <= MOST_MEMORY:
            text = _("%(value)s: from %(low)s to %(high)s")
            yield field, text % {"value": value, "low": 0, "high": MOST_MEMORY}
    if limit is not None and kept > limit:
        text = _("%(value)s is above the limit of %(limit)s")
        yield "memory_reservation_bytes", text % {"value": mib(kept), "limit": mib(limit)}
    above = limit_above(parent)
    inside = _reserved_in(row, None) if row is not None else 0
    if above is not None and above.memory_limit_bytes is not None:
        most = above.memory_limit_bytes
        if limit is not None and limit > most:
            text = _("%(value)s is above the %(limit)s to which %(name)s is limited")
            values = {"value": mib(limit), "limit": mib(most), "name": above.name}
            yield "memory_limit_bytes", text % values
        beside = _reserved_in(above, row.pk if row is not None else None)
        mine = max(kept, inside)
        if mine + beside > most:
            text = _(
                "%(value)s, and %(beside)s beside it, are above the %(limit)s to which %(name)s is limited"
            )
            values = {"value": mib(mine), "beside": mib(beside), "limit": mib(most)}
            yield "memory_reservation_bytes", text % {**values, "name": above.name}
    if row is None:
        return
    if limit is not None and limit < inside:
        text = _("%(value)s: pools in it have reserved %(inside)s")
        yield "memory_limit_bytes", text % {"value": mib(limit), "inside": mib(inside)}
    holds = limit if limit is not None else above.memory_limit_bytes if above is not None else None
    if holds is None:
        return
    larger = ResourcePool.objects.filter(pk__in=_below(row), memory_limit_bytes__gt=holds)
    if (child := larger.order_by("name").first()) is not None:
        text = _("%(value)s: %(name)s in it is limited to %(limit)s")
        values = {"value": mib(holds), "name": child.name}
        values["limit"] = mib(child.memory_limit_bytes or 0)
        yield "memory_limit_bytes", text % values


def mib(size_bytes: int) -> str:
    """Bytes for people."""
    return f"{size_bytes / MIB:.0f} MiB"


def limit_above(pool: ResourcePool | None) -> ResourcePool | None:
    """The nearest pool from this one upwards whose memory is limited."""
    steps = 0
    while pool is not None and pool.memory_limit_bytes is None and steps <= MOST_DEPTH:
        pool, steps = pool.parent, steps + 1
    return pool if pool is not None and pool.memory_limit_bytes is not None else None


def _below(row: ResourcePool) -> set[int]:
    """Pools that lie in it, however deep."""
    above = dict(ResourcePool.objects.values_list("pk", "parent_id"))
    return {pk for pk in above if pk != row.pk and row.pk in _upwards(pk, above)}


def _reserved_in(pool: ResourcePool, but: int | None) -> int:
    """What the pools right below it have reserved of memory, or those below them where that is more.

    `but`: without this one, and what lies in it.
    """
    rows = list(ResourcePool.objects.values_list("pk", "parent_id", "memory_reservation_bytes"))

    def kept(pk: int, seen: frozenset[int]) -> int:
        if pk in seen:
            return 0
        inner = sum(
            kept(key, seen | {pk}) for key, parent, _ in rows if parent == pk and key != but
        )
        own = next(size for key, _, size in rows if key == pk)
        return max(own, inner)

    return sum(
        kept(key, frozenset()) for key, parent, _ in rows if parent == pool.pk and key != but
    )


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
