"""Forced variables of controllers: how many by Prometheus, which and since when by the guest itself."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import httpx
from django.core.exceptions import ValidationError
from django.db import connections

from millwright.desk import Refused
from millwright.environments.models import Machine
from millwright.hypervisor import Hypervisor, HypervisorError, NotFound
from millwright.operations import Hypervisors
from millwright.settings import get_settings
from millwright.shopfloor.forces import to_ask

log = logging.getLogger(__name__)

#: In the guest: its command, and where it keeps who forced what and when.
VPLC = "/opt/vplc/bin/vplc"
NAMES = "/run/vplc/forces.json"
#: A command of Python under emulation.
ASK_S = 60.0
#: Within this a controller's count is its present one.
FRESH = "2m"

Work = Callable[[Mapping[str, Any]], dict[str, Any]]


def works(hosts: Hypervisors) -> dict[str, Work]:
    """What the desk does for `forces` and `unforce`; both answer with the list as it is then."""

    def forces(words: Mapping[str, Any]) -> dict[str, Any]:
        return _run(hosts, words, [])

    def unforce(words: Mapping[str, Any]) -> dict[str, Any]:
        paths = words.get("paths")
        # `--`: what follows is a name, whatever it begins with.
        which = ["--all"] if paths is None else ["--", *(str(path) for path in paths)]
        return _run(hosts, words, ["clear", *which])

    return {"forces": forces, "unforce": unforce}


def _run(hosts: Hypervisors, words: Mapping[str, Any], verb: list[str]) -> dict[str, Any]:
    try:
        machine = to_ask(str(words.get("machine", "")))
    except ValidationError as error:
        raise Refused("; ".join(error.messages)) from None
    finally:
        connections.close_all()
    try:
        host = hosts.get(machine.host.name)
        done = host.agent_exec(machine.pk, [VPLC, "force", *verb], deadline_s=ASK_S)
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Refused(said[-1].removeprefix("Error: ") if said else "the controller refuses")
        told = json.loads(done.stdout)
        # Older controllers answer with the variables alone.
        values = told["forced"] if told.get("format") == 1 else told
        notes = _notes(host, machine.pk)
    except HypervisorError as error:
        raise Refused(str(error)) from None
    except (ValueError, KeyError, AttributeError):
        raise Refused("the controller's answer cannot be read") from None
    rows = [
        {"path": path, "value": value, **notes.get(path, {"at": "", "by": ""})}
        for path, value in values.items()
    ]
    return {"rows": sorted(rows, key=lambda row: str(row["path"]))}


def _notes(host: Hypervisor, machine: UUID) -> dict[str, dict[str, str]]:
    """Path → when and by whom; older controllers note the path alone."""
    try:
        kept = json.loads(host.agent_read_file(machine, NAMES))
    except (NotFound, ValueError):
        return {}
    return {
        str(row["path"]): {"at": str(row.get("at", "")), "by": str(row.get("by", ""))}
        for row in kept.values()
        if isinstance(row, dict) and "path" in row
    }


def forces_round(now: dt.datetime) -> int:
    """Note at machines how many variables are forced, as Prometheus knows it; returns how many notes changed.

    What it does not know stays as it was: a controller that is silent may well be forced still.
    """
    try:
        counts = _counts()
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        log.info("forced variables: Prometheus does not answer (%s)", type(error).__name__)
        return 0
    noted = {
        (row["environment__name"], row["name"]): row
        for row in Machine.objects.filter(forced__gt=0).values(
            "pk", "environment__name", "name", "forced"
        )
    }
    changed = 0
    for place, row in noted.items():
        count = counts.get(place)
        if count is not None and count != row["forced"]:
            since = {} if count else {"forced_since": None}
            changed += Machine.objects.filter(pk=row["pk"]).update(forced=count, **since)
    for (environment, name), count in counts.items():
        if count and (environment, name) not in noted:
            changed += (
                Machine.objects.present()
                .filter(environment__name=environment, name=name)
                .update(forced=count, forced_since=now)
            )
    return changed


def _counts() -> dict[tuple[str, str], int]:
    """(environment, machine) → forced variables."""
    url = f"http://127.0.0.1:{get_settings().prometheus_port}"
    query = f"last_over_time(vplc_forced_variables[{FRESH}])"
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        answer = client.get("/api/v1/query", params={"query": query})
    answer.raise_for_status()
    return {
        (row["metric"].get("environment", ""), row["metric"].get("machine", "")): int(
            float(row["value"][1])
        )
        for row in answer.json()["data"]["result"]
    }
