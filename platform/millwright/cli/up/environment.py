"""Steps: the engineer's request, the manager's approval, and the environment as it comes up."""

from __future__ import annotations

from typing import Any

from millwright.cli.client import Api, wait_for
from millwright.cli.errors import ApiError, CliError
from millwright.cli.nouns.environments import LIVE, follow

from .steps import Done, Plan

STATION = "this-machine"
#: What the engineering station may write: the level's set-point.
WRITE_RANGES = [{"area": "holding", "first": 3, "last": 3}]


def present(api: Api, name: str) -> dict[str, Any] | None:
    """The environment of that name that has not been removed."""
    try:
        return dict(api.get(f"environments/{name}/"))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _size(plan: Plan) -> str:
    """The template's first size: the smallest."""
    template, _image = plan.images[plan.template]
    sizes = template.model_dump(mode="json", by_alias=True)["sizes"]
    return str(next(iter(sizes)) if isinstance(sizes, dict) else sizes[0]["name"])


def request(plan: Plan) -> Done:
    """Have an approved request for the environment: from whatever point an earlier run reached."""
    changes = _station(plan)
    erin, manager = plan.api("erin"), plan.api("max")
    if present(erin, plan.environment):
        return Done.of(changes, detail="" if changes else "unchanged: the environment is there")
    row = _open_request(erin, plan.environment)
    if row is None:
        row = erin.post(
            "requests/",
            {
                "name": plan.environment,
                "project": plan.project,
                "template": plan.template,
                "size": _size(plan),
                "cell": plan.cell["slug"],
                "program_version": plan.facts.get("program_version"),
                "lease_days": 30,
                "justification": "Control of the filling station on line 1",
            },
        )
        changes.append("erin wrote the request")
    if row["state"] == "draft":
        row = erin.post(f"requests/{row['id']}/submit/")
        changes.append(f"erin submitted it: {_chosen(row)}")
    if row["state"] == "submitted":
        row = manager.post(f"requests/{row['id']}/approve/", {"reason": "wanted for line 1"})
        changes.append("max approved it")
    return Done.of(changes)


def _chosen(row: dict[str, Any]) -> str:
    host = (row.get("placement") or {}).get("chosen")
    return f"it would run on {host}" if host else "waiting"


def _open_request(api: Api, name: str) -> dict[str, Any] | None:
    for row in api.rows("requests/", name=name):
        if row["state"] in ("draft", "submitted"):
            return dict(row)
    return None


def _station(plan: Plan) -> list[str]:
    """This machine as an engineering station with a named write range."""
    api = plan.api("ada")
    wanted = {"cidr": f"{plan.cell['station']}/32", "write_ranges": WRITE_RANGES}
    found = api.first("stations/", name=STATION, project__slug=plan.project)
    if found and all(found[key] == value for key, value in wanted.items()):
        return []
    api.post(
        "stations/", {"project": plan.project, "cell": plan.cell["slug"], "name": STATION, **wanted}
    )
    return [f"station {STATION}: {plan.cell['station']} may write holding register 3"]


def provisioned(plan: Plan) -> Done:
    """Wait for the environment to run; a failed one is tried again once."""
    api = plan.api("erin")
    row = wait_for(lambda: present(api, plan.environment), limit_s=60, what="the environment")
    changes = []
    tried = False
    while row["state"] != "running":
        operation = api.first("operations/", environment__name=plan.environment)
        if operation is not None and operation["state"] in LIVE:
            changes += _watch(plan, operation["id"])
        elif row["state"] == "degraded":
            # Running with something amiss: the proof says whether it works.
            break
        elif row["state"] == "stopped":
            made = api.post(f"environments/{plan.environment}/start/", {"reason": "millwright up"})
            follow(api, made[0]["id"])
            changes.append("started it")
        elif operation is not None and operation["state"] == "failed" and not tried:
            tried = True
            plan.say(f"{operation['kind']} failed ({operation['error']}); once more")
            api.post(f"operations/{operation['id']}/retry/")
        elif (
            row["state"] in ("reserved", "provisioning")
            and operation is not None
            and operation["state"] == "succeeded"
        ):
            wait_for(
                lambda: (present(api, plan.environment) or {}).get("state") == "running",
                limit_s=60,
                what="the environment to run",
            )
        else:
            words = row["state_reason"] or (operation or {}).get("error", "")
            raise CliError(f"{plan.environment} is {row['state']}: {words}")
        row = present(api, plan.environment) or row
    machine = row["machines"][0]
    plan.facts["machine"] = machine
    missing = (
        f"; best effort: {', '.join(map(str, machine['best_effort']))}"
        if machine["best_effort"]
        else ""
    )
    return Done.of(
        changes, detail=f"{machine['name']} on {machine['host']} at {machine['address']}{missing}"
    )


def _watch(plan: Plan, operation_id: str) -> list[str]:
    """Say each step as it ends."""
    api = plan.api("erin")
    said: set[str] = set()

    def ended() -> dict[str, Any] | None:
        row = dict(api.get(f"operations/{operation_id}/"))
        for step in row["steps"]:
            if step["state"] in ("succeeded", "failed") and step["name"] not in said:
                said.add(step["name"])
                plan.say(f"{step['title']}: {step['state']}, {step['elapsed_s'] or 0:.1f} s")
        return None if row["state"] in LIVE else row

    row = wait_for(ended, limit_s=900, what="provisioning", every_s=0.5)
    return [f"{row['kind']}: {row['state']}"]
