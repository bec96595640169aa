"""Step: hosts into the inventory through the API, seen by the watcher and probed."""

from __future__ import annotations

from typing import Any

from millwright.cli.client import wait_for
from millwright.cli.errors import CliError

from .steps import Done, Plan

#: What the orchestrator finds out about a host by doing it.
PROBES = ("kvm", "fifo", "memory_lock", "hugepages", "isolation", "cgroup_cpu", "nwfilter")


def register(plan: Plan) -> Done:
    """Have the hosts registered, up and probed: without that, placement would know nothing of them."""
    api = plan.api("olga")
    changes = []
    known = {row["name"]: row for row in api.rows("hosts/")}
    for host in plan.hosts:
        address = host["address"] or "127.0.0.1"
        before = known.get(host["name"])
        same = before and all(before[key] == host[key] for key in ("uri", "address", "policy"))
        if same:
            continue
        api.post(
            "hosts/",
            {
                "name": host["name"],
                "uri": host["uri"],
                "address": host["address"],
                "agent_url": f"http://{address}:{plan.settings.agent_port}",
                "policy": host["policy"],
            },
        )
        changes.append(f"{'changed' if before else 'registered'} {host['name']}")
    names = {host["name"] for host in plan.hosts}
    rows: dict[str, dict[str, Any]] = {}

    def up() -> bool:
        rows.update({row["name"]: row for row in api.rows("hosts/")})
        return all(rows[name]["state"] == "up" for name in names)

    try:
        wait_for(up, limit_s=120, what="hosts to be seen by the orchestrator", every_s=0.5)
    except CliError as error:
        bad = [
            f"{name}: {rows[name]['state']} {rows[name]['health_reason']}"
            for name in sorted(names)
            if name in rows
        ]
        raise CliError(f"{error} ({'; '.join(bad)})") from None
    changes += _probed(plan, names)
    words = ", ".join(f"{name} {rows[name]['accel']}" for name in sorted(names))
    return Done.of(changes, detail=words)


def _probed(plan: Plan, names: set[str]) -> list[str]:
    """Wait for the probes; say each verdict as it comes."""
    api = plan.api("olga")
    said: set[tuple[str, str]] = set()
    first = True

    def done() -> bool:
        nonlocal first
        for row in api.rows("hosts/"):
            if row["name"] not in names:
                continue
            for kind, probe in row["capabilities"].items():
                if (row["name"], kind) not in said:
                    said.add((row["name"], kind))
                    if not first:
                        plan.say(f"{row['name']}: {kind} {probe.get('verdict')}")
        first = False
        return all((name, kind) in said for name in names for kind in PROBES)

    if done():
        return []
    before = len(said)
    wait_for(done, limit_s=600, what="probes of the hosts", every_s=1.0)
    return [f"{len(said) - before} probes"]
