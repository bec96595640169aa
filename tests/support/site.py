"""A plant in the database whose hosts are the lab's: real libvirt, real QEMU guests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from millwright.catalog.actions import sync_template
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.actions import ensure_cell, ensure_site, register_host
from millwright.inventory.models import Host

from tests.support.lab import CACHE, RunningLab
from tests.support.plant import Plant, build_plant
from vmtemplates import build_image, load_templates


class Site:
    """A plant whose orchestrator drives the real lab."""

    def __init__(self, plant: Plant, lab: RunningLab) -> None:
        self.plant, self.lab = plant, lab

    def until(self, condition: Callable[[], Any], what: str, limit_s: float = 120.0) -> Any:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.1)
        steps = [
            (row.kind, row.state, row.error, list(row.steps.values_list("name", "state", "detail")))
            for row in Operation.objects.all()
        ]
        pytest.fail(
            f"never: {what}; operations: {steps}; hosts: {list(Host.objects.values_list('name', 'health', 'health_reason'))}"
        )

    def request(self, name: str) -> Environment:
        plant = self.plant
        made = actions.create_request(plant.engineer, **plant.request_fields(name, size="tiny"))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
        return Environment.objects.get(name=name)

    def build(self, name: str = "probe") -> Machine:
        environment = self.request(name)
        self.until(
            lambda: Environment.objects.get(pk=environment.pk).state in ("running", "failed"),
            "built",
        )
        environment.refresh_from_db()
        assert environment.state == "running", (
            Operation.objects.filter(environment=environment).first().error
        )
        return environment.machines.get()

    def remove(self) -> None:
        for environment in Environment.objects.present():
            self.until(
                lambda row=environment: (
                    not Operation.objects.live().filter(environment=row).exists()
                ),
                "idle",
            )
            environment.refresh_from_db()
            if environment.state != "removing":
                actions.remove_environment(self.plant.administrator, environment)
        self.until(lambda: not Environment.objects.present().exists(), "removed")

    def virsh(self, host: str, *words: str) -> str:
        uri = self.lab.lab.uri(self.lab.lab.host(host))
        return subprocess.run(
            ["virsh", "-c", uri, *words], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def hosts_up(self, what: str) -> None:
        """Wait until the orchestrator has seen every host."""
        count = len(self.lab.plan.hosts)
        self.until(
            lambda: Host.objects.filter(health="up", memory_bytes__gt=0).count() == count, what
        )


def lay_out(
    lab: RunningLab,
    *,
    spec: dict[str, Any] | None = None,
    files: dict[str, Any] | None = None,
    cmdline: str = "",
) -> Site:
    """Write the plant: the lab's cell and hosts, the tiny template with changes to spec, image files, kernel line."""
    plant = build_plant()
    Host.objects.all().delete()
    plan = lab.plan
    plant.cell = ensure_cell(
        None,
        slug="line1",
        cidr=plan.cell_cidr,
        bridge=plan.host_cell_bridge,
        gateway_address=plan.cell_address(2),
        monitoring_address=plan.cell_address(1),
        first_address=plan.cell_address(100),
        last_address=plan.cell_address(199),
    )
    template = load_templates()["tiny"]
    image = build_image(template, CACHE / "images").as_dict()
    image["files"] = {**image["files"], **(files or {})}
    image["cmdline"] = f"{image['cmdline']} {cmdline}".strip()
    plant.template = sync_template(
        None, {**template.as_spec(), "outputs": {"http": 7}, **(spec or {})}, image=image
    )
    ensure_site()
    for host in plan.hosts:
        register_host(
            None, name=host.name, uri=lab.lab.uri(host), policy=host.policy, address=host.address
        )
    return Site(plant, lab)
