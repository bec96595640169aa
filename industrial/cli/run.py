"""`vplc run`: a project folder as a controller, on any Linux."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path

import click


@click.command()
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all."
)
@click.option("--modbus", type=click.IntRange(0, 65535), help="Port; 0 chooses one.")
@click.option("--opcua", type=click.IntRange(0, 65535), help="Port; 0 chooses one.")
@click.option("--metrics", type=click.IntRange(0, 65535), help="Port; 0 chooses one.")
@click.option("--compiler", type=click.Choice(["gcc", "tcc"]), default=None)
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")
def run(
    project: Path,
    host: str,
    modbus: int | None,
    opcua: int | None,
    metrics: int | None,
    compiler: str | None,
    shape: str,
) -> None:
    """Compile PROJECT, scan it and serve Modbus, OPC UA and metrics until Ctrl-C.

    Where both compilers are there and none is asked for, tcc's program starts at once and gcc's takes its place
    between two scans when it is ready; both compute the same bits.

    Ports are those of vplc.toml ([modbus] port and so on; 502, 4840 and 9400 by default). What is retained,
    and the key that signs what is built here, lie in PROJECT/state.
    """
    import tomllib

    from industrial.modbus.hotloop import run as run_loop
    from industrial.runtime.build import EngineBuildError
    from industrial.runtime.delivery import LocalError
    from industrial.runtime.local import LocalController, project_ports
    from industrial.runtime.protocols import Protocols
    from industrial.st import StError

    said: list[bool] = []

    def say(protocols: Protocols) -> None:
        found = protocols.bound
        if shape == "json":
            # The ports there are so far; that of OPC UA comes with the second line, 0 where it is not served.
            click.echo(json.dumps({"format": 1, "host": host, "ports": found}))
            return
        if said:
            click.echo(
                f"OPC UA listens at opc.tcp://{host}:{found['opcua']}/"
                if found["opcua"]
                else "OPC UA is not served: no user or client of security.toml may come"
            )
            return
        said.append(True)
        doors = [f"{host}:{found['modbus']}"] if "modbus" in found else []
        doors += [f"{host}:{found['modbus_tls']} with TLS"] if "modbus_tls" in found else []
        modbus_at = " and ".join(doors)
        click.echo(
            f"runs: Modbus {modbus_at}, metrics http://{host}:{found['metrics']}/metrics, "
            f"OPC UA follows; Ctrl-C ends it"
        )

    manifest_file = project / "vplc.toml"
    try:
        text = manifest_file.read_text(encoding="utf-8") if manifest_file.exists() else ""
        ports = project_ports(tomllib.loads(text), host)
        ports = replace(
            ports,
            modbus=ports.modbus if modbus is None else modbus,
            opcua=ports.opcua if opcua is None else opcua,
            metrics=ports.metrics if metrics is None else metrics,
        )
        controller = LocalController(project, ports, compiler or "")
        controller.deliver()

        async def serve() -> None:
            task = asyncio.current_task()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(
                    number, lambda: task and task.cancel()
                )
            with contextlib.suppress(asyncio.CancelledError):
                await controller.run(say)

        run_loop(serve())
    except (LocalError, StError, EngineBuildError, tomllib.TOMLDecodeError) as error:
        raise click.ClickException(str(error)) from None
