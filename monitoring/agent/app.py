"""`millwright-agent`: serve the host's metrics."""

from __future__ import annotations

import signal
import threading

import click
from prometheus_client import CollectorRegistry, start_http_server

from .collector import HostCollector
from .libvirt_reader import LibvirtReader


@click.command()
@click.option(
    "--uri", default="qemu:///system", show_default=True, help="libvirt, opened read-only."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9177, show_default=True, type=click.IntRange(0, 65535))
@click.option("--deadline-s", default=2.5, show_default=True, help="Longest wait for libvirt.")
def main(uri: str, host: str, port: int, deadline_s: float) -> None:
    """Show one host's libvirt domains and realtime facts to Prometheus. Reads only.

    Example: millwright-agent --host 10.77.0.11
    """
    registry = CollectorRegistry()
    registry.register(HostCollector(LibvirtReader(uri), deadline_s=deadline_s))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server, thread = start_http_server(port, addr=host, registry=registry)
    click.echo(f"agent: http://{host}:{server.server_port}/metrics, libvirt {uri}")
    stop.wait()
    server.shutdown()
    thread.join(5)
