"""A small plant in the database: people, projects, a cell, two hosts, a template, a program."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.test import Client
from django.utils import timezone
from millwright.accounts.models import Membership, Project, User
from millwright.catalog.actions import sync_template
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions as environments
from millwright.environments.models import Machine, Operation
from millwright.inventory.actions import ensure_cell, ensure_site, register_host
from millwright.inventory.models import Cell, Host, OldDisk

GIB = 2**30

SPEC: dict[str, Any] = {
    "name": "vplc",
    "version": "1",
    "title": "Virtual PLC",
    "summary": "An IEC 61131-3 controller.",
    "class": "realtime",
    "sizes": [
        {
            "name": "small",
            "vcpus": [{"role": "housekeeping"}, {"role": "control"}],
            "memory_bytes": GIB // 2,
            "disk_bytes": 2 * GIB,
        }
    ],
    "outputs": {"modbus": 502, "opcua": 4840, "metrics": 9400},
}


@dataclass
class Plant:
    """What tests speak of."""

    engineer: User
    approver: User
    operator: User
    stranger: User
    administrator: User
    project: Project
    other: Project
    cell: Cell
    hosts: list[Host]
    template: TemplateVersion

    def request_fields(self, name: str = "filling-line-1", **changes: Any) -> dict[str, Any]:
        return {
            "name": name,
            "project": self.project,
            "template_version": self.template,
            "size": "small",
            "cell": self.cell,
            "lease_days": 30,
            **changes,
        }

    def request_form(self, **changes: Any) -> dict[str, Any]:
        """The page's form, filled in but for the name."""
        return {
            "project": self.project.pk,
            "template_version": self.template.pk,
            "size": "small",
            "cell": self.cell.pk,
            "lease_days": "30",
            **changes,
        }


def signed_in(user: User) -> Client:
    """A browser in which the person has signed in."""
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def serving(plant: Plant, **outputs: int) -> Machine:
    """An approved machine as if it ran on the first host and served these ports."""
    made = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Machine.objects.update(observed="running", host=plant.hosts[0])
    version = Machine.objects.get().template_version
    version.spec["outputs"] = outputs
    version.save()
    return Machine.objects.with_names().get()


def build_plant() -> Plant:
    """Write the plant. Hosts are up, as if the watcher had seen them."""
    ensure_site()
    people = {
        name: User.objects.create_user(name) for name in ("erin", "max", "oda", "stan", "ada")
    }
    people["oda"].plant_role = "operator"
    people["ada"].plant_role = "administrator"
    for name in ("oda", "ada"):
        people[name].save()
    project = Project.objects.create(slug="line-1", name="Line 1", quota_environments=2)
    other = Project.objects.create(slug="line-2", name="Line 2")
    Membership.objects.create(project=project, user=people["erin"], role="engineer")
    Membership.objects.create(project=project, user=people["max"], role="approver")
    Membership.objects.create(project=other, user=people["stan"], role="engineer")
    cell = ensure_cell(
        None,
        slug="line1",
        cidr="10.90.1.0/24",
        bridge="mwc-line1",
        gateway_address="10.90.1.2",
        monitoring_address="10.90.1.1",
        first_address="10.90.1.100",
        last_address="10.90.1.199",
    )
    hosts = []
    for number, realtime in ((1, "1"), (2, "")):
        host = register_host(
            None,
            name=f"mw0-h{number}",
            uri=f"fake://mw0-h{number}",
            policy={
                "housekeeping_cpus": "0",
                "realtime_cpus": realtime,
                "shared_cpus": "0",
                "best_effort": True,
                "memory_reserved_bytes": 0,
            },
        )
        Host.objects.filter(pk=host.pk).update(
            health="up",
            last_seen=timezone.now(),
            memory_bytes=4 * GIB,
            disk_bytes=50 * GIB,
            disk_free_bytes=40 * GIB,
            topology={"cpus": [{"id": 0}, {"id": 1}] if realtime else [{"id": 0}]},
        )
        host.refresh_from_db()
        hosts.append(host)
    return Plant(
        people["erin"],
        people["max"],
        people["oda"],
        people["stan"],
        people["ada"],
        project,
        other,
        cell,
        hosts,
        sync_template(None, SPEC),
    )


def image_data(folder: Path) -> dict[str, Any]:
    """A template image of three small files, as the catalogue keeps it."""
    files = {}
    for name in ("kernel", "initrd", "disk"):
        path = folder / name
        path.write_bytes(name.encode() * 100)
        files[name] = {
            "path": str(path),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
    return {"name": "mw-vplc-1", "cmdline": "console=ttyS0", "virtual_bytes": 2**30, "files": files}


def disk_set_aside(plant: Plant) -> OldDisk:
    """A disk of an earlier placement on the first host, as the orchestrator keeps it."""
    now = timezone.now()
    return OldDisk.objects.create(
        host=plant.hosts[0],
        pool="default",
        name="old.qcow2",
        owner=str(uuid4()),
        machine="one/vplc",
        generation=2,
        allocation_bytes=2**20,
        capacity_bytes=2**30,
        first_seen=now,
        last_seen=now,
    )
