"""Copies of what controllers retain: kept while they run, given back to one whose disk died with its host.

No page and no interface shows a copy's values: they are the process's own. Of when it is, and how large, is told.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from industrial.runtime.retained import (
    MOST_BYTES,
    SYMBOLS,
    VALUES,
    RetainedError,
    RetainedFile,
    read_retained,
)
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import HostHealth, MachineObserved, OperationState
from millwright.environments.models import Machine, Operation
from millwright.environments.sizes import takes_programs

from .models import ProgramVersion, RetainedCopy

__all__ = [
    "KEPT",
    "MOST_BYTES",
    "Asked",
    "before_loss_s",
    "described",
    "due",
    "keep",
    "package",
    "usable",
]

#: Copies of each machine: one is used, the others stand in for it where it is damaged. Beside them stays the newest of
#: the placements before, since a rebuild may have made no use of it.
KEPT = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A controller that is asked, as it was placed then: an answer counts for that placement alone."""

    machine: UUID
    host_id: int
    host: str
    generation: int


def due() -> list[Asked]:
    """Controllers that run on hosts which answer and that nothing is being done to; the oldest copies first."""
    specs = TemplateVersion.objects.values_list("pk", "spec")
    controllers = [pk for pk, spec in specs if takes_programs(spec)]
    busy = Operation.objects.filter(
        state__in=(OperationState.RUNNING, OperationState.UNDOING), machine__isnull=False
    )
    rows = (
        Machine.objects.filter(
            template_version__in=controllers,
            observed=MachineObserved.RUNNING,
            host__health=HostHealth.UP,
        )
        .exclude(pk__in=busy.values("machine"))
        .values_list("pk", "host_id", "host__name", "generation", "retained_as_of")
    )
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    found = sorted(rows, key=lambda row: (row[4] or never, row[0]))
    return [Asked(*row[:4]) for row in found]


def keep(asked: Asked, data: bytes, as_of: dt.datetime) -> bool:
    """Keep what a controller's file said when it was asked at `as_of`; returns whether it is news.

    What was asked of an earlier placement is not kept: the machine may have been rebuilt with other values since.

    Raises:
        RetainedError: it is no whole file of retained values.
    """
    file = read_retained(data)
    with transaction.atomic():
        return _keep(asked, data, file, as_of)


def _keep(asked: Asked, data: bytes, file: RetainedFile, as_of: dt.datetime) -> bool:
    machine = (
        Machine.objects.select_for_update(no_key=True, of=("self",))
        .filter(pk=asked.machine, generation=asked.generation, host=asked.host_id)
        .first()
    )
    if machine is None:
        return False
    found = list(RetainedCopy.objects.filter(machine=machine).defer("data"))
    # Taken while this plant's clock was ahead: nobody knows of when they are, and they would end all copying until then.
    now = timezone.now()
    ahead = [row.pk for row in found if row.as_of > now and row.generation == asked.generation]
    rows = [row for row in found if row.pk not in ahead]
    same = [row for row in rows if row.saved_ns == file.saved_ns and row.scan == file.scan]
    newest = rows[0] if rows else None
    if newest is not None and newest.generation == asked.generation:
        if same or as_of <= newest.as_of:
            # Nothing has been saved since, or an answer overtook this one.
            return False
    elif same:
        # Given back and not run yet, or moved: it is as old as it was.
        as_of = same[0].as_of
    fields: dict[str, Any] = {
        "as_of": as_of,
        "saved_ns": file.saved_ns,
        "scan": min(file.scan, 2**63 - 1),
        "layout_hash": file.layout_hash,
        "values_sha256": file.values_sha256,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "data": data,
    }
    if (
        newest is not None
        and newest.generation == asked.generation
        and newest.values_sha256 == file.values_sha256
    ):
        RetainedCopy.objects.filter(pk=newest.pk).update(**fields)
    else:
        RetainedCopy.objects.create(machine=machine, generation=asked.generation, **fields)
        earlier = next((row.pk for row in rows if row.generation < asked.generation), None)
        old = [row.pk for row in rows[KEPT - 1 :] if row.pk != earlier]
        RetainedCopy.objects.filter(pk__in=old).delete()
    RetainedCopy.objects.filter(pk__in=ahead).delete()
    Machine.objects.filter(pk=machine.pk).update(retained_as_of=as_of)
    return True


def usable(machine: Machine) -> list[RetainedCopy]:
    """Copies that a machine may be rebuilt with, newest first: those of earlier placements."""
    return list(
        RetainedCopy.objects.filter(machine=machine, generation__lt=machine.generation)[: KEPT + 1]
    )


def described(
    machine: Machine, rows: list[RetainedCopy], program_version: str | None
) -> dict[str, dict[str, Any]]:
    """Variables of the copies' layouts that the program which comes has not: layout → symbols. Two queries.

    They are those of the newest version with that layout which the machine ever ran.
    """
    wanted = {row.layout_hash for row in rows}
    ran = Q(deployments__machine=machine)
    known = ProgramVersion.objects.filter(
        ran | Q(pk=program_version) if program_version else ran, layout_hash__in=wanted
    )
    found: dict[str, UUID] = {}
    layouts = known.order_by("created_at").values_list("pk", "layout_hash").distinct()
    for pk, layout in layouts:
        found[layout] = pk
    for pk, layout in layouts:
        if str(pk) == str(program_version):
            found.pop(layout, None)
    symbols = ProgramVersion.objects.filter(pk__in=found.values()).values_list(
        "layout_hash", "symbols"
    )
    return {layout: each for layout, each in symbols if each}


def package(row: RetainedCopy, symbols: dict[str, Any] | None) -> dict[str, bytes]:
    """Files of the package that gives a copy back: the values, and their variables (`described`).

    The values were checked whole before they were kept; that they are still the same is told by their SHA-256.

    Raises:
        RetainedError: what is kept is damaged.
    """
    data = bytes(row.data)
    found = hashlib.sha256(data).hexdigest()
    if found != row.sha256:
        raise RetainedError(f"the kept copy is damaged: SHA-256 {found}, not {row.sha256}")
    files = {VALUES: data}
    if symbols:
        files[SYMBOLS] = json.dumps(symbols, sort_keys=True).encode()
    return files


def before_loss_s(as_of: dt.datetime | None, lost_at: dt.datetime | None) -> float | None:
    """Seconds of the process that a copy does not have when its host was lost at that moment."""
    if as_of is None or lost_at is None:
        return None
    return max(0.0, (lost_at - as_of).total_seconds())
