"""The `vplc` command: a controller on any Linux.

Each verb is a module of its own, imported when it is asked for: an edit that shall run at once does not wait for what
other verbs need.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import click

#: verb → its module here.
_VERBS = {
    "bench": "pack",
    "build": "compile",
    "check": "compile",
    "ctl": "tools",
    "describe": "describe",
    "diff": "describe",
    "force": "tools",
    "monitor": "tools",
    "pack": "pack",
    "record": "replay",
    "replay": "replay",
    "run": "run",
    "simulate": "simulate",
    "status": "tools",
    "test": "test",
    "trace": "tools",
    "trust": "trust",
}


class _Verbs(click.Group):
    """A group whose verbs are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_VERBS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f".{_VERBS[cmd_name]}", __name__)
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Verbs)
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
    import asyncio
    import signal

    from industrial.modbus.hotloop import run as run_loop
    from industrial.runtime.paths import Paths
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
    import asyncio

    from industrial.simulators.filling_line import FillingLine, RemoteIo

    asyncio.run(RemoteIo(FillingLine()).run(host, port))


@main.command()
def scan() -> None:
    """The scan process alone, in the foreground."""
    import subprocess

    from industrial.runtime import ensure_engine
    from industrial.runtime.paths import Paths

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
