"""What has room on sleeping hosts alone: they are woken for it, as few as possible, and never against somebody's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from millwright.accounts.models import Project
from millwright.audit.models import AuditEntry
from millwright.balancing import recommending
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import HostPower, RequestState
from millwright.environments import actions
from millwright.environments.models import Machine, Operation, Request
from millwright.environments.placement import preview
from millwright.environments.reasons import said
from millwright.inventory.models import CpuClaim, Host
from millwright.inventory.power import ask_wake, validate_sleep, why_not_asleep
from millwright.operations import AwaitedHost, StepFailed
from millwright.orchestrator.poller import MAX_AT_WORK, pick_up
from millwright.orchestrator.store import DjangoStore

from tests.support.plant import GIB, Plant, image_data, signed_in

SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "wake_s": 90}


def asleep(name: str, like: Host, **sleep: Any) -> Host:
    """One more host like another, asleep."""
    row, _ = Host.objects.get_or_create(
        name=name,
        defaults={
            "uri": f"fake://{name}",
            "health": "up",
            "memory_bytes": like.memory_bytes,
            "disk_bytes": like.disk_bytes,
            "disk_free_bytes": like.disk_free_bytes,
            "topology": like.topology,
        },
    )
    Host.objects.filter(pk=row.pk).update(
        power=HostPower.ASLEEP, policy=like.policy | {"sleep": SLEEP | sleep}
    )
    return Host.objects.get(pk=row.pk)


@pytest.fixture
def night(plant: Plant, tmp_path: Path) -> Host:
    """The first host takes nothing, the second sleeps."""
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    Project.objects.update(quota_environments=9)
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="cordoned")
    return asleep(plant.hosts[1].name, plant.hosts[1])


@pytest.fixture
def store(tmp_path: Path) -> DjangoStore:
    return DjangoStore("plant", Ed25519PrivateKey.generate(), tmp_path)


def submitted(plant: Plant, name: str = "line-a") -> Request:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    return actions.submit_request(plant.engineer, made)


def approved(plant: Plant, name: str = "line-a") -> Machine:
    actions.approve_request(plant.approver, submitted(plant, name))
    return Machine.objects.get(environment__name=name)


def wakings() -> list[str]:
    rows = Operation.objects.filter(kind="wake_host").order_by("created_at")
    return [str(row.host) for row in rows]


def ended(state: str) -> None:
    """As the runner ends the waking that is under way."""
    row = Operation.objects.live().get(kind="wake_host")
    Operation.objects.filter(pk=row.pk).update(state=state, ended_at=timezone.now())
    Host.objects.filter(pk=row.host_id).update(power=HostPower.ASLEEP)


def test_a_request_is_taken_the_host_is_woken_and_waited_for(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    request = submitted(plant)
    assert request.state == RequestState.SUBMITTED
    assert (request.placement["chosen"], request.placement["wake_s"]) == (night.name, 90)
    # Nobody wakes it before somebody has decided.
    assert wakings() == []
    actions.approve_request(plant.approver, request)
    machine = Machine.objects.get()
    operation = uuid4()
    record = store.claim(machine.pk, operation)
    assert (record.host, record.address) == (night.name, "10.90.1.100")
    assert wakings() == [night.name]
    entry = AuditEntry.objects.get(action="host.wake")
    assert (entry.actor, entry.reason) == (None, "a machine has room on no host that is awake")
    assert AuditEntry.objects.get(action="machine.await").project == plant.project
    assert store.awaited_host(machine.pk, operation) == AwaitedHost(night.name, 90)
    Host.objects.filter(pk=night.pk).update(power=HostPower.WAKING, power_since=timezone.now())
    waits = store.awaited_host(machine.pk, operation)
    assert waits is not None and 80 < waits.left_s <= 90
    # Once more, as after a crash: the same claims, no other order.
    assert store.claim(machine.pk, operation).host == night.name
    assert wakings() == [night.name]
    Host.objects.filter(pk=night.pk).update(power=HostPower.AWAKE)
    assert store.awaited_host(machine.pk, operation) is None
    # Nobody puts it to sleep again before the machine has come.
    Operation.objects.update(state="succeeded")
    why = why_not_asleep(Host.objects.get(pk=night.pk))
    assert why is not None and why.parts[0]["code"] == "power.not_empty"


def test_an_order_that_is_gone_is_given_again(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    machine = approved(plant)
    store.claim(machine.pk, uuid4())
    Operation.objects.filter(kind="wake_host").delete()
    assert store.awaited_host(machine.pk, uuid4()) is not None
    assert wakings() == [night.name]


def test_several_share_a_host_and_what_has_no_room_there_wakes_the_next(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    # Room for two; the other takes fewer watts, and is woken all the same only when this one is full.
    Host.objects.filter(pk=night.pk).update(memory_bytes=int(1.5 * GIB))
    first = approved(plant, "line-a")
    store.claim(first.pk, uuid4())
    other = asleep("mw0-h3", plant.hosts[1], watts=1, wake_s=10)
    Host.objects.filter(pk=night.pk).update(policy=night.policy | {"sleep": SLEEP | {"watts": 9}})
    placed = [store.claim(approved(plant, name).pk, uuid4()).host for name in ("line-b", "line-c")]
    assert placed == [night.name, other.name]
    assert wakings() == [night.name, other.name]


def test_fewest_watts_first_then_the_soonest(plant: Plant, night: Host, store: DjangoStore) -> None:
    asleep(night.name, plant.hosts[1], watts=200)
    asleep("mw0-h3", plant.hosts[1], watts=100, wake_s=60)
    soonest = asleep("mw0-h4", plant.hosts[1], watts=100, wake_s=30)
    assert store.claim(approved(plant).pk, uuid4()).host == soonest.name


def test_one_that_does_not_wake_is_followed_by_the_next_and_none_left_is_said(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    other = asleep("mw0-h3", plant.hosts[1], watts=500)
    machine, operation = approved(plant), uuid4()
    assert store.claim(machine.pk, operation).host == night.name
    ended("failed")
    waits = store.awaited_host(machine.pk, operation)
    assert waits is not None and waits.host == other.name
    assert Machine.objects.get(pk=machine.pk).host == other
    assert not CpuClaim.objects.filter(host=night).exists()
    assert wakings() == [night.name, other.name]
    ended("failed")
    # Another try at the first by itself changes nothing for those who look for room.
    ask_wake(None, night, reason="it did not wake: another try")
    Host.objects.filter(pk=night.pk).update(power=HostPower.WAKING)
    with pytest.raises(StepFailed) as caught:
        store.awaited_host(machine.pk, operation)
    text = str(caught.value)
    assert text.startswith(f"{other.name} did not wake; no host can take it: ")
    assert f"{night.name}: the host is waking once more, it did not wake" in text
    assert f"{other.name}: the host is asleep and did not wake" in text
    # What was claimed is still held: the operation that fails gives it back.
    assert Machine.objects.get(pk=machine.pk).host == other
    # A person has it woken: that is waited for.
    Operation.objects.live().filter(kind="wake_host").update(requested_by=plant.operator)
    assert preview(machine.template_version.spec, "small", cell="line1", strict=False).chosen


def test_where_one_that_is_awake_has_room_by_now_it_goes_there(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    machine = approved(plant)
    store.claim(machine.pk, uuid4())
    ended("failed")
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="schedulable")
    assert store.awaited_host(machine.pk, uuid4()) is None
    assert Machine.objects.get(pk=machine.pk).host == plant.hosts[0]


def woke(host: Host, **now: Any) -> None:
    """It answers, and this is what it has by now."""
    Host.objects.filter(pk=host.pk).update(
        power=HostPower.AWAKE, power_since=timezone.now(), health="up", **now
    )
    Operation.objects.filter(kind="wake_host").update(state="succeeded", ended_at=timezone.now())


def test_one_that_wakes_with_less_memory_than_is_claimed_does_not_take_it(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    machine, operation = approved(plant), uuid4()
    store.claim(machine.pk, operation)
    woke(night, memory_bytes=GIB // 2)
    text = f"{night.name} woke with 192 MiB less memory than is promised there; no host can take it"
    with pytest.raises(StepFailed, match=text):
        store.awaited_host(machine.pk, operation)
    # Where another one has room it goes there, and nothing of it is left behind.
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="schedulable")
    assert store.awaited_host(machine.pk, operation) is None
    assert Machine.objects.get(pk=machine.pk).host == plant.hosts[0]
    assert not CpuClaim.objects.filter(host=night).exists()


def test_of_two_that_share_a_host_which_wakes_with_less_one_stays(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    machines = [approved(plant, name) for name in ("line-a", "line-b")]
    for machine in machines:
        assert store.claim(machine.pk, uuid4()).host == night.name
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="schedulable")
    woke(night, memory_bytes=GIB)
    for machine in machines:
        assert store.awaited_host(machine.pk, uuid4()) is None
    where = Machine.objects.order_by("environment__name").values_list("host__name", flat=True)
    assert list(where) == [plant.hosts[0].name, night.name]


def test_one_that_wakes_without_a_claimed_cpu_gives_what_it_has(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    Host.objects.filter(pk=night.pk).update(
        topology={"cpus": [{"id": 0}, {"id": 1}]}, policy=night.policy | {"realtime_cpus": "1"}
    )
    machine, operation = approved(plant), uuid4()
    store.claim(machine.pk, operation)
    assert CpuClaim.objects.get(machine=machine).cpu == 1
    woke(night, topology={"cpus": [{"id": 0}]})
    # It takes it without a core of its own, as hosts of best effort do, and claims none that is not there.
    assert store.awaited_host(machine.pk, operation) is None
    machine.refresh_from_db()
    assert machine.host == night
    assert not CpuClaim.objects.filter(machine=machine).exists()
    assert store.awaited_host(machine.pk, operation) is None


@pytest.mark.parametrize("administration", ["cordoned", "maintenance", "draining"])
def test_a_host_that_is_taken_out_is_neither_woken_nor_waited_for(
    plant: Plant, night: Host, store: DjangoStore, administration: str
) -> None:
    machine = approved(plant)
    store.claim(machine.pk, uuid4())
    Host.objects.filter(pk=night.pk).update(administration=administration)
    with pytest.raises(StepFailed, match=f"{night.name} takes nothing new; no host can take it"):
        store.awaited_host(machine.pk, uuid4())
    with pytest.raises(ValidationError, match="the host is asleep"):
        submitted(plant, "line-b")


def test_one_that_its_policy_or_a_person_leaves_asleep_is_not_woken(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    with pytest.raises(ValidationError, match="true or false"):
        validate_sleep({"sleep": SLEEP | {"on_request": "no"}})
    validate_sleep({"sleep": SLEEP | {"on_request": False}})
    for sleep in ({"on_request": False}, {"by": ""}):
        asleep(night.name, plant.hosts[1], **sleep)
        with pytest.raises(ValidationError, match="the host is asleep"):
            submitted(plant, f"line-{len(sleep)}")
    # That it may sleep no more does not keep it asleep.
    asleep(night.name, plant.hosts[1], may=False)
    machine = approved(plant)
    store.claim(machine.pk, uuid4())
    ended("cancelled")
    with pytest.raises(StepFailed, match="and was left so by a person"):
        store.awaited_host(machine.pk, uuid4())


def test_one_that_falls_asleep_is_kept_awake_for_it(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    falling = Operation.objects.create(kind="sleep_host", host=night, state="running")
    Host.objects.filter(pk=night.pk).update(power=HostPower.FALLING_ASLEEP)
    assert store.claim(approved(plant).pk, uuid4()).host == night.name
    falling.refresh_from_db()
    assert falling.cancel_requested
    assert wakings() == [night.name]


def test_room_for_hosts_to_die_is_kept_on_it_too(
    plant: Plant, night: Host, store: DjangoStore
) -> None:
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="schedulable")
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    # With the first host alone nobody would be left; with the second awake its death is survived, if both have room.
    request = submitted(plant)
    assert (request.placement["chosen"], request.placement["wake_s"]) == (night.name, 90)
    # Without its room there is none to spare anywhere.
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="cordoned")
    with pytest.raises(ValidationError, match="no host can take it"):
        submitted(plant, "line-b")


def test_pages_and_api_say_that_it_is_woken(plant: Plant, night: Host, store: DjangoStore) -> None:
    client = signed_in(plant.engineer)
    form = plant.request_form(name="line-x")
    page = client.get("/requests/preview/", form).content.decode()
    assert "It is asleep and is woken for it" in page
    assert "1 min 30 s" in page
    machine = approved(plant)
    operation = Operation.objects.get(kind="provision")
    Operation.objects.filter(pk=operation.pk).update(
        state="running", progress=f"waiting for {night.name}, which is being woken: about 60 s more"
    )
    path = f"/environments/{machine.environment.name}/"
    text = f"waiting for {night.name}, which is being woken: about 60 s more"
    assert text in client.get(path).content.decode()
    german = client.get(path, headers={"accept-language": "de"}).content.decode()
    assert text not in german and night.name in german
    answer = client.post(
        "/api/v1/requests/preview/",
        {
            "name": "line-x",
            "project": plant.project.slug,
            "template": "vplc",
            "size": "small",
            "cell": "line1",
        },
        content_type="application/json",
    ).json()
    assert (answer["chosen"], answer["wake_s"]) == (night.name, 90)
    rows = {row["host"]: row for row in answer["hosts"]}
    assert rows[night.name]["wake_s"] == 90
    assert rows[plant.hosts[0].name]["wake_s"] is None


def test_what_is_said_of_it_has_words_in_every_language() -> None:
    for text in (
        "the host is asleep and can be woken in about 90 s",
        "the host is asleep and did not wake",
        "the host is asleep and was left so by a person",
        "the host is waking once more, it did not wake",
        "a machine has room on no host that is awake",
        "waiting for press-2, which is being woken: about 60 s more",
        "waiting for press-2, which is being woken and should answer any moment",
    ):
        for language in ("de", "zh-hans"):
            with translation.override(language):
                assert said(text) != text, (language, text)


def test_the_number_of_queries_does_not_grow_with_sleeping_hosts(plant: Plant, night: Host) -> None:
    spec = plant.template.spec

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert preview(spec, "small", cell="line1", strict=False).chosen is not None
        return len(queries)

    few = count()
    for number in range(3, 9):
        asleep(f"mw0-h{number}", plant.hosts[1])
    assert count() == few


def test_those_who_wait_leave_room_for_others_and_for_what_they_wait_for(
    plant: Plant, night: Host
) -> None:
    class Runner:
        def __init__(self) -> None:
            self.started: list[Any] = []

        def start(self, operation_id: Any, attempt: int) -> None:
            self.started.append(operation_id)

    machine = approved(plant)
    Machine.objects.filter(pk=machine.pk).update(host=night)
    Operation.objects.all().delete()

    def full(kind: str) -> None:
        Operation.objects.bulk_create(
            Operation(kind=kind, machine=machine, state="running") for _ in range(MAX_AT_WORK)
        )

    full("provision")
    stop = Operation.objects.create(kind="fence")
    wake = Operation.objects.create(kind="wake_host", host=night)
    runner = Runner()
    # What wakes hosts comes first, however late it was written.
    assert pick_up(runner, set()) == 2
    assert runner.started == [wake.pk, stop.pk]
    # As many more, of which only some may wait beside.
    full("stop")
    runner = Runner()
    assert pick_up(runner, set()) == 1
    assert runner.started == [wake.pk]
