"""Trends: the last ten minutes from the gateway, and longer ones of recorded tags, which Prometheus keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import MachineObserved
from millwright.environments.models import Machine
from millwright.gateway.recorder import EVERY_S, MOST_TAGS, Recorded
from millwright.gateway.requests import WatchedTag
from millwright.settings import get_settings

from .live import modbus_place, shown_symbols, trend
from .models import Deployment, RecordedTag

#: Minutes that a trend may span; the first is what the gateway has of whoever looks.
SPANS = (10, 60, 480, 1440)
#: Points of a longer trend: as many as a wide screen shows.
COLUMNS = 480


@dataclass(frozen=True, slots=True)
class Trend:
    """`time`: seconds since 1970; `values`: a column for each tag; `step_s`: between two of them; `error`: in words."""

    time: list[float] = field(default_factory=list)
    values: dict[str, list[Any]] = field(default_factory=dict)
    step_s: float = 1.0
    error: str = ""


@transaction.atomic
def start(actor: Any, machine: Machine, tag: str) -> RecordedTag:
    """Record a tag from now on.

    Raises:
        ValidationError: no tag that Modbus shows, or too many of this machine.
    """
    project = machine.environment.project
    require(actor, "engineer", project)
    known = {symbol["path"].lower(): symbol["path"] for symbol in shown_symbols(machine)}
    if tag.lower() not in known:
        raise ValidationError(
            {"tag": _("%(tag)r: expected a located variable of the running program") % {"tag": tag}}
        )
    path = known[tag.lower()]
    rows = RecordedTag.objects.filter(machine=machine)
    if (found := rows.filter(tag=path).first()) is not None:
        return found
    if rows.count() >= MOST_TAGS:
        raise ValidationError(
            {
                "tag": _("%(n)s tags of this machine are recorded; that is the most")
                % {"n": MOST_TAGS}
            }
        )
    made = RecordedTag.objects.create(machine=machine, tag=path)
    record(actor, "trend.record", machine, project=project, tag=path)
    return made


@transaction.atomic
def stop(actor: Any, machine: Machine, tag: str) -> bool:
    """Record it no longer; what was recorded stays as long as Prometheus keeps it. False: it was not recorded."""
    project = machine.environment.project
    require(actor, "engineer", project)
    gone, _rows = RecordedTag.objects.filter(machine=machine, tag=tag).delete()
    if gone:
        record(actor, "trend.stop", machine, project=project, tag=tag)
    return bool(gone)


def targets() -> list[Recorded]:
    """What the gateway shall record: of running machines, where their programs have the tags now."""
    wanted: dict[Any, list[str]] = {}
    machines: dict[Any, Machine] = {}
    rows = RecordedTag.objects.filter(machine__observed=MachineObserved.RUNNING).select_related(
        "machine__environment", "machine__address_claim"
    )
    for row in rows:
        machines[row.machine_id] = row.machine
        wanted.setdefault(row.machine_id, []).append(row.tag)
    symbols = dict(
        Deployment.objects.filter(machine__in=machines, state="active").values_list(
            "machine_id", "program_version__symbols"
        )
    )
    found = []
    for key, machine in machines.items():
        claim = getattr(machine, "address_claim", None)
        tags = []
        for symbol in (symbols.get(key) or {}).get("symbols", []):
            place = modbus_place(symbol) if symbol["path"] in wanted[key] else None
            if place is not None:
                tags.append(
                    WatchedTag(
                        path=symbol["path"],
                        area=place["modbus_area"],
                        address=place["modbus_address"],
                        type=symbol["type"],
                    )
                )
        if claim is not None and tags:
            found.append(
                Recorded(
                    machine=key,
                    environment=machine.environment.name,
                    name=machine.name,
                    host=str(claim.address),
                    tags=tuple(tags),
                )
            )
    return found


def history(machine: Machine, minutes: int) -> Trend:
    """The machine's trend over so many of `SPANS`.

    Raises:
        ValidationError: another span.
    """
    if minutes not in SPANS:
        raise ValidationError(
            {
                "minutes": _("%(value)s: expected one of %(spans)s")
                % {"value": minutes, "spans": ", ".join(map(str, SPANS))}
            }
        )
    if minutes == SPANS[0]:
        known = trend(machine)
        return Trend(known["time"], known["values"])
    step_s = max(EVERY_S, minutes * 60 / COLUMNS)
    try:
        series = _asked(machine, minutes * 60, step_s)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        why = _("Prometheus does not answer (%(why)s)") % {"why": type(error).__name__}
        return Trend(step_s=step_s, error=why)
    times = sorted({at for values in series.values() for at in values})
    # A time at which nothing was recorded stands between two pieces, so that a chart shows the gap.
    filled: list[float] = []
    for at in times:
        if filled and at - filled[-1] > 1.5 * step_s:
            filled.append(filled[-1] + step_s)
        filled.append(at)
    return Trend(
        filled,
        {tag: [values.get(at) for at in filled] for tag, values in sorted(series.items())},
        step_s,
    )


def _asked(machine: Machine, seconds: float, step_s: float) -> dict[str, dict[float, float]]:
    """Tag → time → value, from Prometheus."""
    end = time.time() // step_s * step_s
    # Names are slugs: nothing in them ends a string.
    query = f'millwright_tag{{environment="{machine.environment.name}",machine="{machine.name}"}}'
    asked: dict[str, str | float] = {
        "query": query,
        "start": end - seconds,
        "end": end,
        "step": step_s,
    }
    url = f"http://127.0.0.1:{get_settings().prometheus_port}"
    with httpx.Client(base_url=url, timeout=10.0, trust_env=False) as client:
        answer = client.get("/api/v1/query_range", params=asked)
    answer.raise_for_status()
    found: dict[str, dict[float, float]] = {}
    for row in answer.json()["data"]["result"]:
        column = found.setdefault(row["metric"]["tag"], {})
        column |= {float(at): float(value) for at, value in row["values"]}
    return found
