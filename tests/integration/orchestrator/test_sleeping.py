"""Hosts that sleep: who may say so, what stands in the way, how the orders go out, and what rounds and looks make of it."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone, translation
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments.models import Machine, Move, Operation, StateTransition
from millwright.environments.placement import preview
from millwright.hypervisor.fake import FakePool
from millwright.inventory import waking
from millwright.inventory.actions import validate_policy
from millwright.inventory.models import CpuClaim, Drift, Host
from millwright.inventory.power import ask_sleep, ask_wake, change_power, why_not_asleep
from millwright.operations import FenceRefused, StepFailed
from millwright.orchestrator.fencing import AgentFencer
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.sleeping import (
    HostSleeper,
    PowerStore,
    broadcast_of,
    magic_packet,
)
from millwright.orchestrator.watcher import Watcher

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]

MAC = "52:54:00:aa:bb:cc"
SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": MAC, "wake_s": 90}
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def sleepy(plant: Plant) -> Host:
    """The second host may sleep, answers, and has nothing on it."""
    host = plant.hosts[1]
    Host.objects.update(health="up")
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": SLEEP})
    return Host.objects.get(pk=host.pk)


def fresh(host: Host) -> Host:
    return Host.objects.get(pk=host.pk)


def code(host: Host) -> str:
    why = why_not_asleep(fresh(host))
    return "" if why is None else why.parts[0]["code"]


def end(operation: Operation, state: str, at: dt.datetime | None = None, error: str = "") -> None:
    """As the runner writes it."""
    Operation.objects.filter(pk=operation.pk).update(
        state=state, ended_at=at or timezone.now(), error=error
    )


def to(host: Host, power: HostPower, **also: Any) -> None:
    Host.objects.filter(pk=host.pk).update(power=power, power_since=timezone.now(), **also)


# --- who, and what stands in the way -------------------------------------------------------------


@pytest.mark.parametrize(
    ("sleep", "field"),
    [
        ("suspend", "policy.sleep"),
        ({"by": "hibernate", "wake": "agent"}, "policy.sleep.by"),
        ({"by": "suspend", "wake": "knock", "mac": MAC}, "policy.sleep.wake"),
        ({"by": "suspend", "wake": "magic_packet"}, "policy.sleep.mac"),
        ({"by": "suspend", "wake": "magic_packet", "mac": "52:54:00"}, "policy.sleep.mac"),
        ({"by": "agent", "wake": "agent"}, "policy.sleep"),
        (SLEEP | {"wake_s": 5}, "policy.sleep.wake_s"),
        (SLEEP | {"wake_s": True}, "policy.sleep.wake_s"),
        (SLEEP | {"watts": -1}, "policy.sleep.watts"),
        (SLEEP | {"may": "yes"}, "policy.sleep.may"),
        (SLEEP | {"address": "everybody"}, "policy.sleep.address"),
        (SLEEP | {"after": 5}, "policy.sleep"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_its_field(sleep: Any, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_policy({"sleep": sleep})
    assert set(caught.value.message_dict) == {field}


def test_policies_that_can_be() -> None:
    validate_policy({"sleep": SLEEP})
    validate_policy({"sleep": SLEEP | {"address": "10.0.0.255", "watts": 240, "may": False}})
    agent = {"fence": {"agent": "fence_ipmilan"}, "sleep": {"by": "agent", "wake": "agent"}}
    validate_policy(agent)
    validate_policy({"sleep": {}})


def test_each_thing_that_keeps_it_awake_is_named(
    plant: Plant, sleepy: Host, machines: list[Machine]
) -> None:
    Host.objects.filter(pk=sleepy.pk).update(policy=sleepy.policy)
    assert code(sleepy) == ""
    with_machines = why_not_asleep(
        Host(pk=plant.hosts[0].pk, name="h", policy={"sleep": SLEEP}, health="up")
    )
    assert with_machines is not None
    assert with_machines.parts[0]["facts"]["names"] == [str(machines[0]), str(machines[1])]
    for changes, wanted in (
        ({"policy": {}}, "power.not_configured"),
        ({"policy": {"sleep": SLEEP | {"may": False}}}, "power.may_not"),
        ({"power": "asleep"}, "power.not_awake"),
        ({"health": "suspect"}, "power.not_up"),
        ({"administration": "draining"}, "power.draining"),
    ):
        before = {name: getattr(sleepy, name) for name in changes}
        Host.objects.filter(pk=sleepy.pk).update(**changes)
        assert code(sleepy) == wanted
        Host.objects.filter(pk=sleepy.pk).update(**before)
    for administration in ("cordoned", "maintenance"):
        Host.objects.filter(pk=sleepy.pk).update(administration=administration)
        assert code(sleepy) == ""
    operation = Operation.objects.create(kind="fence", host=sleepy)
    assert code(sleepy) == "power.busy"
    end(operation, "succeeded")
    # A claim without a machine there yet, and a machine on its way.
    claim = CpuClaim.objects.create(
        host=sleepy, cpu=1, machine=machines[1], vcpu=0, operation=uuid4()
    )
    assert code(sleepy) == "power.not_empty"
    claim.delete()
    for source, destination in ((plant.hosts[0], sleepy), (sleepy, plant.hosts[0])):
        move = Move.objects.create(
            operation=Operation.objects.create(kind="migrate", machine=machines[1]),
            machine=machines[1],
            source=source,
            destination=destination,
            generation=2,
        )
        assert code(sleepy) == "power.not_empty"
        Move.objects.filter(pk=move.pk).update(state="done")
        assert code(sleepy) == ""


def test_asking_is_for_those_who_keep_the_pool_and_stands_in_the_trail(
    plant: Plant, sleepy: Host
) -> None:
    for ask in (ask_sleep, ask_wake):
        with pytest.raises(PermissionRefused):
            ask(plant.engineer, sleepy, reason="night")
    with pytest.raises(ValidationError, match="awake"):
        ask_wake(plant.operator, sleepy, reason="morning")
    until = timezone.now() + 8 * 60 * MINUTE
    operation = ask_sleep(plant.operator, sleepy, reason="night", until=until)
    assert (operation.kind, operation.host, operation.machine) == ("sleep_host", sleepy, None)
    assert operation.payload == {"host": sleepy.name, "until": until.isoformat()}
    entry = AuditEntry.objects.get(action="host.sleep")
    assert (entry.actor, entry.reason) == (plant.operator, "night")
    with pytest.raises(ValidationError, match="busy"):
        ask_sleep(plant.operator, sleepy, reason="again")
    with translation.override("de"), pytest.raises(ValidationError, match="ist beschäftigt"):
        ask_sleep(plant.operator, sleepy, reason="again")
    # Waking it while it falls asleep ends that where it still can be ended; asked twice it is one.
    wake = ask_wake(None, sleepy, reason="a request")
    assert ask_wake(plant.operator, sleepy, reason="another").pk == wake.pk
    operation.refresh_from_db()
    assert operation.cancel_requested
    assert AuditEntry.objects.get(action="host.wake").actor is None


# --- the store, and the orders -------------------------------------------------------------------


def test_the_mark_and_a_placement_exclude_each_other(
    plant: Plant, sleepy: Host, machines: list[Machine]
) -> None:
    store = PowerStore()
    Host.objects.filter(pk=sleepy.pk).update(policy=sleepy.policy)
    operation = ask_sleep(plant.operator, sleepy, reason="night")
    spec = machines[1].template_version.spec

    def refused() -> list[str]:
        plan = preview(spec, "small", cell="line1", strict=False)
        (verdict,) = [row for row in plan.verdicts if row.host == sleepy.name]
        return [str(reason.code) for reason in verdict.reasons]

    before = refused()
    assert "host_asleep" not in before
    store.let_sleep(operation.pk, sleepy.name)
    store.let_sleep(operation.pk, sleepy.name)
    assert fresh(sleepy).power == "falling_asleep"
    assert fresh(sleepy).power_reason == "night"
    assert refused() == ["host_asleep", *before]
    store.set_power(operation.pk, sleepy.name, HostPower.AWAKE, "it was not put to sleep")
    assert refused() == before
    # And the other way round: a machine that has come meanwhile.
    Machine.objects.filter(pk=machines[1].pk).update(host=sleepy)
    with pytest.raises(StepFailed, match="is not empty"):
        store.let_sleep(operation.pk, sleepy.name)
    assert fresh(sleepy).power == "awake"


def test_what_became_of_it_is_history(plant: Plant, sleepy: Host) -> None:
    store = PowerStore()
    until = timezone.now() + 60 * MINUTE
    operation = ask_sleep(plant.operator, sleepy, reason="night", until=until)
    store.let_sleep(operation.pk, sleepy.name)
    store.set_power(operation.pk, sleepy.name, HostPower.ASLEEP, "")
    host = fresh(sleepy)
    assert (host.power, host.power_until, host.power_reason) == ("asleep", until, "night")
    # May not follow: nothing changes.
    store.set_power(operation.pk, sleepy.name, HostPower.FALLING_ASLEEP, "")
    wake = ask_wake(plant.operator, sleepy, reason="morning")
    Host.objects.update(last_seen=timezone.now() - 60 * MINUTE)
    store.set_power(wake.pk, sleepy.name, HostPower.WAKING, "")
    store.set_power(wake.pk, sleepy.name, HostPower.AWAKE, "")
    host = fresh(sleepy)
    assert (host.power, host.power_until, host.power_reason) == ("awake", None, "morning")
    assert host.last_seen is not None and timezone.now() - host.last_seen < MINUTE
    rows = StateTransition.objects.filter(aspect="power").order_by("pk")
    assert [(row.after, row.operation) for row in rows] == [
        ("falling_asleep", operation.pk),
        ("asleep", operation.pk),
        ("waking", wake.pk),
        ("awake", wake.pk),
    ]
    assert store.power(sleepy.name) is HostPower.AWAKE
    with pytest.raises(StepFailed, match="not in the inventory"):
        store.power("nobody")


class Agent:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def off(self, host: str) -> str:
        self.told.append(("off", host))
        return "off"

    def on(self, host: str) -> str:
        self.told.append(("on", host))
        return "on"


class Wires:
    """Hosts that can be told, and a network that remembers."""

    def __init__(self, name: str) -> None:
        self.pool = FakePool(site="s")
        self.fake = self.pool.add_host(name)
        self.sent: list[tuple[bytes, str]] = []
        self.agent = Agent()
        self.sleeper = HostSleeper(self, self.agent, lambda *what: self.sent.append(what))

    def get(self, host: str) -> Any:
        return self.pool.host(host)


def test_a_host_is_suspended_until_its_own_alarm_and_woken_by_a_packet(sleepy: Host) -> None:
    wires = Wires(sleepy.name)
    now = timezone.now()
    for until, wanted in (
        (None, 24 * 3600),
        (now + 48 * 60 * MINUTE, 24 * 3600),
        (now + 60 * MINUTE, 3600 - 90),
        # A time that has nearly come: the least that an alarm can be set to.
        (now + MINUTE, 60),
    ):
        wires.fake.restore()
        wires.sleeper.sleep(sleepy.name, until)
        assert wires.fake.asleep
        assert wires.fake.wake_after_s is not None
        assert 0 <= wanted - wires.fake.wake_after_s <= 30
    Host.objects.filter(pk=sleepy.pk).update(
        policy={"sleep": SLEEP | {"address": "10.0.0.255", "may": False}}
    )
    wires.sleeper.wake(sleepy.name)
    assert wires.sent == [(magic_packet(MAC), "10.0.0.255")]
    assert wires.agent.told == []
    assert wires.sleeper.wake_s(sleepy.name) == 90


def test_a_host_is_switched_off_and_on_by_its_agent(sleepy: Host) -> None:
    wires = Wires(sleepy.name)
    policy = {"fence": {"agent": "fence_x"}, "sleep": {"by": "agent", "wake": "agent"}}
    Host.objects.filter(pk=sleepy.pk).update(policy=policy)
    wires.sleeper.sleep(sleepy.name, None)
    wires.sleeper.wake(sleepy.name)
    assert wires.agent.told == [("off", sleepy.name), ("on", sleepy.name)]
    assert not wires.fake.asleep and wires.sent == []
    Host.objects.filter(pk=sleepy.pk).update(policy={})
    for order in (lambda: wires.sleeper.sleep(sleepy.name, None), lambda: wires.sleeper.wake(sleepy.name)):  # fmt: skip
        with pytest.raises(FenceRefused, match="does not say how it sleeps"):
            order()


def test_a_packet_that_cannot_be_sent_is_said(sleepy: Host) -> None:
    def send(data: bytes, address: str) -> None:
        raise OSError("Network is unreachable")

    with pytest.raises(FenceRefused, match="Network is unreachable"):
        HostSleeper(Wires(sleepy.name), Agent(), send).wake(sleepy.name)


def test_a_magic_packet_is_six_times_ff_and_the_address_sixteen_times() -> None:
    packet = magic_packet(MAC)
    assert len(packet) == 102
    assert packet[:6] == b"\xff" * 6
    assert packet[6:] == bytes.fromhex("525400aabbcc") * 16


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\t0005000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000A8C0\t0100000A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("10.0.7.9", "10.0.255.255"),
        # The narrowest network that it lies in.
        ("10.0.5.9", "10.0.5.255"),
        # Behind a gateway, of the other kind, or not known: everybody here.
        ("192.168.4.4", "255.255.255.255"),
        ("fd00::1", "255.255.255.255"),
        (None, "255.255.255.255"),
    ],
)
def test_packets_go_to_the_host_s_own_network(address: str | None, where: str) -> None:
    assert broadcast_of(address, ROUTES) == where


def test_an_agent_is_told_on_with_its_options(tmp_path: Path, sleepy: Host) -> None:
    log = tmp_path / "told"
    agent = tmp_path / "fence_try"
    agent.write_text(f'#!/bin/sh\ncat >> {log}\necho "Success: Powered ON"\n')
    agent.chmod(0o755)
    policy = {"fence": {"agent": "fence_try", "options": {"plug": "h2"}}}
    Host.objects.filter(pk=sleepy.pk).update(policy=policy)
    assert "fence_try" in AgentFencer(str(tmp_path)).on(sleepy.name)
    assert log.read_text().splitlines() == ["action=on", "plug=h2"]
    agent.write_text("#!/bin/sh\necho 'Unable to connect' >&2\nexit 1\n")
    with pytest.raises(FenceRefused, match="Unable to connect"):
        AgentFencer(str(tmp_path)).on(sleepy.name)


# --- what is seen --------------------------------------------------------------------------------


@pytest.fixture
def watched(sleepy: Host) -> tuple[Watcher, Any]:
    """The sleepy host on a fake, and who looks at it."""
    pool = FakePool(site="s")
    fake = pool.add_host(sleepy.name)
    hosts = Hosts("s", on_event=lambda _: None, factory=lambda name, uri, _: pool.host(name))
    hosts.sync({sleepy.name: sleepy.uri})
    Host.objects.filter(pk=sleepy.pk).update(last_seen=timezone.now() - 60 * MINUTE)
    return Watcher(hosts, threading.Event()), fake


@pytest.mark.parametrize("power", ["falling_asleep", "asleep", "waking"])
def test_a_host_that_is_silent_by_intent_is_not_lost(
    sleepy: Host, watched: tuple[Watcher, Any], power: str
) -> None:
    watcher, fake = watched
    to(sleepy, HostPower(power))
    fake.cut()
    watcher.look(sleepy.name)
    host = fresh(sleepy)
    assert (host.health, host.power, host.health_reason) == ("up", power, "")
    assert not StateTransition.objects.filter(aspect="health").exists()
    assert not Drift.objects.filter(host=host).exists()
    # Awake it would be down at once: it has not been seen for an hour.
    to(sleepy, HostPower.AWAKE)
    watcher.look(sleepy.name)
    assert fresh(sleepy).health == "down"


def test_one_that_answers_although_it_sleeps_is_awake_and_that_is_told(
    sleepy: Host, watched: tuple[Watcher, Any]
) -> None:
    watcher, _ = watched
    to(sleepy, HostPower.ASLEEP)
    watcher.look(sleepy.name)
    assert (fresh(sleepy).power, fresh(sleepy).health) == ("awake", "up")
    entry = AuditEntry.objects.get(action="host.awake")
    assert entry.actor is None and "nobody here has woken it" in entry.reason
    # Its own alarm is no riddle.
    to(sleepy, HostPower.ASLEEP, power_until=timezone.now() + MINUTE)
    watcher.look(sleepy.name)
    assert fresh(sleepy).power_reason == "its own alarm woke it"


def test_its_connection_rests_only_while_it_sleeps(sleepy: Host) -> None:
    pool = FakePool(site="s")
    fake = pool.add_host(sleepy.name)
    hosts = Hosts("s", factory=lambda name, uri, _: pool.host(name))
    rested: list[bool] = []
    fake.rest = rested.append
    uris = {sleepy.name: sleepy.uri}
    for asleep in ((), {sleepy.name}, {sleepy.name}, (), ()):
        hosts.sync(uris, asleep)
    # Told when it changes, and not at each look at the inventory.
    assert rested == [True, False]
    hosts.sync(uris, {sleepy.name})
    hosts.sync({sleepy.name: "qemu+tls://elsewhere/system"}, {sleepy.name})
    assert rested == [True, False, True, True]


@pytest.mark.parametrize("power", ["awake", "falling_asleep", "asleep", "waking"])
def test_the_watcher_lets_the_connection_of_one_that_sleeps_rest(sleepy: Host, power: str) -> None:
    pool = FakePool(site="s")
    for name in Host.objects.values_list("name", flat=True):
        pool.add_host(name).cut()
    to(sleepy, HostPower(power))
    stop = threading.Event()
    rests: list[bool] = []

    class _Once(Hosts):
        def sync(self, wanted: dict[str, str], asleep: Any = ()) -> None:
            super().sync(wanted, asleep)
            rests.append(pool.host(sleepy.name).resting)
            stop.set()

    Watcher(_Once("s", factory=lambda name, uri, _: pool.host(name)), stop).run()
    assert rests == [power == "asleep"]


def test_an_answer_from_before_it_fell_asleep_does_not_wake_it(
    sleepy: Host, watched: tuple[Watcher, Any]
) -> None:
    watcher, fake = watched
    answer = fake.bulk_state

    def slowly(**how: Any) -> Any:
        rows = answer(**how)
        to(sleepy, HostPower.ASLEEP)
        return rows

    fake.bulk_state = slowly
    watcher.look(sleepy.name)
    assert fresh(sleepy).power == "asleep"


@pytest.mark.parametrize("power", ["falling_asleep", "waking"])
def test_under_way_its_operation_says_what_becomes_of_it(
    sleepy: Host, watched: tuple[Watcher, Any], power: str
) -> None:
    watcher, _ = watched
    to(sleepy, HostPower(power))
    watcher.look(sleepy.name)
    assert fresh(sleepy).power == power


# --- rounds --------------------------------------------------------------------------------------


def wakes() -> list[Operation]:
    return list(Operation.objects.filter(kind=OperationKind.WAKE_HOST).order_by("created_at"))


def test_it_is_woken_so_early_that_it_is_awake_in_time(sleepy: Host) -> None:
    now = timezone.now()
    to(sleepy, HostPower.ASLEEP, power_until=now + 10 * MINUTE)
    assert waking.power_round(now) == 0
    # It is expected to take 90 s.
    assert waking.power_round(now + 8 * MINUTE) == 0
    assert waking.power_round(now + 9 * MINUTE) == 1
    (operation,) = wakes()
    assert (operation.host, operation.reason) == (sleepy, "it was to sleep until now")
    assert waking.power_round(now + 10 * MINUTE) == 0
    # A person ends that: it sleeps on.
    end(operation, "cancelled")
    assert waking.power_round(now + 20 * MINUTE) == 0


def test_one_without_a_time_sleeps_until_somebody_wakes_it(sleepy: Host) -> None:
    to(sleepy, HostPower.ASLEEP)
    assert waking.power_round(timezone.now() + dt.timedelta(days=30)) == 0


def test_what_did_not_wake_is_tried_again_with_growing_pauses(sleepy: Host) -> None:
    now = timezone.now()
    to(sleepy, HostPower.ASLEEP)
    ask_wake(None, sleepy, reason="a request")
    tried = []
    at = now
    for _ in range(4 * 60):
        for operation in wakes():
            if operation.state == "queued":
                end(operation, "failed", at, "h2 does not answer")
                tried.append(at)
        at += MINUTE
        waking.power_round(at)
    pauses = [
        round((later - earlier).total_seconds() / 60)
        for earlier, later in itertools.pairwise(tried)
    ]
    assert pauses[:6] == [2, 4, 8, 16, 32, 60]
    assert set(pauses[6:]) <= {60}
    (row,) = waking.not_waking()
    assert (row.host, row.tries, row.why) == (sleepy, len(tried), "h2 does not answer")
    # It wakes: what was before that is over.
    last = wakes()[-1]
    end(last, "succeeded")
    assert waking.not_waking() == []


def test_nobody_is_left_half_asleep(plant: Plant, sleepy: Host) -> None:
    for power, kind, after in (
        (HostPower.FALLING_ASLEEP, "sleep_host", "awake"),
        (HostPower.WAKING, "wake_host", "asleep"),
    ):
        operation = Operation.objects.create(kind=kind, host=sleepy, state="running")
        to(sleepy, power)
        waking.power_round(timezone.now())
        assert fresh(sleepy).power == power
        end(operation, "cancelled")
        waking.power_round(timezone.now())
        assert fresh(sleepy).power == after


def test_rounds_ask_the_same_few_questions_however_many_sleep(
    plant: Plant, sleepy: Host, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    Host.objects.bulk_create(
        Host(
            name=f"s{number}",
            uri="fake:///",
            health="up",
            power="asleep",
            power_since=now,
            power_until=now + 60 * MINUTE,
            policy={"sleep": SLEEP},
        )
        for number in range(40)
    )
    with django_assert_max_num_queries(6):
        assert waking.power_round(now) == 0


def test_what_is_said_of_it_is_read_in_each_language(sleepy: Host) -> None:
    from millwright.environments.reasons import said

    change_power(sleepy, HostPower.FALLING_ASLEEP, "night")
    with translation.override("de"):
        assert said("its own alarm woke it") == "sein eigener Wecker hat ihn geweckt"
        assert said(f"{sleepy.name} answers no longer") == f"{sleepy.name} antwortet nicht mehr"
