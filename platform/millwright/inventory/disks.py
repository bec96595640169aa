"""Disks that were set aside: what a removal would take, and a person's word for it. The orchestrator acts on it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import HostHealth

from .models import Drift, OldDisk

#: A word counts for so long: what cannot be done by then is asked for anew, by somebody who has looked again.
HOLDS = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be removed. `word` is what has to be said for it; `against`: what stands in the way now."""

    host: str
    pool: str
    name: str
    machine: str
    generation: int
    allocation_bytes: int
    first_seen: dt.datetime
    word: str
    against: list[str]


def removal(row: OldDisk) -> Removal:
    """What would be removed, and what stands in the way as far as it is known here; changes nothing."""
    against = []
    if row.host.health != HostHealth.UP:
        against.append(
            _("%(host)s is not up: nothing can be removed there now") % {"host": row.host.name}
        )
    if row.removal_asked_at is not None:
        against.append(_("%(name)s has asked for it already") % {"name": row.removal_name})
    return Removal(
        row.host.name,
        row.pool,
        row.name,
        row.machine or row.owner,
        row.generation,
        row.allocation_bytes,
        row.first_seen,
        row.name,
        against,
    )


@transaction.atomic
def ask_removal(actor: Any, row: OldDisk, *, word: str, reason: str) -> OldDisk:
    """Write down that a person wants the disk gone for good; the orchestrator removes it if no machine has it.

    Raises:
        PermissionRefused: the person does not keep the pool.
        ValidationError: the word is not the disk's name, there is no reason, or something stands in the way.
    """
    require(actor, "pool")
    row = OldDisk.objects.select_for_update(of=("self",)).select_related("host").get(pk=row.pk)
    wrong: dict[str, str] = {}
    if word != row.name:
        wrong["word"] = _("%(word)r: the disk's name is wanted, %(name)s") % {
            "word": word[:200],
            "name": row.name,
        }
    if not reason.strip():
        wrong["reason"] = _("say why: it stands in the audit trail")
    elif len(reason) > 300:
        wrong["reason"] = _("at most 300 characters")
    if against := removal(row).against:
        wrong["disk"] = "; ".join(against)
    if wrong:
        raise ValidationError(wrong)
    row.removal_by, row.removal_name = actor, str(actor)
    row.removal_reason, row.removal_asked_at, row.refused = reason.strip(), timezone.now(), ""
    row.save()
    record(actor, "old_disk.ask", row, reason=row.removal_reason, **_told(row))
    return row


@transaction.atomic
def removed(row: OldDisk) -> None:
    """It is gone from its host by a person's word."""
    record(row.removal_by, "old_disk.remove", row, reason=row.removal_reason, **_told(row))
    Drift.objects.filter(host=row.host, kind="old_disk", name=row.name).delete()
    row.delete()


@transaction.atomic
def refuse(row: OldDisk, why: str) -> None:
    """It was not removed, and is not tried again by the same word."""
    record(
        row.removal_by, "old_disk.refused", row, reason=row.removal_reason, why=why, **_told(row)
    )
    row.removal_by, row.removal_asked_at, row.removal_name = None, None, ""
    row.removal_reason, row.refused = "", why[:300]
    row.save()


def _told(row: OldDisk) -> dict[str, Any]:
    return {
        "machine": row.machine or row.owner,
        "generation": row.generation,
        "allocation_bytes": row.allocation_bytes,
    }
