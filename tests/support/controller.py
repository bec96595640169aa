"""A controller of a deployed plant: asked for as people ask for it, and what is written beside it."""

from __future__ import annotations

import time
from typing import Any

from millwright.cli.client import wait_for
from millwright.cli.nouns.shopfloor import upload, wait_built

from tests.support import deploying, nspawn, watching

#: Counts its scans in two holding registers.
PROGRAM = """PROGRAM Counter
VAR
    low AT %QW0 : INT;
    high AT %QW1 : INT;
    n : DINT;
END_VAR
n := n + 1;
low := DINT_TO_INT(n MOD 10000);
high := DINT_TO_INT(n / 10000);
END_PROGRAM
"""
NAME = "counter-1"
#: Where the client that polls it stands.
DESK = "10.60.1.9"


def requested(plant: deploying.Plant) -> watching.ModbusPoller:
    """Request, approve and build it through the portal; a client polls it from the third server."""
    # Not on the portal's server: that one is lost later.
    plant.play("drain", "-e", f"drain_host={plant.first.name}")
    ada, erin, manager = (plant.portal.api(name) for name in ("ada", "erin", "max"))
    begun = time.monotonic()
    ada.post("stations/", station("line-1", "desk", DESK))
    files = {"src/main.st": PROGRAM}
    version = wait_built(erin, upload(erin, "line-1", "counter", files)["id"], 600)
    compiled_s = time.monotonic() - begun
    made = erin.post(
        "requests/",
        {
            "name": NAME,
            "project": "line-1",
            "template": "vplc",
            "size": "small",
            "cell": "line1",
            "program_version": version["id"],
            "lease_days": 30,
            "justification": "the line's counter",
        },
    )
    erin.post(f"requests/{made['id']}/submit/")
    approved = time.monotonic()
    manager.post(f"requests/{made['id']}/approve/", {"reason": "wanted"})

    def runs() -> dict[str, Any] | None:
        row = environment(plant)
        assert row["state"] != "failed", row
        return row if row["state"] == "running" else None

    row = wait_for(runs, limit_s=2400, what="the environment")
    client = watching.ModbusPoller(
        plant.servers[3], deploying.CELL["bridge"], DESK, row["machines"][0]["address"]
    )
    client.start()
    wait_for(lambda: client.seen().answers > 2, limit_s=900, what="the controller's answers")
    print(
        f"compiled after {compiled_s:.0f} s; answers by Modbus {time.monotonic() - approved:.0f} s after its approval"
    )
    return client


def station(project: str, name: str, address: str) -> dict[str, Any]:
    """An engineering station that may read."""
    return {
        "project": project,
        "cell": deploying.CELL["slug"],
        "name": name,
        "cidr": f"{address}/32",
        "write_ranges": [],
    }


def environment(plant: deploying.Plant) -> dict[str, Any]:
    """The environment as the portal has it."""
    return dict(plant.portal.api("erin").get(f"environments/{NAME}/"))


def host_of(plant: deploying.Plant) -> nspawn.Server:
    """The server that carries it."""
    name = environment(plant)["machines"][0]["host"]
    return next(server for server in plant.servers.values() if server.name == name)


def write_until_lost(plant: deploying.Plant, seconds: float) -> list[tuple[float, str]]:
    """Changes one after another, then the portal's server is lost: when each was acknowledged, and its name."""
    ada, written = plant.portal.api("ada"), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = f"desk-{len(written)}"
        # Of a line without a controller: nothing but the database is to do with it.
        ada.post("stations/", station("line-2", name, f"10.60.1.{200 + len(written) % 50}"))
        written.append((time.time(), name))
        time.sleep(0.5)
    plant.first.destroy()
    return written
