"""Step: the simulated filling station, registered and mapped to the program's tags."""

from __future__ import annotations

from typing import Any

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.nouns.environments import LIVE, follow

from .steps import Done, Plan

NAME = "filling-station"


def example_points(plan: Plan) -> list[dict[str, Any]]:
    """The example's own binding of tags to the station's registers, from its io/ folder."""
    import tomllib

    from . import example_folder

    folder = example_folder(plan.root) / "io"
    points = []
    for path in sorted(folder.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        for point in document.get("point", []):
            points.append(
                {
                    "tag": point["tag"],
                    "area": point["area"],
                    "register": str(point["address"]),
                    "data_type": point.get(
                        "type", "BOOL" if point["area"] in ("coil", "discrete") else "INT"
                    ),
                    "direction": point["direction"],
                    "scale": point.get("scale", 1.0),
                    "offset": point.get("offset", 0.0),
                    "fail": point.get("fail", document.get("fail", "hold")),
                    "substitute": point.get("substitute", 0.0),
                }
            )
    if not points:
        raise CliError(f"{folder}: no points in its .toml files")
    return points


def connect(plan: Plan) -> Done:
    """Have the device registered and mapped, and the configuration delivered."""
    api = plan.api("erin")
    changes = []
    found = api.first("devices/", name=NAME, project__slug=plan.project)
    if found is None:
        found = api.post(
            "devices/",
            {
                "name": NAME,
                "project": plan.project,
                "cell": plan.cell["slug"],
                "protocol": "modbus_tcp",
                "address": plan.device["address"],
                "port": 502,
                "unit": 1,
                "rate_ms": 100,
                "timeout_ms": 500,
            },
        )
        changes.append(f"device {NAME} at {plan.device['address']}:502")
    machine = plan.facts["machine"]["id"]
    before = _mapped(api, machine, found["id"])
    points = example_points(plan)
    api.post("mappings/set/", {"machine": machine, "device": found["id"], "points": points})
    if before != _mapped(api, machine, found["id"]):
        changes.append(f"{len(points)} points mapped, the firewall opened for the pair")
    _delivered(api, plan.environment)
    return Done.of(changes)


def _mapped(api: Api, machine: str, device: str) -> set[tuple[Any, ...]]:
    keys = (
        "tag",
        "area",
        "register",
        "data_type",
        "direction",
        "scale",
        "offset",
        "fail",
        "substitute",
    )
    return {
        tuple(row[key] for key in keys)
        for row in api.rows("mappings/", machine=machine, device=device)
    }


def _delivered(api: Api, environment: str) -> None:
    """Wait for every delivery that is on its way."""
    for row in list(api.rows("operations/", environment__name=environment)):
        if row["state"] in LIVE:
            follow(api, row["id"])
