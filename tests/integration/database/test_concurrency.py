"""Many at once: what must happen once happens once, on either database."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.db import IntegrityError, close_old_connections, connections, transaction
from django.utils import timezone
from millwright.accounts.actions import issue_token, make_login_link, use_login_link
from millwright.audit.models import AuditEntry
from millwright.balancing import emptying
from millwright.balancing.models import Consolidating, HostDrain
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import LifecycleError, OperationKind
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import AddressClaim, CpuClaim, Host
from millwright.operations import StepFailed
from millwright.operations.errors import NotYet
from millwright.orchestrator.store import DjangoStore
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor import deployments
from millwright.shopfloor.models import EngineeringStation, ProgramVersion
from millwright.shopfloor.stations import set_station
from rest_framework.test import APIClient

from tests.support.plant import Plant, build_plant, image_data

GIB = 2**30


@pytest.fixture
def crowd(transactional_db: None) -> Plant:
    """A plant that threads can see, with room for many environments."""
    plant = build_plant()
    for field in ("environments", "vcpus", "realtime_cores"):
        setattr(plant.project, f"quota_{field}", 50)
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 500 * GIB
    plant.project.save()
    return plant


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all calls from threads that begin together; each one's result, or the exception it raised."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], Any]) -> None:
        close_old_connections()
        barrier.wait(60)
        try:
            results[index] = call()
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return results


def _errors(results: Sequence[Any], *expected: type[Exception]) -> int:
    """How many failed; every failure must be of an expected kind."""
    failures = [result for result in results if isinstance(result, Exception)]
    for failure in failures:
        assert isinstance(failure, expected), repr(failure)
    return len(failures)


def _submitted(plant: Plant, name: str, **changes: Any) -> Request:
    request = actions.create_request(plant.engineer, **plant.request_fields(name, **changes))
    return actions.submit_request(plant.engineer, request)


def _machines(plant: Plant, count: int, *, strict_realtime: bool = True) -> list[Machine]:
    for number in range(count):
        request = actions.create_request(
            plant.engineer,
            **plant.request_fields(f"line-{number}", strict_realtime=strict_realtime),
        )
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    return list(Machine.objects.order_by("environment__name"))


@pytest.fixture
def store(crowd: Plant, tmp_path: Path) -> DjangoStore:
    """The orchestrator's store, with an image to place."""
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    return DjangoStore(str(ensure_site().pk), Ed25519PrivateKey.generate(), tmp_path)


def test_no_cpu_and_no_address_is_claimed_twice(crowd: Plant, store: DjangoStore) -> None:
    """Eight strict machines at once for five realtime cores on two hosts: five get one each."""
    for host, realtime in zip(crowd.hosts, ("1-3", "1-2"), strict=True):
        Host.objects.filter(pk=host.pk).update(
            memory_bytes=64 * GIB,
            topology={"cpus": [{"id": cpu} for cpu in range(4)]},
            policy={
                "housekeeping_cpus": "0",
                "realtime_cpus": realtime,
                "shared_cpus": "0",
                "best_effort": False,
            },
            capabilities={
                kind: {"verdict": "yes"}
                for kind in ("kvm", "fifo", "memory_lock", "hugepages", "isolation", "nwfilter")
            },
            accel="kvm",
        )
    machines = _machines(crowd, 8)

    def claim(machine: Machine) -> Callable[[], Any]:
        def until_decided() -> Any:
            # What the engine does with Retryable; bounded, so that a livelock fails.
            for _ in range(20):
                try:
                    return store.claim(machine.pk, uuid4())
                except NotYet:
                    continue
            raise AssertionError("never decided")

        return until_decided

    results = together([claim(machine) for machine in machines])
    assert _errors(results, StepFailed) == 3
    for failure in (result for result in results if isinstance(result, StepFailed)):
        assert "realtime cores: 1 wanted, 0 free" in str(failure)
    realtime = {("mw0-h1", cpu) for cpu in (1, 2, 3)} | {("mw0-h2", cpu) for cpu in (1, 2)}
    claims = list(CpuClaim.objects.values_list("host__name", "cpu", "machine"))
    assert sorted((host, cpu) for host, cpu, _ in claims) == sorted(realtime)
    placed = [machine for machine in Machine.objects.all() if machine.host_id is not None]
    assert {machine for _, _, machine in claims} == {machine.pk for machine in placed}
    assert all(machine.generation == 1 for machine in placed)
    addresses = list(AddressClaim.objects.values_list("address", flat=True))
    assert len(addresses) == len(set(addresses)) == 5


