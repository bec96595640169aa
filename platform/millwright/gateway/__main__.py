"""Run the gateway: its API on a local socket, its metrics on a TCP port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket as sockets
from pathlib import Path
from typing import Any

import click
import structlog
import uvicorn

from millwright.settings import get_settings

from .app import Gateway, create_app, create_metrics_app
from .limits import Cells

log = structlog.get_logger("millwright.gateway")


class _Server(uvicorn.Server):
    """Two servers in one loop: signals are handled once, below."""

    def install_signal_handlers(self) -> None:  # kept for older uvicorn
        return

    def capture_signals(self):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        return nullcontext()


async def serve(
    socket: Path,
    cells: Path,
    metrics_host: str,
    metrics_port: int,
    schedule: Path | None = None,
    recorded: Path | None = None,
    keys: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. `keys`: the folder of its own OPC UA certificate, made when first needed."""
    gateway = Gateway(Cells(cells), schedule=schedule, recorded=recorded, keys=keys)
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    # The socket's mode is the whole access control: only this user may ask.
    old = os.umask(0o177)
    listener = sockets.socket(sockets.AF_UNIX)
    try:
        listener.bind(str(socket))
    finally:
        os.umask(old)
    common: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": 3,
    }
    api = _Server(uvicorn.Config(create_app(gateway), lifespan="on", **common))
    metrics = _Server(
        uvicorn.Config(
            create_metrics_app(gateway),
            host=metrics_host,
            port=metrics_port,
            lifespan="off",
            **common,
        )
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        api.should_exit = metrics.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("gateway listens", socket=str(socket), metrics=f"{metrics_host}:{metrics_port}")
    try:
        await asyncio.gather(api.serve(sockets=[listener]), metrics.serve())
    finally:
        socket.unlink(missing_ok=True)


@click.command()
@click.option("--socket", type=click.Path(path_type=Path), help="Local socket of the API.")
@click.option("--cells", type=click.Path(path_type=Path), help="File with the cells' CIDRs (JSON).")
@click.option("--probes", type=click.Path(path_type=Path), help="File with what to probe (JSON).")
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option("--metrics-port", type=int, help="Default: the settings' gateway port.")
def main(
    socket: Path | None,
    cells: Path | None,
    probes: Path | None,
    metrics_host: str,
    metrics_port: int | None,
) -> None:
    """The gateway into the cells."""
    settings = get_settings()
    asyncio.run(
        serve(
            socket or settings.gateway_socket,
            cells or settings.run_dir / "cells.json",
            metrics_host,
            metrics_port or settings.gateway_port,
            probes or settings.run_dir / "probes.json",
            settings.run_dir / "recorded.json",
            settings.home / "gateway",
        )
    )


if __name__ == "__main__":
    main()
