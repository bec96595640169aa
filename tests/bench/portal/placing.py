"""`python -m tests.bench.portal.placing [--hosts 1000] [--machines 20000]`: a placement that keeps hosts to spare.

The plant of `tests.bench.portal` on a private PostgreSQL server, its machines of four sizes and two classes, a
pair in each two hundred kept apart (`--near`: one of ten of the pairs kept near each other instead, which sums
do not tell of). Timed: a request's submission by the API with no host kept to spare and with one; what of it is
the placement (`preview`) and what the room for hosts to die adds (`spared`); and the whole plant read and asked,
as it was done before. ms by the clock, and of the processors for the process and its database session
together; queries.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

GIB = 2**30


def _vary(machines: int, *, near: bool) -> None:
    """Sizes, classes and rules, of which the generated plant has one each."""
    from millwright.balancing.models import Balancer, PlacementRule
    from millwright.environments.models import Machine
    from millwright.inventory.models import CpuClaim, Host

    rows = list(Machine.objects.order_by("environment__name").only("pk", "service_class"))
    for number, row in enumerate(rows):
        kind = number * 7919 % 10
        row.memory_bytes = (GIB // 2, 4 * GIB, 8 * GIB, 16 * GIB)[number * 104729 % 4]
        row.service_class = "realtime" if kind < 3 else "shared"
        row.realtime_cores = int(kind < 3)
        row.cpu_assignment = {"claims": {"1": "1"}} if kind < 3 else {}
        row.cpu_reservation = 0.25 if kind == 4 else 0.0
        row.protected = kind != 9
        row.movability = "approval" if kind < 3 else "free"
    changed = ("memory_bytes", "service_class", "realtime_cores", "cpu_assignment")
    Machine.objects.bulk_update(
        rows, [*changed, "cpu_reservation", "protected", "movability"], batch_size=500
    )
    CpuClaim.objects.filter(machine__service_class="shared").delete()
    policy = {"housekeeping_cpus": "0", "realtime_cpus": "1-15", "shared_cpus": "16-31"}
    Host.objects.update(policy=policy)
    CpuClaim.objects.filter(cpu__gt=15).delete()
    # Racks of twenty, each a failure domain.
    hosts = list(Host.objects.order_by("name"))
    for number, host in enumerate(hosts):
        host.labels = {"domain": f"rack{number // 20}"}
    Host.objects.bulk_update(hosts, ["labels"])
    for number in range(0, machines, 200):
        kind_of = "near" if near and not number % 2000 else "apart"
        rule = PlacementRule.objects.create(name=f"r{number}", kind=kind_of)
        # Protected ones, of other hosts each time.
        first = number + number // 20 + 3
        rule.machines.set([rows[index % machines] for index in (first, first + 1)])
    Balancer.objects.update_or_create(pk=1)


def _drafts(count: int) -> list[str]:
    """Addresses at which drafts of one engineer are submitted."""
    from millwright.accounts.models import User
    from millwright.catalog.models import TemplateVersion
    from millwright.environments import actions
    from millwright.inventory.models import Cell

    engineer = User.objects.get(username="person-0")
    project = engineer.memberships.get().project
    for name in ("vcpus", "realtime_cores", "environments"):
        setattr(project, f"quota_{name}", 10**6)
    project.quota_memory_bytes = project.quota_disk_bytes = 2**50
    project.save()
    version = TemplateVersion.objects.get(template__name="vplc-bench")
    version.spec = version.spec | {"class": "shared"}
    version.save()
    return [
        f"/api/v1/requests/{row.pk}/submit/"
        for row in (
            actions.create_request(
                engineer,
                project=project,
                template_version=version,
                size="small",
                name=f"asked-{number}",
                lease_days=7,
                cell=Cell.objects.get(slug="cell-1"),
            )
            for number in range(count)
        )
    ]


def _timed(works: list[Callable[[], Any]], session: Callable[[], float]) -> str:
    """The first is not timed: it counts queries."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        works[0]()
        queries = len(captured)
    wall, cpu = [], []
    for work in works[1:]:
        begun, used, database = time.perf_counter(), time.process_time(), session()
        work()
        wall.append((time.perf_counter() - begun) * 1e3)
        cpu.append((time.process_time() - used) * 1e3 + session() - database)
    return (
        f"clock {statistics.median(wall):7.1f} (most {max(wall):7.1f})  "
        f"processors {statistics.median(cpu):7.1f} (most {max(cpu):7.1f})  queries {queries}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--near", action="store_true", help="rules that sums do not tell of")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="millwright-bench-"))
        from tests.support.postgres import private_server

        server = stack.enter_context(private_server())
        os.environ["MILLWRIGHT_DATABASE_URL"] = server.create_database("bench")
        os.environ["MILLWRIGHT_HOME"] = home
        os.environ["DJANGO_SETTINGS_MODULE"] = "millwright.settings.django"
        import django
        from millwright.settings import connections

        connections.answers_requests = True
        django.setup()
        import logging

        from django.core.management import call_command
        from django.db import connection
        from django.test import Client
        from millwright.accounts.models import User

        logging.disable(logging.WARNING)
        call_command("migrate", verbosity=0)
        from tests.bench.portal.__main__ import _session_cpu
        from tests.bench.portal.generate import generate

        generate(asked.hosts, asked.machines, 500, 1000, 1000)
        _vary(asked.machines, near=asked.near)
        addresses = _drafts(2 * (asked.rounds + 1))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        from millwright.balancing.models import Balancer
        from millwright.balancing.plant import read_plant
        from millwright.balancing.sparing import spared
        from millwright.core.balancing import Vm, failure_capacity
        from millwright.core.lifecycle import ServiceClass
        from millwright.environments.placement import preview
        from millwright.settings.heap import settle

        settle()
        session = _session_cpu()
        caller = Client(headers={"host": "127.0.0.1"})
        backend = "django.contrib.auth.backends.ModelBackend"
        caller.force_login(User.objects.get(username="person-0"), backend=backend)

        def submit(address: str) -> Callable[[], None]:
            def work() -> None:
                answer = caller.post(address, "{}", content_type="application/json")
                assert answer.status_code == 200, answer.content

            return work

        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        works = [submit(address) for address in addresses]
        for k in (0, 1):
            Balancer.objects.update(spare_hosts=k)
            part = works[k * (asked.rounds + 1) :][: asked.rounds + 1]
            print(f"submission, {k} hosts to spare ", _timed(part, session), flush=True)
        spec = {"class": "shared", "sizes": _sizes()}
        plan = preview(spec, "small", cell="cell-1", strict=False)

        def standing(verdict: Any) -> Vm:
            shared = ServiceClass.SHARED
            cell = frozenset(("cell:cell-1",))
            return Vm("new", 2, GIB // 2, verdict.host, service_class=shared, requires=cell)

        again = asked.rounds + 1
        placed = [lambda: preview(spec, "small", cell="cell-1", strict=False)] * again
        print("  preview                   ", _timed(placed, session), flush=True)
        for k in (1, 2, 3):
            Balancer.objects.update(spare_hosts=k)
            kept = [lambda: spared(plan, standing)] * (again if k == 1 else 4)
            print(f"  spared, {k} hosts           ", _timed(kept, session), flush=True)
        print("whole plant read            ", _timed([read_plant] * 4, session), flush=True)
        plant = read_plant()
        whole = [lambda: failure_capacity(plant, 1)] * 4
        print("  one host lost, of all     ", _timed(whole, session), flush=True)
        connection.close()


def _sizes() -> list[dict[str, Any]]:
    from millwright.catalog.models import TemplateVersion

    found: list[dict[str, Any]] = TemplateVersion.objects.get(template__name="vplc-bench").spec[
        "sizes"
    ]
    return found


if __name__ == "__main__":
    main()
