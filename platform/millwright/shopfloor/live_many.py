"""Live values of many machines at once: for pages that look at them together, one question to the gateway."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy as _

from millwright.environments.models import Machine
from millwright.gateway import GatewayError

from . import live
from .models import Deployment, ProgramVersion

#: Machines described to the gateway in one question, which must not be too long; the others follow.
MOST_NEW = 40


@dataclass(frozen=True, slots=True)
class Target:
    """A machine, where it answers (None: it does not run) and which version's tags it shows."""

    machine: UUID
    name: str
    environment: UUID
    address: str | None
    version: UUID | None


class ManyReader:
    """Remembers the tags of versions, which never change, and whom the gateway watches already."""

    def __init__(self) -> None:
        self._tags: dict[UUID, list[dict[str, Any]]] = {}
        self._described: dict[UUID, Target] = {}

    def targets(self, environments: Collection[UUID]) -> list[Target]:
        """The machines of the environments: three queries, whatever their number."""
        machines = list(
            Machine.objects.filter(environment__in=environments)
            .select_related("address_claim")
            .only("name", "environment_id", "observed", "address_claim__address")
            .order_by("name")
        )
        # The newest last, so that it stays.
        active = dict(
            Deployment.objects.filter(machine__in=machines, state="active")
            .order_by("created_at")
            .values_list("machine_id", "program_version_id")
        )
        wanted = set(active.values())
        # What nobody looks at any more is forgotten.
        self._tags = {version: rows for version, rows in self._tags.items() if version in wanted}
        rows = ProgramVersion.objects.filter(pk__in=wanted - self._tags.keys())
        for version, symbols in rows.values_list("pk", "symbols"):
            self._tags[version] = live.shown(symbols)
        return [
            Target(row.pk, row.name, row.environment_id, live.address_of(row), active.get(row.pk))
            for row in machines
        ]

    def read(self, targets: Iterable[Target]) -> dict[UUID, live.Reading]:
        """Machine → its tags as they are now. Asks no database."""
        tags = {row: self._tags.get(row.version, []) if row.version else [] for row in targets}
        there = {row.machine for row in tags}
        self._described = {key: row for key, row in self._described.items() if key in there}
        asked: dict[str, dict[str, Any] | None] = {}
        new = 0
        for row, rows in tags.items():
            if row.address is None or not rows:
                continue
            if self._described.get(row.machine) == row:
                asked[str(row.machine)] = None
            elif new < MOST_NEW:
                new += 1
                asked[str(row.machine)] = {"host": row.address, "tags": live.wanted(rows)}
                self._described[row.machine] = row
        answers: dict[str, Any] = {}
        failed: Any = ""
        if asked:
            try:
                with live.gateway() as client:
                    answers = client.look_tags(asked)
            except GatewayError as error:
                silent = type(error) is GatewayError
                failed = _("the gateway does not answer now") if silent else str(error)
        readings = {}
        for row, rows in tags.items():
            answer = answers.get(str(row.machine))
            if answer is None:
                # It is told again whom to watch.
                self._described.pop(row.machine, None)
            elif answer["age_s"] is None and not answer["error"]:
                # Nothing was read yet: the page keeps what it shows.
                continue
            error = _("the machine is not running") if row.address is None else failed
            values, age_s = {}, None
            if answer is not None:
                values, age_s, error = answer["values"], answer["age_s"], answer["error"]
            elif rows and not error:
                continue
            readings[row.machine] = live.Reading(
                [{**symbol, "value": values.get(symbol["path"])} for symbol in rows], age_s, error
            )
        return readings
