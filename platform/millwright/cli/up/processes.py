"""Step: portal, orchestrator, gateway, Prometheus, host agents and the example's device, under supervision."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import httpx

from millwright.cli.client import wait_for
from millwright.cli.errors import CliError
from millwright.cli.supervision import Program, Supervision
from millwright.gateway import GatewayClient, GatewayError
from millwright.gateway.limits import write_cells
from monitoring import (
    PrometheusConfig,
    alertmanager_command,
    alertmanager_program,
    write,
    write_alertmanager,
)

from .people import DISCOVERY_TOKEN
from .steps import Done, Plan

SIMULATOR = "device-filling-line"


def in_netns(name: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command inside a network namespace; elsewhere everything stays as it is."""
    return ("nsenter", f"--net=/run/netns/{name}", "--", *command) if name else command


def programs(plan: Plan) -> list[Program]:
    """Every process of this installation."""
    settings, python = plan.settings, sys.executable
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        raise CliError("prometheus is not installed (Debian package prometheus)")
    listed = [
        Program(
            "portal",
            (
                python,
                "-m",
                "uvicorn",
                "millwright.settings.asgi:application",
                "--host",
                settings.portal_host,
                "--port",
                str(settings.portal_port),
                "--workers",
                str(settings.portal_workers),
                "--no-access-log",
                "--no-server-header",
                "--timeout-graceful-shutdown",
                "5",
            ),
        ),
        Program("orchestrator", (python, "-m", "millwright.orchestrator"), stop_s=30),
        Program(
            "gateway",
            in_netns(
                plan.gateway_netns,
                (python, "-m", "millwright.gateway", "--metrics-host", plan.cell["gateway"]),
            ),
            priority=50,
        ),
        Program(
            "prometheus",
            (
                prometheus,
                f"--config.file={settings.home / 'prometheus' / 'prometheus.yml'}",
                f"--storage.tsdb.path={settings.home / 'prometheus' / 'data'}",
                "--storage.tsdb.retention.time=30d",
                f"--web.listen-address=127.0.0.1:{settings.prometheus_port}",
                "--log.level=warn",
            ),
            stop_s=30,
            ours=False,
        ),
    ]
    if (alertmanager := alertmanager_program()) is not None:
        folder = settings.home / "alertmanager"
        command = alertmanager_command(alertmanager, folder, settings.alertmanager_port)
        listed.append(Program("alertmanager", command, ours=False))
    for host in plan.hosts:
        address = host["address"] or "127.0.0.1"
        listed.append(
            Program(
                f"agent-{host['name']}",
                in_netns(
                    host["agent_netns"],
                    (
                        python,
                        "-m",
                        "monitoring.agent",
                        "--uri",
                        host["agent_uri"],
                        "--host",
                        address,
                        "--port",
                        str(settings.agent_port),
                    ),
                ),
            )
        )
    listed.append(simulator(plan))
    return listed


def simulator(plan: Plan) -> Program:
    """The filling station: a Modbus remote I/O with physics, in its own namespace of the cell."""
    command = (
        sys.executable,
        "-m",
        "industrial.cli",
        "simulator",
        "filling-line",
        "--host",
        plan.device["address"],
        "--port",
        "502",
    )
    return Program(SIMULATOR, in_netns(plan.device["netns"], command))


def prometheus_config(plan: Plan) -> PrometheusConfig:
    settings = plan.settings
    return PrometheusConfig(
        portal_url=settings.public_url,
        token_file=settings.secrets_dir / DISCOVERY_TOKEN,
        static={
            "millwright-orchestrator": f"127.0.0.1:{settings.orchestrator_metrics_port}",
            "millwright-gateway": f"{plan.cell['gateway']}:{settings.gateway_port}",
            "prometheus": f"127.0.0.1:{settings.prometheus_port}",
        },
        portal_metrics="/api/v1/prometheus/metrics",
        alertmanager=f"127.0.0.1:{settings.alertmanager_port}" if alertmanager_program() else "",
    )


def start(plan: Plan) -> Done:
    """Have all processes running and answering."""
    settings = plan.settings
    changes = []
    write_cells(settings.run_dir / "cells.json", [plan.cell["cidr"]])
    reload_prometheus = write(prometheus_config(plan), settings.home / "prometheus")
    if reload_prometheus:
        changes.append("Prometheus' configuration")
    reload_alertmanager = alertmanager_program() is not None and write_alertmanager(
        settings.home / "alertmanager"
    )
    if reload_alertmanager:
        changes.append("Alertmanager's configuration")
    supervision = Supervision(settings, plan.root)
    wanted = programs(plan)
    states = supervision.states()
    running = {
        name
        for name in ("prometheus", "alertmanager")
        if states.get(name, {}).get("state") == "running"
    }
    changes += supervision.ensure(wanted, cpus=plan.daemon_cpus)
    supervision.wait_running([program.name for program in wanted], limit_s=90)
    for name, changed in (("prometheus", reload_prometheus), ("alertmanager", reload_alertmanager)):
        if changed and name in running:
            supervision.signal(name, "HUP")
    for name, look in _health(plan).items():
        try:
            wait_for(look, limit_s=90, what=f"{name} to answer", every_s=0.3)
        except CliError as error:
            raise CliError(f"{error}\n{supervision.log_tail(name)}") from None
    return Done.of(changes, detail=f"{len(wanted)} processes")


def _health(plan: Plan) -> dict[str, Any]:
    settings = plan.settings

    def portal() -> bool:
        plan.api("olga").get("status/")
        return True

    def gateway() -> bool:
        with GatewayClient(settings.gateway_socket) as client:
            return bool(client.health()["ok"])

    def url(address: str) -> Any:
        return lambda: httpx.get(address, timeout=5, trust_env=False).status_code == 200

    checks = {
        "portal": portal,
        "gateway": gateway,
        "orchestrator": url(f"http://127.0.0.1:{settings.orchestrator_metrics_port}/metrics"),
        "prometheus": url(f"http://127.0.0.1:{settings.prometheus_port}/-/ready"),
    }
    if alertmanager_program() is not None:
        checks["alertmanager"] = url(f"http://127.0.0.1:{settings.alertmanager_port}/-/ready")
    return {name: _quiet(look) for name, look in checks.items()}


def _quiet(look: Any) -> Any:
    def quiet() -> bool:
        try:
            return bool(look())
        except (CliError, GatewayError, httpx.HTTPError):
            return False

    return quiet


def log_folder(plan: Plan) -> Path:
    return plan.settings.log_dir
