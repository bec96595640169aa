"""`python -m industrial.runtime`: the protocol process as a controller starts it, Modbus first.

`vplc protocols` does the same for people; this start imports neither a compiler nor a command-line library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import signal
from pathlib import Path

from industrial.modbus.hotloop import run

from .front import Front
from .paths import Paths


async def _serve(options: argparse.Namespace) -> None:
    paths = Paths.default()
    paths.prepare()
    front = Front(paths)
    with contextlib.suppress(OSError, ValueError):  # said again, aloud, by what comes after
        front.load()
    port = options.modbus
    if front.settings.plain:
        port = await front.modbus.start(options.host, port)
    # In a thread: Modbus answers meanwhile.
    protocols = await asyncio.to_thread(importlib.import_module, "industrial.runtime.protocols")
    await protocols.serve(
        paths, options.trust, protocols.Ports(options.host, port, options.opcua, options.metrics, options.modbus_tls), front
    )  # fmt: skip


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser("industrial.runtime", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - the firewall decides
    parser.add_argument("--modbus", type=int, default=502)
    parser.add_argument("--modbus-tls", type=int, default=802)
    parser.add_argument("--opcua", type=int, default=4840)
    parser.add_argument("--metrics", type=int, default=9400)
    parser.add_argument("--trust", type=Path, help="file with the keys whose signatures count")
    options = parser.parse_args()

    async def until_told() -> None:
        task = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, lambda: task and task.cancel())
        with contextlib.suppress(asyncio.CancelledError):
            await _serve(options)

    run(until_told())


if __name__ == "__main__":
    main()
