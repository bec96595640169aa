"""A host that is being emptied to sleep is needed after all: that is called off, and what needed it goes on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.utils import timezone, translation
from millwright.accounts.models import Project
from millwright.audit.models import AuditEntry
from millwright.balancing import (
    consolidating,
    draining,
    emptying,
    filling,
    recommending,
    recovering,
)
from millwright.balancing.models import DemandHour, HostDrain
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments import actions
from millwright.environments.models import Machine, Operation
from millwright.environments.reasons import said
from millwright.inventory.models import Host
from millwright.inventory.power import ask_sleep
from millwright.operations import StepFailed
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_emptying import (
    MINUTE,
    NOW,
    SLEEP,
    begun,
    codes,
    emptied,
    ended,
    fresh,
    quiet,
)
from tests.integration.orchestrator.test_awaited import approved, submitted
from tests.support.plant import Plant, image_data, signed_in

__all__ = ["machines", "quiet"]


@pytest.fixture
def store(plant: Plant, quiet: Host, tmp_path: Path) -> DjangoStore:
    """As the orchestrator has it; templates have their images."""
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    Project.objects.update(quota_environments=20)
    return DjangoStore("plant", Ed25519PrivateKey.generate(), tmp_path)


def others(quiet: Host) -> Host:
    return Host.objects.exclude(pk=quiet.pk).get()


def full(host: Host) -> None:
    """It takes nothing more."""
    Host.objects.filter(pk=host.pk).update(memory_bytes=2**20)


def sleeps(host: Host, **sleep: object) -> None:
    policy = fresh(host).policy | {"sleep": SLEEP | {"wake_s": 90} | sleep}
    Host.objects.filter(pk=host.pk).update(power=HostPower.ASLEEP, policy=policy)


def wakings() -> list[str]:
    return [str(row.host) for row in Operation.objects.filter(kind=OperationKind.WAKE_HOST)]


def test_a_request_that_has_room_there_alone_is_taken_and_its_machine_built_there(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    row = begun(plant, quiet)
    full(others(quiet))
    request = submitted(plant)
    told = request.placement
    assert (told["chosen"], told["emptied"], told["wake_s"]) == (quiet.name, True, None)
    # Nothing is called off before somebody has decided.
    row.refresh_from_db()
    assert row.state == "active"
    actions.approve_request(plant.approver, request)
    machine, operation = Machine.objects.get(environment__name="line-a"), uuid4()
    assert store.claim(machine.pk, operation).host == quiet.name
    ended(row, "empty.placed", quiet)
    row.refresh_from_db()
    # Which one it was stands in what is kept of it, in the trail and in what becomes of the host.
    assert str(machine) in row.note
    trail = AuditEntry.objects.filter(action__in=("emptying.call_off", "host.schedulable"))
    assert [str(machine) in entry.reason for entry in trail] == [True, True]
    # It is awake: nobody waits for anything.
    assert store.awaited_host(machine.pk, operation) is None
    assert wakings() == []
    assert emptying.emptying_round(NOW + MINUTE) == 0
    # The same host is not emptied again so soon, whichever moves had begun.
    Operation.objects.update(state="succeeded")
    Machine.objects.filter(pk=machine.pk).update(observed="running", movability="free")
    Host.objects.update(memory_bytes=2**42)
    later = timezone.now() + dt.timedelta(hours=2)
    assert consolidating.consolidation_round(later) == 0
    assert ("kept", "empty.called_off") in codes(), codes()


def test_what_fits_elsewhere_leaves_it_alone(plant: Plant, quiet: Host, store: DjangoStore) -> None:
    row = begun(plant, quiet)
    assert store.claim(approved(plant).pk, uuid4()).host == others(quiet).name
    row.refresh_from_db()
    assert row.state == "active"


@pytest.mark.parametrize("power", [HostPower.AWAKE, HostPower.FALLING_ASLEEP])
def test_one_that_is_told_to_sleep_is_kept_awake_or_woken_and_waited_for(
    plant: Plant, quiet: Host, store: DjangoStore, power: HostPower
) -> None:
    row = emptied(plant, quiet)
    assert row.operation is not None
    Host.objects.filter(pk=quiet.pk).update(power=power)
    full(others(quiet))
    machine, operation = approved(plant), uuid4()
    assert store.claim(machine.pk, operation).host == quiet.name
    ended(row, "empty.placed", quiet)
    row.operation.refresh_from_db()
    assert row.operation.cancel_requested
    assert wakings() == [quiet.name]
    waits = store.awaited_host(machine.pk, operation)
    assert (waits is None) == (power == HostPower.AWAKE)
    assert AuditEntry.objects.filter(action="machine.await").exists() == (waits is not None)


def test_one_that_sleeps_already_was_emptied_and_is_woken(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    """It fell asleep, and no round has come by since."""
    row = emptied(plant, quiet)
    Operation.objects.filter(pk=row.operation_id).update(state="succeeded")
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.ASLEEP)
    full(others(quiet))
    machine = approved(plant)
    assert store.claim(machine.pk, uuid4()).host == quiet.name
    row.refresh_from_db()
    assert (row.state, fresh(quiet).administration) == ("done", "schedulable")
    assert wakings() == [quiet.name]


def test_it_stays_awake_before_another_is_woken_but_not_before_one_that_wakes_anyway(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    row = begun(plant, quiet)
    other = others(quiet)
    sleeps(other)
    assert submitted(plant).placement["chosen"] == quiet.name
    Host.objects.filter(pk=other.pk).update(power=HostPower.WAKING)
    machine = approved(plant, "line-b")
    assert store.claim(machine.pk, uuid4()).host == other.name
    row.refresh_from_db()
    assert row.state == "active"


def test_one_that_requests_do_not_wake_is_kept_only_while_it_is_awake(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    policy = fresh(quiet).policy
    Host.objects.filter(pk=quiet.pk).update(
        policy=policy | {"sleep": policy["sleep"] | {"on_request": False}}
    )
    row = emptied(plant, quiet)
    full(others(quiet))
    assert submitted(plant).placement["emptied"]
    machine = approved(plant, "line-b")
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.FALLING_ASLEEP)
    with pytest.raises(StepFailed, match="the host is falling asleep"):
        store.claim(machine.pk, uuid4())
    row.refresh_from_db()
    assert row.state == "active"


def test_a_drain_for_maintenance_is_not_called_off(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    draining.start(plant.operator, quiet, reason="new fan")
    full(others(quiet))
    with pytest.raises(ValidationError, match="the host is being drained"):
        submitted(plant)


def test_where_only_room_for_hosts_to_die_lacks_it_is_called_off_too(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    row = begun(plant, quiet)
    Machine.objects.update(host=others(quiet))
    recommending.set_mode(plant.operator, "automatic", spare_hosts=1)
    # On the other one alone nobody would find room if it died; with both open each finds it on the other one.
    machine = approved(plant)
    store.claim(machine.pk, uuid4())
    ended(row, "empty.placed", quiet)


def test_form_and_api_say_so_before_anybody_decides(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    begun(plant, quiet)
    full(others(quiet))
    client = signed_in(plant.engineer)
    form = plant.request_form(name="line-x")
    page = client.get("/requests/preview/", form).content.decode()
    assert "It is being emptied to sleep. That is called off" in page
    german = client.get("/requests/preview/", form, headers={"accept-language": "de"})
    assert "damit er schlafen kann" in german.content.decode()
    asked = {
        "name": "line-x",
        "project": plant.project.slug,
        "template": "vplc",
        "size": "small",
        "cell": "line1",
    }
    answer = client.post("/api/v1/requests/preview/", asked, "application/json").json()
    rows = {row["host"]: row for row in answer["hosts"]}
    assert (answer["chosen"], answer["emptied"], answer["wake_s"]) == (quiet.name, True, None)
    assert [rows[host.name]["emptied"] for host in (quiet, others(quiet))] == [True, False]
    assert HostDrain.objects.get().state == "active"


def test_capacity_counts_it_as_the_room_that_it_is(plant: Plant, quiet: Host) -> None:
    before = filling.fits("vplc", "small")
    begun(plant, quiet)
    then = filling.fits("vplc", "small")
    assert then.per_host == before.per_host and then.per_host[quiet.name] > 0
    # A drain for maintenance takes it away.
    draining.start(plant.operator, quiet, reason="new fan")
    assert quiet.name not in filling.fits("vplc", "small").per_host


def test_what_is_said_of_it_has_words_in_every_language(plant: Plant, quiet: Host) -> None:
    text = "the host is being emptied so that it can sleep"
    for language in ("de", "zh-hans"):
        with translation.override(language):
            assert said(text) != text


def test_a_lost_hosts_machines_have_its_room_at_once(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    other = others(quiet)
    machine = Machine.objects.order_by("pk")[0]
    Machine.objects.filter(pk=machine.pk).update(host=other, protected=True, recovery="recoverable")
    Host.objects.filter(pk=other.pk).update(health="down")
    assert not recovering.preview(other).starts
    # The first of all rounds, so that the recovery's round after it finds room.
    emptying.emptying_round(NOW + MINUTE)
    ended(row, "consolidate.lost", quiet)
    assert [start.destination for start in recovering.preview(other).starts] == [quiet.name]


# -- woken for a machine, and what comes after -------------------------------------


def test_a_host_that_was_woken_for_a_request_is_left_alone_until_its_machine_is_there_and_for_hours_after(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    """Round by round in virtual time: nothing but the request needs the host, and it could be emptied all along."""
    other = others(quiet)
    Machine.objects.filter(environment__name="one").delete()
    sleeps(quiet)
    Machine.objects.update(host=other)
    full(other)
    machine = approved(plant)
    Operation.objects.exclude(kind=OperationKind.PROVISION).delete()
    provision = Operation.objects.get(machine=machine)
    store.claim(machine.pk, provision.pk)
    # The other one has room again, and so the request's host is needed by nobody.
    Host.objects.filter(pk=other.pk).update(memory_bytes=2**42)
    begin, woke, built = timezone.now(), 2, 100
    DemandHour.objects.bulk_create(
        (
            DemandHour(
                at=begin.replace(minute=0, second=0, microsecond=0) + dt.timedelta(hours=hours),
                cpus=0.1,
                memory_bytes=2**30,
            )
            for hours in range(1, 9)
        ),
        ignore_conflicts=True,
    )
    acted: list[int] = []
    for minutes in range(0, 8 * 60, 5):
        now = begin + minutes * MINUTE
        if minutes >= woke and fresh(quiet).power != HostPower.AWAKE:
            Host.objects.filter(pk=quiet.pk).update(power=HostPower.AWAKE, power_since=now)
            Operation.objects.filter(kind=OperationKind.WAKE_HOST).update(state="succeeded")
            begin_awake = minutes
        if minutes >= built:
            Operation.objects.filter(pk=provision.pk).update(state="succeeded")
            Machine.objects.filter(pk=machine.pk).update(
                observed="running", movability="free", service_class="shared"
            )
        if consolidating.consolidation_round(now):
            acted.append(minutes)
            break
    # Three hours after it woke, as of every host that woke.
    assert acted == [begin_awake + 180], (acted, consolidating.told().answer)
    assert HostDrain.objects.get().host == quiet


def test_until_its_machine_is_there_it_is_not_emptied_however_short_its_rest(
    plant: Plant, quiet: Host, store: DjangoStore
) -> None:
    """Building takes longer than the least hours that are told."""
    consolidating.set_consolidation(plant.operator, least_hours=1)
    other = others(quiet)
    Machine.objects.update(host=other)
    sleeps(quiet)
    full(other)
    machine = approved(plant)
    provision = Operation.objects.get(machine=machine)
    store.claim(machine.pk, provision.pk)
    Operation.objects.filter(kind=OperationKind.WAKE_HOST).update(state="succeeded")
    Host.objects.filter(pk=quiet.pk).update(
        power=HostPower.AWAKE, power_since=NOW - dt.timedelta(hours=3)
    )
    Host.objects.filter(pk=other.pk).update(memory_bytes=2**42)
    Machine.objects.filter(pk=machine.pk).update(movability="free")
    assert consolidating.consolidation_round(NOW) == 0
    assert not HostDrain.objects.exists()
    kept = [row for row in consolidating.told().answer if row["host"] == quiet.name]
    assert kept and kept[0]["what"] == "kept"
    with pytest.raises(ValidationError):
        ask_sleep(None, fresh(quiet), reason="night")
