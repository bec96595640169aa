"""Step: the simulated filling station, registered and mapped to the program's tags."""

from __future__ import annotations

from typing import Any

from millwright.cli.client import Api
from millwright.cli.nouns.environments import LIVE, follow

from .steps import Done, Plan

NAME = "filling-station"


#: Tag, area, register, type, direction: the station's remote I/O as the example's program names it.
POINTS = (
    ("Main.sensor", "input", 0, "UINT", "in"),
    ("Main.counter", "input", 1, "UINT", "in"),
    ("Main.present", "discrete", 0, "BOOL", "in"),
    ("Main.stop_ok", "discrete", 1, "BOOL", "in"),
    ("Main.valve", "coil", 0, "BOOL", "out"),
    ("Main.conveyor", "coil", 1, "BOOL", "out"),
)


def example_points() -> list[dict[str, Any]]:
    """The points as the API takes them. A silent station stops the line: its inputs fall to zero."""
    return [
        {
            "tag": tag,
            "area": area,
            "register": str(register),
            "data_type": data_type,
            "direction": direction,
            "fail": "zero" if area == "discrete" else "hold",
        }
        for tag, area, register, data_type, direction in POINTS
    ]


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
    points = example_points()
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
