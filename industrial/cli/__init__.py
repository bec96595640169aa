"""The `vplc` command: a controller on any Linux."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import click

from industrial.runtime.paths import Paths


@click.group()
def main() -> None:
    """A virtual PLC: compile, run and look at control programs."""


@main.command()
@click.option("--host", default="0.0.0.0", show_default=True)  # noqa: S104 - the firewall decides
@click.option("--modbus", default=502, show_default=True, help="Port; 0 chooses one.")
@click.option("--opcua", default=4840, show_default=True)
@click.option("--metrics", default=9400, show_default=True)
@click.option(
    "--trust",
    type=click.Path(path_type=Path),
    help="File with the keys whose signatures count (JSON list of base64).",
)
def protocols(host: str, modbus: int, opcua: int, metrics: int, trust: Path | None) -> None:
    """Modbus, OPC UA, metrics and deliveries, beside a running vplc-scan."""
    from industrial.modbus.hotloop import run as run_loop
    from industrial.runtime.protocols import Ports
    from industrial.runtime.protocols import serve as serve_all

    paths = Paths.default()
    paths.prepare()

    async def serve() -> None:
        task = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, lambda: task and task.cancel())
        try:
            await serve_all(paths, trust, Ports(host, modbus, opcua, metrics))
        except asyncio.CancelledError:
            return

    run_loop(serve())


@main.group()
def simulator() -> None:
    """Simulated devices of a shop floor."""


@simulator.command("filling-line")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=1502, show_default=True)
def filling_line(host: str, port: int) -> None:
    """Tank, valve, conveyor and level sensor as a Modbus TCP remote I/O."""
    from industrial.simulators.filling_line import FillingLine, RemoteIo

    asyncio.run(RemoteIo(FillingLine()).run(host, port))


@main.command()
def scan() -> None:
    """The scan process alone, in the foreground."""
    from industrial.runtime import ensure_engine

    paths = Paths.default()
    paths.prepare()
    command = [
        str(ensure_engine()),
        "--shm",
        str(paths.shm),
        "--program",
        str(paths.active / "program.so"),
        "--retain",
        str(paths.retain),
    ]
    raise SystemExit(subprocess.run(command, check=False).returncode)


from .compile import build, check  # noqa: E402 - commands register on the group above
from .describe import describe, diff  # noqa: E402
from .pack import bench, pack  # noqa: E402
from .replay import record, replay  # noqa: E402
from .run import run  # noqa: E402
from .simulate import simulate  # noqa: E402
from .test import test  # noqa: E402
from .tools import ctl, force, monitor, status, trace  # noqa: E402
from .trust import trust  # noqa: E402

main.add_command(check)
main.add_command(build)
main.add_command(describe)
main.add_command(diff)
main.add_command(run)
main.add_command(record)
main.add_command(pack)
main.add_command(bench)
main.add_command(replay)
main.add_command(simulate)
main.add_command(test)
for _command in (ctl, force, monitor, status, trace, trust):
    main.add_command(_command)