def test_claims_at_once_wake_as_few_sleeping_hosts_as_hold_them(
    crowd: Plant, store: DjangoStore
) -> None:
    """Six machines at once, of which three fit on each of two sleeping hosts: each is woken once, and nobody twice."""
    machines = _machines(crowd, 6, strict_realtime=False)
    for host in crowd.hosts:
        sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}
        Host.objects.filter(pk=host.pk).update(
            power="asleep",
            memory_bytes=int(2.1 * GIB),
            policy=host.policy | {"sleep": sleep},
        )
    results = together([lambda row=row: store.claim(row.pk, uuid4()) for row in machines[:3]])
    assert _errors(results) == 0
    (first,) = {record.host for record in results}
    assert Operation.objects.get(kind="wake_host").host.name == first
    results = together([lambda row=row: store.claim(row.pk, uuid4()) for row in machines[3:]])
    assert _errors(results) == 0
    assert {record.host for record in results} == {host.name for host in crowd.hosts} - {first}
    assert Operation.objects.filter(kind="wake_host").count() == 2
    # Looked for at once by all, they are still two orders.
    waits = together([lambda row=row: store.awaited_host(row.pk, uuid4()) for row in machines])
    assert _errors(waits) == 0
    assert {told.host for told in waits} == {host.name for host in crowd.hosts}
    assert Operation.objects.filter(kind="wake_host").count() == 2


def test_claims_at_once_call_off_emptying_a_host_once_whatever_its_rounds_do_meanwhile(
    crowd: Plant, store: DjangoStore
) -> None:
    """Three machines have room only on a host that is being emptied, while its next steps are taken."""
    first, second = crowd.hosts
    machines = _machines(crowd, 3, strict_realtime=False)
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc"}
    Host.objects.filter(pk=first.pk).update(
        administration="draining", policy=first.policy | {"sleep": sleep}
    )
    Host.objects.filter(pk=second.pk).update(administration="cordoned")
    Consolidating.objects.update_or_create(pk=1, defaults={"mode": "automatic"})
    now = timezone.now()
    drain = HostDrain.objects.create(
        host=first, machines=0, sleep_until=now + dt.timedelta(hours=9), reason="night"
    )
    steps = [lambda: emptying.emptying_round(now)] * 3
    claims = [lambda row=row: store.claim(row.pk, uuid4()).host for row in machines]
    results = together([work for pair in zip(claims, steps, strict=True) for work in pair])
    assert _errors(results) == 0
    assert [told for told in results if isinstance(told, str)] == [first.name] * 3
    drain.refresh_from_db()
    first.refresh_from_db()
    assert (drain.state, first.administration, first.power) == ("cancelled", "schedulable", "awake")
    assert AuditEntry.objects.filter(action="emptying.call_off").count() == 1
    # Whether it was told to sleep before the first of them came or not.
    told = Operation.objects.filter(kind="sleep_host")
    assert told.count() == told.filter(cancel_requested=True).count() <= 1


def test_a_claim_repeated_at_once_is_one_claim(crowd: Plant, store: DjangoStore) -> None:
    """A killed orchestrator's step and its repetition: the same machine is placed once."""
    (machine,) = _machines(crowd, 1)
    operation = uuid4()
    results = together([lambda: store.claim(machine.pk, operation)] * 6)
    assert _errors(results) == 0
    assert {record.generation for record in results} == {1}
    assert len({record.address for record in results}) == 1
    assert CpuClaim.objects.count() == AddressClaim.objects.count() == 1


def test_the_database_itself_refuses_a_second_claim(crowd: Plant) -> None:
    """Whatever the code believes: the constraint decides."""
    machines = _machines(crowd, 1) * 6
    host = crowd.hosts[0]

    def insert(machine: Machine) -> Callable[[], Any]:
        def write() -> Any:
            with transaction.atomic():
                return CpuClaim.objects.create(
                    host=host, cpu=1, machine=machine, vcpu=1, operation=uuid4()
                )

        return write

    results = together([insert(machine) for machine in machines])
    assert _errors(results, IntegrityError) == 5
    assert CpuClaim.objects.count() == 1


def test_one_request_approved_by_many_builds_one_environment(crowd: Plant) -> None:
    request = _submitted(crowd, "line")
    calls = [lambda: actions.approve_request(crowd.approver, request)] * 5
    assert _errors(together(calls), LifecycleError) == 4
    assert Environment.objects.count() == Machine.objects.count() == 1
    assert Operation.objects.filter(kind=OperationKind.PROVISION).count() == 1


def test_the_quota_holds_when_many_are_approved_at_once(crowd: Plant) -> None:
    requests = [_submitted(crowd, f"line-{number}") for number in range(5)]
    crowd.project.quota_environments = 2
    crowd.project.save()

    def approve(request: Request) -> Callable[[], Any]:
        return lambda: actions.approve_request(crowd.approver, request)

    results = together([approve(request) for request in requests])
    assert _errors(results, ValidationError) == 3
    assert Environment.objects.count() == 2
    assert Request.objects.filter(state="approved").count() == 2


