"""Memory of a controller with 1000 tags, both protocols served: `python -m tests.bench.memory` prints JSON, MiB of PSS.

The protocols' process is that of `vplc run`, which has compiled the program itself before; the scan's is as in a guest.
Wanted: at most 160 MB in all, the scan at most 15 MB.
"""

from __future__ import annotations

import argparse
import json
import time

from tests.bench.controller import controller, pss_mib
from tests.bench.modbus import load
from tests.support.libmodbus import NoLibmodbus

TAGS = 1000
SECURITY = '[opcua]\nanonymous_read = "a measurement on loopback"\n'


def source(tags: int) -> str:
    """A program with so many variables, each changed in each scan."""
    names = [f"v{n}" for n in range(tags)]
    declared = "\n".join(f"{name} : DINT;" for name in names)
    changed = "\n".join(f"{name} := {name} + 1;" for name in names)
    return f"PROGRAM Main\nVAR\nn AT %QW0 : INT;\n{declared}\nEND_VAR\nn := n + 1;\n{changed}\nEND_PROGRAM\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long it runs before")
    chosen = parser.parse_args()
    with controller(source(TAGS), security=SECURITY, opcua=True) as running:
        asked = 0
        try:
            asked = load(running.modbus, 2, chosen.seconds)
        except NoLibmodbus:
            time.sleep(chosen.seconds)
        protocols, scan = pss_mib(running.process.pid), pss_mib(running.scan_pid)
    print(
        json.dumps(
            {
                "tags": TAGS,
                "modbus_requests_before": asked,
                "protocols_mib": round(protocols, 1),
                "scan_mib": round(scan, 1),
                "all_mib": round(protocols + scan, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
