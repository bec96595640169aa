"""A plant of any size in the database, written in bulk: hosts, machines, people, a year of audit and operations."""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import random
from collections.abc import Iterable
from typing import Any

from django.utils import timezone
from millwright.accounts.models import Membership, Project, User
from millwright.audit.models import AuditEntry
from millwright.catalog.models import Template, TemplateVersion
from millwright.environments.models import (
    Environment,
    Machine,
    Operation,
    OperationStep,
    Request,
    StateTransition,
)
from millwright.inventory.models import AddressClaim, Cell, CpuClaim, Host
from millwright.shopfloor.models import Device, Program

GIB = 2**30
BATCH = 2000


def write(model: Any, rows: Iterable[Any]) -> int:
    count = 0
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, BATCH)):
        model.objects.bulk_create(batch)
        count += len(batch)
    return count


def asleep_of(number: int) -> bool:
    """Whether the host of this number sleeps, where some do: one of ten, none of which is down."""
    return number % 10 == 7


def generate(
    hosts: int,
    machines: int,
    people: int,
    operations: int,
    entries: int,
    seed: int = 1,
    *,
    sleep: bool = False,
) -> dict[str, int]:
    """Write the plant; the same seed gives the same plant. Returns the number of rows by model.

    `sleep`: hosts of `asleep_of` stay empty (see `sleeping`).
    """
    dice = random.Random(seed)  # noqa: S311 - a plant to measure, no secret
    now = timezone.now()

    def earlier() -> dt.datetime:
        return now - dt.timedelta(seconds=dice.randrange(365 * 86400))

    written: dict[str, int] = {}
    projects = [
        Project(slug=f"line-{n}", name=f"Line {n}", quota_environments=10_000)
        for n in range(max(1, people // 50))
    ]
    Project.objects.bulk_create(projects)
    written["people"] = write(User, (User(username=f"person-{n}") for n in range(people)))
    users = list(User.objects.filter(username__startswith="person-"))
    write(
        Membership,
        (
            Membership(project=projects[n % len(projects)], user=user, role="engineer")
            for n, user in enumerate(users)
        ),
    )
    cells = [
        Cell(
            slug=f"cell-{n}",
            cidr=f"10.{n}.0.0/16",
            bridge=f"mwc-{n}",
            gateway_address=f"10.{n}.0.2",
            monitoring_address=f"10.{n}.0.1",
            first_address=f"10.{n}.1.0",
            last_address=f"10.{n}.254.255",
        )
        for n in range(1, 11)
    ]
    for cell in cells:
        cell.save()
    template, _made = Template.objects.get_or_create(
        name="vplc-bench", defaults={"title": "Virtual PLC", "summary": "A controller."}
    )
    spec = {
        "name": "vplc",
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
    version, _made = TemplateVersion.objects.get_or_create(
        template=template, version="1", defaults={"spec": spec}
    )
    written["hosts"] = write(
        Host,
        (
            Host(
                name=f"host-{n:04}",
                uri=f"qemu+tls://host-{n:04}/system",
                health="up" if n % 50 else "down",
                memory_bytes=256 * GIB,
                disk_bytes=4096 * GIB,
                disk_free_bytes=2048 * GIB,
                last_seen=now,
                policy={"housekeeping_cpus": "0", "realtime_cpus": "1-31", "shared_cpus": "0"},
                topology={"cpus": [{"id": cpu} for cpu in range(32)]},
            )
            for n in range(hosts)
        ),
    )
    pool = list(Host.objects.filter(name__startswith="host-").order_by("name"))
    if sleep:
        pool = [host for n, host in enumerate(pool) if not asleep_of(n)]
    environments = [
        Environment(
            name=f"env-{n:05}",
            project=projects[n % len(projects)],
            owner=users[n % len(users)],
            state="running" if n % 97 else "degraded",
            lease_until=now + dt.timedelta(days=dice.randrange(1, 90)),
        )
        for n in range(machines)
    ]
    written["environments"] = write(Environment, environments)
    rows = [
        Machine(
            environment=environment,
            name="vplc",
            template_version=version,
            size="small",
            service_class="realtime",
            vcpus=2,
            realtime_cores=1,
            memory_bytes=GIB // 2,
            disk_bytes=2 * GIB,
            cell=cells[n % len(cells)],
            host=pool[n % len(pool)],
            observed="running",
            observed_at=now,
        )
        for n, environment in enumerate(environments)
    ]
    written["machines"] = write(Machine, rows)
    write(
        AddressClaim,
        (
            AddressClaim(
                cell=row.cell,
                machine=row,
                address=str(ipaddress.ip_address(row.cell.first_address) + n // len(cells)),
            )
            for n, row in enumerate(rows)
        ),
    )
    write(
        CpuClaim,
        (
            CpuClaim(
                host=row.host,
                cpu=1 + n // len(pool),
                machine=row,
                vcpu=1,
                operation=row.environment_id,
            )
            for n, row in enumerate(rows)
            if n // len(pool) < 31
        ),
    )
    written["requests"] = write(
        Request,
        (
            Request(
                name=environment.name,
                project=environment.project,
                requester=environment.owner,
                template_version=version,
                size="small",
                state="approved" if n % 40 else "submitted",
                submitted_at=now,
            )
            for n, environment in enumerate(environments)
        ),
    )
    kinds = ("provision", "start", "stop", "restart", "deliver_program", "deliver_config")
    jobs = [
        Operation(
            kind=dice.choice(kinds),
            state="succeeded" if n % 200 else "failed",
            project=row.environment.project,
            environment=row.environment,
            machine=row,
            requested_by=row.environment.owner,
            ended_at=earlier(),
        )
        for n, row in zip(range(operations), itertools.cycle(rows), strict=False)
    ]
    written["operations"] = write(Operation, jobs)
    write(
        OperationStep,
        (
            OperationStep(operation=job, position=n, name=f"s{n}", title="Start", state="succeeded")
            for job in jobs[:BATCH]
            for n in range(6)
        ),
    )
    write(
        StateTransition,
        (
            StateTransition(
                at=earlier(),
                subject_type="environment",
                subject_id=str(environment.pk),
                subject_name=environment.name,
                before="provisioning",
                after="running",
            )
            for environment in environments
        ),
    )
    verbs = ("environment.stop", "environment.start", "request.approve", "program.deploy")
    written["audit entries"] = write(
        AuditEntry,
        (
            AuditEntry(
                actor=environment.owner,
                actor_name=environment.owner.username,
                action=dice.choice(verbs),
                object_type="environment",
                object_id=str(environment.pk),
                object_name=environment.name,
                project=environment.project,
            )
            for _n, environment in zip(range(entries), itertools.cycle(environments), strict=False)
        ),
    )
    written["devices"] = write(
        Device,
        (
            Device(
                name=f"device-{n}",
                project=projects[n % len(projects)],
                cell=cells[n % len(cells)],
                address=f"10.{n % len(cells) + 1}.200.{n // len(cells) % 250 + 1}",
                port=502 + n // (len(cells) * 250),
            )
            for n in range(min(machines, 2000))
        ),
    )
    written["programs"] = write(
        Program,
        (Program(project=project, name=f"program-{n}") for project in projects for n in range(5)),
    )
    return written