def test_two_requests_of_one_name_make_one_environment(crowd: Plant) -> None:
    requests = [_submitted(crowd, "line") for _ in range(4)]

    def approve(request: Request) -> Callable[[], Any]:
        return lambda: actions.approve_request(crowd.approver, request)

    results = together([approve(request) for request in requests])
    assert _errors(results, ValidationError) == 3
    assert Environment.objects.count() == 1


def test_a_machine_gets_one_operation_however_many_ask(crowd: Plant) -> None:
    (machine,) = _machines(crowd, 1)
    Operation.objects.update(state="succeeded")
    Machine.objects.update(host=crowd.hosts[0])
    Environment.objects.update(state="running")
    version = shopfloor.upload_program(
        crowd.engineer, crowd.project, "filling", {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
    )
    ProgramVersion.objects.update(state="ready")
    version.refresh_from_db()
    Operation.objects.update(state="succeeded")
    machine = Machine.objects.with_names().get()
    environment = machine.environment
    calls: list[Callable[[], Any]] = [
        lambda: actions.power(crowd.engineer, environment, OperationKind.RESTART),
        lambda: actions.power(crowd.engineer, environment, OperationKind.STOP),
        lambda: deployments.deploy(crowd.engineer, machine, version),
        lambda: deployments.deploy(crowd.engineer, machine, version),
        lambda: actions.remove_environment(crowd.engineer, environment),
    ]
    assert _errors(together(calls), ValidationError) == 4
    assert Operation.objects.live().count() == 1


def test_a_one_time_link_lets_one_in(crowd: Plant) -> None:
    _, secret = make_login_link(None, crowd.engineer)
    results = together([lambda: use_login_link(secret)] * 8)
    assert _errors(results) == 0
    assert [result for result in results if result is not None] == [crowd.engineer]


def test_the_same_upload_by_many_is_one_version(crowd: Plant) -> None:
    files = {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
    results = together(
        [lambda: shopfloor.upload_program(crowd.engineer, crowd.project, "filling", files)] * 5
    )
    assert _errors(results) == 0
    assert len({version.pk for version in results}) == 1
    assert Operation.objects.filter(kind=OperationKind.BUILD_PROGRAM).count() == 1


def test_a_station_registered_by_many_at_once_is_one(crowd: Plant) -> None:
    def register(last: int) -> Callable[[], Any]:
        return lambda: set_station(
            crowd.administrator, project=crowd.project, cell=crowd.cell, name="desk", cidr="10.90.1.8",
            write_ranges=[{"area": "holding", "first": 0, "last": last}],
        )  # fmt: skip

    results = together([register(last) for last in range(6)])
    assert _errors(results) == 0
    assert {row.pk for row in results} == {EngineeringStation.objects.get().pk}


def test_a_delivery_that_begins_meanwhile_knows_the_station_that_counts_on_it(
    crowd: Plant, store: DjangoStore
) -> None:
    """A queued delivery serves for a change only if it begins after the change is there to be read."""
    (machine,) = _machines(crowd, 1)
    Machine.objects.update(host=crowd.hosts[0], cell=crowd.cell, desired="running")
    Environment.objects.update(state="running")
    Operation.objects.update(state="succeeded")
    machine = Machine.objects.with_names().get(pk=machine.pk)
    queued = shopfloor.request_config(crowd.administrator, machine, "something before")
    assert queued is not None
    seen: list[int] = []

    def deliver() -> None:
        close_old_connections()
        try:
            store.begin(queued.pk, ())
            seen.append(EngineeringStation.objects.count())
        finally:
            connections.close_all()

    meanwhile = threading.Thread(target=deliver)
    with transaction.atomic():
        set_station(
            crowd.administrator, project=crowd.project, cell=crowd.cell, name="desk", cidr="10.90.1.8",
            write_ranges=[],
        )  # fmt: skip
        meanwhile.start()
        # Long enough for one that does not wait; one that does is let in by the end of this block.
        meanwhile.join(1)
    meanwhile.join(60)
    assert seen == [1]
    assert Operation.objects.filter(kind=OperationKind.DELIVER_CONFIG).count() == 1


def test_one_key_makes_one_request_however_often_it_is_sent_at_once(crowd: Plant) -> None:
    _, secret = issue_token(None, crowd.engineer, "test")
    body = {
        "name": "line",
        "project": "line-1",
        "template": "vplc",
        "size": "small",
        "cell": "line1",
    }

    def post() -> Any:
        caller = APIClient()
        caller.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return caller.post("/api/v1/requests/", body, format="json", HTTP_IDEMPOTENCY_KEY="k")

    results = together([post] * 6)
    assert _errors(results) == 0
    assert [answer.status_code for answer in results] == [201] * 6
    assert sum("Idempotent-Replay" in answer.headers for answer in results) == 5
    assert Request.objects.count() == 1
    assert len({answer.json()["id"] for answer in results}) == 1
