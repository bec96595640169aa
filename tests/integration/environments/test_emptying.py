"""A host is emptied so that it can sleep: begun, carried on, handed to sleep, called off, and gone on with after a crash."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import consolidating, draining, emptying, recommending, rolling
from millwright.balancing.models import Balancer, Consolidating, DemandHour, HostDrain
from millwright.core.balancing import BalanceState, say
from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments.models import DemandSample, Machine, Operation
from millwright.inventory.actions import administer_host
from millwright.inventory.models import CpuClaim, Host
from millwright.orchestrator.sleeping import PowerStore
from millwright.orchestrator.waits import waits

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]

# Whoever is put to sleep is told a time that is to come.
NOW = timezone.now().replace(minute=30, second=0, microsecond=0)
SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:12:34:56"}
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def quiet(plant: Plant, machines: list[Machine]) -> Host:
    """Two weeks in which little was wanted; both machines are on the first host, which may sleep and is the only one."""
    first = Host.objects.order_by("name")[0]
    CpuClaim.objects.all().delete()
    Machine.objects.update(
        host=first, service_class="shared", movability="free", cpu_assignment={}, observed="running"
    )
    Operation.objects.all().delete()
    Host.objects.update(memory_bytes=2**42)
    first.refresh_from_db()
    first.policy["sleep"] = SLEEP
    first.save()
    DemandHour.objects.bulk_create(
        DemandHour(at=NOW.replace(minute=0) - dt.timedelta(hours=n), cpus=0.1, memory_bytes=2**30)
        for n in range(1, 337)
    )
    recommending.set_mode(plant.operator, "automatic")
    consolidating.set_consolidation(plant.operator, "automatic", keep_awake=1)
    return first


def fresh(host: Host) -> Host:
    return Host.objects.get(pk=host.pk)


def moved() -> int | None:
    going = emptying.current()
    assert going is not None
    return emptying.progress(going).moved


def codes() -> list[tuple[str, str]]:
    return [(row["what"], row["parts"][0]["code"]) for row in consolidating.told().answer]


def why(row: HostDrain) -> str:
    return str(row.note_parts[0]["code"])


def moves() -> Any:
    return Operation.objects.filter(kind=OperationKind.MIGRATE)


def arrive() -> None:
    """What moves has moved."""
    for operation in moves().live():
        target = Host.objects.get(name=operation.payload["destination"])
        Machine.objects.filter(pk=operation.machine_id).update(host=target)
        Operation.objects.filter(pk=operation.pk).update(state="succeeded", ended_at=NOW)


def begun(plant: Plant, quiet: Host) -> HostDrain:
    assert consolidating.consolidation_round(NOW) == 1, consolidating.told().answer
    return HostDrain.objects.get()


def emptied(plant: Plant, quiet: Host) -> HostDrain:
    """It is empty and told to sleep."""
    row = begun(plant, quiet)
    assert emptying.emptying_round(NOW) == 2
    arrive()
    assert emptying.emptying_round(NOW + MINUTE) == 0
    row.refresh_from_db()
    assert row.operation is not None, row.blockers
    return row


def ended(row: HostDrain, code: str, quiet: Host) -> None:
    """It was called off for that, and its host takes machines again."""
    row.refresh_from_db()
    assert (row.state, why(row)) == ("cancelled", code)
    assert row.ended_at is not None
    assert fresh(quiet).administration == "schedulable"
    assert AuditEntry.objects.filter(action="emptying.call_off", object_id=str(row.pk)).count() == 1


def test_a_round_empties_a_host_that_sleeps_and_takes_machines_again(
    plant: Plant, quiet: Host
) -> None:
    row = begun(plant, quiet)
    assert (row.host, row.requested_by, row.machines, row.state) == (quiet, None, 2, "active")
    assert row.sleep_until is not None
    assert fresh(quiet).administration == "draining"
    assert row.reason_parts[0]["code"] == "consolidate.empty"
    (entry,) = AuditEntry.objects.filter(action="emptying.start")
    assert (entry.actor, entry.details["host"]) == (None, quiet.name)
    # Drains for maintenance leave it alone, and nobody is told that it waits.
    assert draining.drain_round(NOW) == 0
    assert emptying.emptying_round(NOW) == 2
    assert {row.reason[:40] for row in moves()} == {row.reason[:40]}
    assert {row.requested_by for row in moves()} == {None}
    # While they move the next round says so, and begins nothing else.
    later = NOW + 5 * MINUTE
    assert consolidating.consolidation_round(later) == 0
    assert codes() == [("emptying", "consolidate.emptying")]
    assert emptying.emptying_round(later) == 0
    assert moved() == 0
    arrive()
    assert moved() == 2
    assert emptying.emptying_round(later) == 0
    (sleep,) = Operation.objects.filter(kind=OperationKind.SLEEP_HOST)
    assert (sleep.host, sleep.requested_by, sleep.payload["drained"]) == (quiet, None, True)
    assert fresh(quiet).administration == "draining"
    # The orchestrator's own first step takes it, though it is closed.
    PowerStore().let_sleep(sleep.pk, quiet.name)
    assert fresh(quiet).power == HostPower.FALLING_ASLEEP
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.ASLEEP, power_since=later)
    Operation.objects.filter(pk=sleep.pk).update(state="succeeded")
    assert emptying.emptying_round(later + MINUTE) == 0
    row.refresh_from_db()
    assert (row.state, row.note) == ("done", "")
    assert fresh(quiet).administration == "schedulable"
    assert AuditEntry.objects.filter(action="emptying.done").count() == 1
    # It wakes, and is as any other host.
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.AWAKE)
    assert emptying.current() is None
    assert consolidating.consolidation_round(later + 10 * MINUTE) == 0


def test_what_moved_for_sleep_rests_and_does_not_go_back_for_balance(
    plant: Plant, quiet: Host
) -> None:
    begun(plant, quiet)
    assert emptying.emptying_round(NOW) == 2
    state = BalanceState.of(Balancer.objects.get().state)
    names = {str(machine) for machine in Machine.objects.all()}
    assert set(state.moved) == names
    assert {name: list(left) for name, left in state.left.items()} == {
        name: [quiet.name] for name in names
    }


def test_whoever_moved_for_balance_just_now_is_not_moved_for_sleep(
    plant: Plant, quiet: Host
) -> None:
    name = str(Machine.objects.order_by("pk")[0])
    balancer = recommending.balancer()
    balancer.state = {"number": 9, "moved": {name: 8}, "left": {}}
    balancer.save()
    assert consolidating.consolidation_round(NOW) == 0
    assert ("kept", "consolidate.rests") in codes()
    assert not HostDrain.objects.exists()


@pytest.mark.parametrize("mode", ["off", "shadow", "recommend"])
def test_a_machine_that_is_balanced_more_mildly_keeps_its_host_from_being_emptied(
    plant: Plant, quiet: Host, mode: str
) -> None:
    machine = Machine.objects.order_by("pk")[0]
    Machine.objects.filter(pk=machine.pk).update(balance_mode=mode)
    assert consolidating.consolidation_round(NOW) == 0
    assert ("kept", "consolidate.mode") in codes()
    assert not HostDrain.objects.exists()
    # A person may be asked where he may approve a move.
    assert (("empty", "consolidate.empty") in codes()) is (mode == "recommend")


@pytest.mark.parametrize("mode", ["shadow", "recommend"])
def test_by_itself_it_begins_only_where_that_was_said(plant: Plant, quiet: Host, mode: str) -> None:
    consolidating.set_consolidation(plant.operator, mode)
    assert consolidating.consolidation_round(NOW) == 0
    (offer,) = [row for row in consolidating.told().answer if row["what"] == "empty"]
    assert (offer["host"], offer["mode"], len(offer["moves"])) == (quiet.name, mode, 2)
    assert {move["destination"] for move in offer["moves"]} != {quiet.name}
    assert not HostDrain.objects.exists()
    assert fresh(quiet).administration == "schedulable"


def test_a_person_approves_what_the_round_would_empty(plant: Plant, quiet: Host) -> None:
    consolidating.set_consolidation(plant.operator, "recommend")
    Machine.objects.update(balance_mode="recommend")
    consolidating.consolidation_round(NOW)
    with pytest.raises(PermissionRefused):
        consolidating.approve(plant.engineer, quiet.name, "nights", NOW)
    with pytest.raises(ValidationError, match="not what the last round"):
        consolidating.approve(plant.operator, quiet.name, "nights", NOW + 20 * MINUTE)
    row = consolidating.approve(plant.operator, quiet.name, "nights", NOW)
    assert row.requested_by == plant.operator
    entry = AuditEntry.objects.get(action="emptying.start")
    assert (entry.actor, entry.reason) == (plant.operator, "nights")
    with pytest.raises(ValidationError):
        consolidating.approve(plant.operator, quiet.name, "nights", NOW)
    # What only a person may let move, moves by that word.
    assert emptying.emptying_round(NOW) == 2
    assert consolidating.consolidation_round(NOW + 5 * MINUTE) == 0
    assert codes() == [("emptying", "consolidate.emptying")]


def test_shadow_offers_nothing_to_approve(plant: Plant, quiet: Host) -> None:
    consolidating.set_consolidation(plant.operator, "shadow")
    consolidating.consolidation_round(NOW)
    with pytest.raises(ValidationError, match="shadow"):
        consolidating.approve(plant.operator, quiet.name, "nights", NOW)
    assert not HostDrain.objects.exists()


def test_page_and_api_offer_it_with_its_moves_and_show_how_far_it_is(
    plant: Plant, quiet: Host, client: Client
) -> None:
    consolidating.set_consolidation(plant.operator, "recommend")
    now = timezone.now()
    consolidating.consolidation_round(now)
    client.force_login(plant.operator)
    path = "/api/v1/recommendations/consolidation/"
    told = client.get(path).json()
    (offer,) = [row for row in told["answer"] if row["what"] == "empty"]
    names = sorted(str(machine) for machine in Machine.objects.all())
    assert sorted(move["machine"] for move in offer["moves"]) == names
    assert all(move["seconds"] > 0 for move in offer["moves"])
    assert (offer["mode"], told["emptying"], told["emptied"]) == ("recommend", None, [])
    page = client.get("/balancing/").content.decode()
    assert "Empty it and let it sleep" in page
    assert names[0] in page.split('id="sleeping"')[1]
    # The box below the moves is ticked, or nothing begins.
    form = {"verb": "empty", "host": quiet.name, "reason": "nights"}
    assert client.post("/balancing/", form).status_code == 422
    assert client.post("/balancing/", form | {"host": "nobody", "confirm": "on"}).status_code == 422
    assert not HostDrain.objects.exists()
    client.force_login(plant.engineer)
    assert client.post(path + "empty/", {"host": quiet.name}, "application/json").status_code == 403
    assert client.post("/balancing/", form | {"confirm": "on"}).status_code == 403
    client.force_login(plant.operator)
    made = client.post(path + "empty/", {"host": quiet.name, "reason": "n"}, "application/json")
    assert (made.status_code, made.json()["moved"], made.json()["machines"]) == (202, 0, 2)
    again = client.post("/balancing/", form | {"confirm": "on"})
    assert again.status_code == 422
    emptying.emptying_round(now)
    Machine.objects.filter(pk=moves().order_by("pk")[0].machine_id).update(
        host=Host.objects.exclude(pk=quiet.pk)[0]
    )
    page = client.get("/balancing/").content.decode()
    assert f"{quiet.name} is being emptied: 1 of 2 machines moved." in page
    assert "Empty it and let it sleep" not in page
    german = client.get("/balancing/", headers={"accept-language": "de"}).content.decode()
    assert f"{quiet.name} wird geleert: 1 von 2 Maschinen umgezogen." in german
    assert (
        "It is being emptied to sleep until" in client.get(f"/pool/{quiet.name}/").content.decode()
    )
    emptying.call_off(HostDrain.objects.get().pk, say("empty.late"), now)
    told = client.get(path, headers={"accept-language": "de"}).json()
    assert told["emptying"] is None
    assert told["emptied"][0]["note"] == "er würde wieder gebraucht, ehe er schläft"
    assert "it would be needed again before it sleeps" in client.get("/balancing/").content.decode()


def test_the_page_asks_as_much_of_the_database_for_many_earlier_ones(
    plant: Plant, quiet: Host, client: Client
) -> None:
    client.force_login(plant.operator)
    client.get("/balancing/")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            client.get("/balancing/")
            client.get("/api/v1/recommendations/consolidation/")
        return len(asked)

    counts = []
    for number in (1, 8):
        for _each in range(number):
            HostDrain.objects.create(
                host=quiet,
                state="done",
                requested_by=plant.operator,
                sleep_until=NOW,
                ended_at=NOW,
            )
        counts.append(queries())
    assert counts[0] == counts[1]


def test_the_metric_counts_what_is_still_on_it(plant: Plant, quiet: Host) -> None:
    def shown() -> dict[str, float]:
        return {
            sample.labels["host"]: sample.value
            for metric in waits(NOW)
            for sample in metric.samples
            if sample.name == "millwright_host_emptying_machines"
        }

    assert shown() == {}
    begun(plant, quiet)
    assert shown() == {quiet.name: 2}
    Machine.objects.filter(pk=Machine.objects.order_by("pk")[0].pk).update(
        host=Host.objects.exclude(pk=quiet.pk)[0]
    )
    assert shown() == {quiet.name: 1}


# -- called off ------------------------------------------------------------------


def test_it_is_called_off_when_more_is_wanted(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    emptying.emptying_round(NOW)
    busy, later = Machine.objects.order_by("pk")[0], NOW + 5 * MINUTE
    DemandSample.objects.create(machine=busy, at=later, cpu_ratio=500.0, wait_ratio=0)
    assert consolidating.consolidation_round(later) == 0
    ended(row, "consolidate.needed", quiet)
    assert codes() == [("called_off", "consolidate.needed")]
    # What was on its way arrives, and neither this host nor another one is emptied so soon.
    arrive()
    assert emptying.emptying_round(later) == 0
    DemandSample.objects.all().delete()
    DemandHour.objects.filter(at=NOW.replace(minute=0)).update(cpus=0.1)
    Machine.objects.update(host=quiet)
    # Rounds of balancing have been made meanwhile.
    Balancer.objects.update(state={})
    for minutes, code in ((30, "empty.settling"), (90, "empty.called_off")):
        assert consolidating.consolidation_round(later + minutes * MINUTE) == 0
        assert ("kept", code) in codes(), codes()
    assert HostDrain.objects.count() == 1
    assert consolidating.consolidation_round(later + 245 * MINUTE) == 1, codes()


def test_it_is_called_off_when_a_host_is_lost(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    emptying.emptying_round(NOW)
    first = moves().order_by("pk")[0]
    target = Host.objects.get(name=first.payload["destination"])
    Machine.objects.filter(pk=first.machine_id).update(host=target)
    Host.objects.filter(pk=target.pk).update(health="down")
    emptying.emptying_round(NOW + MINUTE)
    ended(row, "consolidate.lost", quiet)


@pytest.mark.parametrize("wanted", ["schedulable", "cordoned", "maintenance"])
def test_a_person_takes_it_in_hand(plant: Plant, quiet: Host, wanted: Any) -> None:
    row = begun(plant, quiet)
    emptying.emptying_round(NOW)
    administer_host(plant.operator, quiet, wanted, "I need it")
    assert emptying.emptying_round(NOW + MINUTE) == 0
    row.refresh_from_db()
    assert (row.state, why(row)) == ("cancelled", "empty.taken")
    assert fresh(quiet).administration == wanted


def test_a_person_drains_it_for_maintenance(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    drain = draining.start(plant.operator, quiet, reason="new fan")
    row.refresh_from_db()
    assert (row.state, why(row)) == ("cancelled", "empty.drained")
    assert emptying.emptying_round(NOW) == 0
    assert draining.drain_round(NOW) == 2
    arrive()
    draining.drain_round(NOW)
    drain.refresh_from_db()
    assert (drain.state, fresh(quiet).administration) == ("done", "maintenance")
    assert not Operation.objects.filter(kind=OperationKind.SLEEP_HOST).exists()


def test_a_drain_that_begins_during_a_step_is_not_put_to_sleep(
    plant: Plant, quiet: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = begun(plant, quiet)
    Machine.objects.update(host=Host.objects.exclude(pk=quiet.pk)[0])
    real = draining.stands

    def late(step: HostDrain) -> bool:
        monkeypatch.setattr(draining, "stands", real)
        draining.start(plant.operator, quiet, reason="new fan")
        return real(step)

    monkeypatch.setattr(draining, "stands", late)
    assert emptying.emptying_round(NOW) == 0
    row.refresh_from_db()
    assert (row.state, why(row), row.operation) == ("cancelled", "empty.drained", None)
    assert not Operation.objects.filter(kind=OperationKind.SLEEP_HOST).exists()
    assert HostDrain.objects.get(state="active").sleep_until is None


def test_a_rolling_drain_does_not_take_an_emptying_for_its_own(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    made = rolling.start(plant.operator, [quiet.name], reason="upgrade")
    rolling.rolling_round(NOW)
    made.refresh_from_db()
    row.refresh_from_db()
    assert row.state == "cancelled"
    assert made.drain is not None
    assert made.drain.sleep_until is None


@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_whoever_says_that_nothing_sleeps_ends_it_at_once(
    plant: Plant, quiet: Host, mode: str
) -> None:
    row = begun(plant, quiet)
    consolidating.set_consolidation(plant.operator, mode, reason="not now")
    ended(row, "empty.mode", quiet)
    entry = AuditEntry.objects.get(action="emptying.call_off")
    assert entry.actor == plant.operator


def test_it_goes_on_when_a_person_is_asked_from_now_on(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    consolidating.set_consolidation(plant.operator, "recommend")
    assert emptying.emptying_round(NOW) == 2
    row.refresh_from_db()
    assert row.state == "active"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("movability", "approval", "consolidate.control"),
        ("movability", "never", "consolidate.control"),
        ("balance_mode", "recommend", "consolidate.mode"),
        ("observed", "paused", "text"),
    ],
)
def test_it_is_called_off_when_a_machine_may_not_move_any_more(
    plant: Plant, quiet: Host, field: str, value: str, code: str
) -> None:
    row = begun(plant, quiet)
    Machine.objects.update(**{field: value})
    assert emptying.emptying_round(NOW) == 0
    ended(row, code, quiet)
    assert not moves().exists()


def test_it_is_called_off_when_a_move_fails(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    assert emptying.emptying_round(NOW) == 2
    failed = moves().order_by("pk")[0]
    Operation.objects.filter(pk=failed.pk).update(state="failed", error="no route")
    assert emptying.emptying_round(NOW + MINUTE) == 0
    ended(row, "empty.failed", quiet)
    row.refresh_from_db()
    assert "no route" in row.note
    assert str(failed.machine) in row.note
    arrive()
    assert consolidating.consolidation_round(NOW + 70 * MINUTE) == 0
    assert ("kept", "empty.called_off") in codes(), codes()


def test_it_is_called_off_when_it_does_not_fall_asleep(plant: Plant, quiet: Host) -> None:
    row = emptied(plant, quiet)
    Operation.objects.filter(pk=row.operation_id).update(state="failed", error="a guest runs there")
    emptying.emptying_round(NOW + 2 * MINUTE)
    ended(row, "empty.not_asleep", quiet)
    row.refresh_from_db()
    assert "a guest runs there" in row.note


@pytest.mark.parametrize("power", [HostPower.AWAKE, HostPower.FALLING_ASLEEP, HostPower.ASLEEP])
def test_called_off_on_its_way_to_sleep_it_is_woken(
    plant: Plant, quiet: Host, power: HostPower
) -> None:
    row = emptied(plant, quiet)
    Host.objects.filter(pk=quiet.pk).update(power=power)
    consolidating.set_consolidation(plant.operator, "off")
    ended(row, "empty.mode", quiet)
    wake = Operation.objects.get(kind=OperationKind.WAKE_HOST)
    assert wake.host == quiet
    assert Operation.objects.get(kind=OperationKind.SLEEP_HOST).cancel_requested


def test_what_stands_in_its_way_for_half_an_hour_ends_it(plant: Plant, quiet: Host) -> None:
    row = begun(plant, quiet)
    Host.objects.filter(pk=quiet.pk).update(health="suspect")
    for minutes in (0, 29):
        assert emptying.emptying_round(NOW + minutes * MINUTE) == 0
        row.refresh_from_db()
        assert row.state == "active"
    emptying.emptying_round(NOW + 30 * MINUTE)
    ended(row, "empty.waited", quiet)


def test_what_is_left_over_from_long_ago_does_not_fall_asleep(plant: Plant, quiet: Host) -> None:
    """The orchestrator was away for hours: the time of its sleep is nearly over."""
    row = begun(plant, quiet)
    HostDrain.objects.update(sleep_until=NOW + 10 * MINUTE)
    assert emptying.emptying_round(NOW) == 0
    ended(row, "empty.late", quiet)


# -- beside others ---------------------------------------------------------------


def test_nothing_is_emptied_beside_drains(plant: Plant, quiet: Host) -> None:
    other = Host.objects.exclude(pk=quiet.pk)[0]
    HostDrain.objects.create(host=other)
    assert consolidating.consolidation_round(NOW) == 0
    assert ("kept", "empty.others") in codes() or ("kept", "consolidate.kept") in codes()
    assert HostDrain.objects.count() == 1


@pytest.mark.parametrize("what", ["drain", "rolling", "recovery", "plan"])
def test_others_come_first(plant: Plant, quiet: Host, what: str) -> None:
    from millwright.balancing.models import HostRecovery, MovePlan, RollingDrain

    row = begun(plant, quiet)
    other = Host.objects.exclude(pk=quiet.pk)[0]
    if what == "drain":
        HostDrain.objects.create(host=other)
    elif what == "rolling":
        RollingDrain.objects.create(hosts=[other.name])
    elif what == "recovery":
        HostRecovery.objects.create(host=other)
    else:
        MovePlan.objects.create(text="a circle", seconds=1.0, state="active")
    assert emptying.emptying_round(NOW) == 0
    ended(row, "empty.others", quiet)
    assert emptying.full(NOW) is not None


@pytest.mark.parametrize("kind", ["drain", "rolling"])
def test_a_persons_drain_counts_on_a_host_that_is_being_emptied(
    plant: Plant, quiet: Host, kind: str
) -> None:
    row = begun(plant, quiet)
    full = Host.objects.exclude(pk=quiet.pk)[0]
    Machine.objects.update(host=full)
    for closed in Host.objects.exclude(pk__in=[quiet.pk, full.pk]):
        administer_host(plant.operator, closed, "cordoned", "tried out")
    if kind == "drain":
        assert draining.preview(full).blockers == ()
        draining.start(plant.operator, full, approve=True)
    else:
        assert not any(host.blockers for host in rolling.preview([full.name]).hosts)
        rolling.start(plant.operator, [full.name], approve=True)
    # In the order of the orchestrator's rounds.
    assert emptying.emptying_round(NOW) == 0
    ended(row, "empty.others", quiet)
    rolling.rolling_round(NOW)
    assert draining.drain_round(NOW) == 2
    assert {move.payload["destination"] for move in moves()} == {quiet.name}


def test_a_persons_drain_does_not_count_on_hosts_that_he_closed(plant: Plant, quiet: Host) -> None:
    begun(plant, quiet)
    full = Host.objects.exclude(pk=quiet.pk)[0]
    Machine.objects.update(host=full)
    for closed in Host.objects.exclude(pk=full.pk):
        administer_host(plant.operator, closed, "cordoned", "tried out")
    with pytest.raises(draining.Blocked):
        draining.start(plant.operator, full, approve=True)


def test_what_is_at_work_at_a_machine_keeps_its_host_and_is_told(plant: Plant, quiet: Host) -> None:
    machine = Machine.objects.order_by("pk")[0]
    Operation.objects.create(kind="restart", machine=machine, payload={})
    assert consolidating.consolidation_round(NOW) == 0
    assert ("kept", "empty.busy") in codes(), codes()
    assert not HostDrain.objects.exists()


def test_whoever_says_off_while_it_begins_is_not_overruled(plant: Plant, quiet: Host) -> None:
    consolidating.consolidation_round(NOW)
    HostDrain.objects.all().delete()
    Host.objects.update(administration="schedulable")
    consolidating.set_consolidation(plant.operator, "recommend")
    consolidating.consolidation_round(NOW + 5 * MINUTE)
    Consolidating.objects.update(mode="off")
    with pytest.raises(ValidationError, match="not put to sleep any more"):
        consolidating.approve(plant.operator, quiet.name, "", NOW + 5 * MINUTE)
    assert fresh(quiet).administration == "schedulable"
