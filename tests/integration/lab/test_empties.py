"""A round empties a real host, which sleeps while its machines go on elsewhere, until a request needs it.

Guests are moved live by the round itself, in mode *automatic*; the host is switched off by its agent as in
`test_sleeps.py`. Only the forecast's past is written: two quiet weeks.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing import consolidating, recommending
from millwright.balancing.models import Consolidating, DemandHour, HostDrain
from millwright.environments.models import (
    DemandSample,
    Machine,
    Move,
    Operation,
    StateTransition,
)
from millwright.environments.moving import set_movability
from millwright.inventory.actions import administer_host
from millwright.inventory.models import AddressClaim, CpuClaim, Drift, Host

from tests.integration.lab.test_killed_orchestrator import SPEC, _disk, _domains
from tests.integration.lab.test_move import _running
from tests.integration.lab.test_sleeps import start
from tests.support.lab import RunningLab
from tests.support.orchestrator import OrchestratorProcess
from tests.support.site import Site, lay_out

__all__ = ["start"]

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.django_db(transaction=True)]

LIMIT_S = 900.0


@pytest.fixture
def site(transactional_db: None, real_lab: RunningLab, tmp_path: Path) -> Iterator[Site]:
    made = lay_out(real_lab, spec=SPEC, files={"disk": _disk(tmp_path)})
    made.plant.project.quota_environments = 4
    made.plant.project.save(update_fields=("quota_environments",))
    yield made
    real_lab.heal()
    # After a failure machines are left, and the next test's would meet them.
    for host, name in _domains(made):
        for word in ("destroy", "undefine"):
            with contextlib.suppress(subprocess.CalledProcessError):
                made.virsh(host, word, name)


def _two_quiet_weeks() -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    DemandHour.objects.bulk_create(
        DemandHour(at=hour - dt.timedelta(hours=ago), cpus=0.05, memory_bytes=2**28)
        for ago in range(1, 337)
    )


def _answer() -> list[tuple[str, str, str]]:
    return [(row["host"], row["what"], row["text"]) for row in consolidating.told().answer]


def _starting_counts_for_nothing() -> None:
    """What guests took while they started is not what the plant wants, and would be its measure for an hour."""
    DemandSample.objects.all().delete()
    DemandHour.objects.filter(at__gt=timezone.now() - dt.timedelta(hours=1)).delete()


def _a_round_now() -> None:
    """The next pass of the orchestrator makes one, and does not wait for its five minutes."""
    Consolidating.objects.exclude(last_round=None).update(last_round=None)


def _ended(operation: Operation) -> bool:
    operation.refresh_from_db()
    return operation.state in ("succeeded", "failed", "cancelled")


def _crowded(site: Site, host: Host) -> list[Machine]:
    """Two machines on the last host, which may move by themselves."""
    operator = site.plant.operator
    others = Host.objects.exclude(pk=host.pk)
    for other in others:
        administer_host(operator, other, "cordoned", "so that both are on one host")
    machines = [site.build(f"killed-{name}") for name in ("a", "b")]
    for other in others:
        administer_host(operator, other, "schedulable", "")
    for machine in machines:
        set_movability(operator, machine, "free", "nobody minds")
    assert {machine.host for machine in machines} == {host}
    return machines


def _as_claimed(site: Site, machine: Machine) -> None:
    """Over there it is what the database says: pins, address, firewall, generation."""
    host = machine.host.name
    pins = site.virsh(host, "vcpupin", machine.domain_name).splitlines()[2:]
    for index, cpus in machine.cpu_assignment["vcpus"].items():
        assert [index, cpus] in [line.split() for line in pins]
    xml = site.virsh(host, "dumpxml", machine.domain_name).replace('"', "'")
    assert f"generation='{machine.generation}'" in xml
    assert f"<mac address='{machine.mac}'/>" in xml
    assert "<filterref" in xml
    assert machine.address_claim.address in xml


def test_a_round_empties_a_host_that_sleeps_and_a_request_wakes_it(
    site: Site, start: Callable[[], OrchestratorProcess]
) -> None:
    # The last host has no core for a controller of its own: its machines find what they have elsewhere.
    other, sleeper = Host.objects.order_by("name")
    Host.objects.filter(pk=sleeper.pk).update(
        policy=sleeper.policy
        | {
            "fence": {"agent": "fence_mwlab", "options": {"plug": sleeper.name}},
            "sleep": {"by": "agent", "wake": "agent", "wake_s": 60},
        }
    )
    process = start()
    site.until(lambda: process.active, "active")
    site.hosts_up("hosts are up")
    machines = _crowded(site, sleeper)
    addresses = {row.pk: (row.mac, row.address_claim.address, row.generation) for row in machines}

    # -- a round empties it --
    _two_quiet_weeks()
    _starting_counts_for_nothing()
    operator = site.plant.operator
    recommending.set_mode(operator, "automatic", 1, "the lab balances itself")
    consolidating.set_consolidation(
        operator, "automatic", "nights", keep_awake=1, headroom_percent=0
    )

    def begun() -> bool:
        if HostDrain.objects.exists():
            return True
        if consolidating.told().last_round is not None:
            _starting_counts_for_nothing()
            _a_round_now()
        return False

    site.until(begun, f"a round begins; {process.log()}", LIMIT_S)
    drain = HostDrain.objects.get()
    assert (drain.host, drain.requested_by, drain.machines) == (sleeper, None, 2)
    assert drain.sleep_until is not None and drain.sleep_until > timezone.now()

    def over() -> bool:
        drain.refresh_from_db()
        return drain.state != "active"

    site.until(over, f"emptied; {_answer()}; {process.log()}", LIMIT_S)
    assert drain.state == "done", (drain.note, process.log())
    sleeper.refresh_from_db()
    assert (sleeper.power, sleeper.administration, sleeper.health) == (
        "asleep",
        "schedulable",
        "up",
    )
    with pytest.raises(subprocess.CalledProcessError):
        site.virsh(sleeper.name, "list")
    assert AuditEntry.objects.filter(action="emptying.done", object_id=str(drain.pk)).exists()
    assert not StateTransition.objects.filter(
        subject_id=str(sleeper.pk), aspect="health", after__in=("suspect", "down")
    ).exists()

    # -- its machines went live, and are what they were --
    moves = list(Move.objects.select_related("operation"))
    assert {(move.source, move.destination, move.state) for move in moves} == {
        (sleeper, other, "done")
    }
    assert all(move.downtime_ms is not None and move.elapsed_ms for move in moves)
    assert {move.operation.reason for move in moves} == {drain.reason}
    print([(str(move.machine), move.elapsed_ms, move.downtime_ms) for move in moves])
    here = _list(site, other)
    for machine in Machine.objects.select_related("host"):
        mac, address, generation = addresses[machine.pk]
        assert (machine.host, machine.observed) == (other, "running")
        assert (machine.mac, machine.generation) == (mac, generation + 1)
        assert AddressClaim.objects.get(machine=machine).address == address
        assert machine.domain_name in here
        _as_claimed(site, machine)
    assert set(CpuClaim.objects.values_list("host", flat=True)) <= {other.pk}
    assert not Drift.objects.exclude(kind="foreign").exists()

    # -- a request that has room there alone wakes it --
    Consolidating.objects.update(last_round=timezone.now())
    administer_host(operator, other, "cordoned", "no room elsewhere")
    environment = site.request("killed-woken")
    provision = Operation.objects.get(kind="provision", environment=environment)
    text = f"waiting for {sleeper.name}, which is being woken"
    site.until(lambda: provision.refresh_from_db() or text in provision.progress, "it waits")
    administer_host(operator, other, "schedulable", "")
    site.until(lambda: _ended(provision), f"built; {process.log()}", 480.0)
    assert provision.state == "succeeded", (provision.error, list(provision.steps.values()))
    (wake,) = AuditEntry.objects.filter(action="host.wake")
    assert (wake.actor, wake.reason) == (None, "a machine has room on no host that is awake")
    machine = environment.machines.get()
    assert machine.host == sleeper
    _as_claimed(site, machine)

    # -- and the round after that leaves it alone --
    set_movability(operator, machine, "free", "nobody minds")
    _a_round_now()
    # The answer is written at the end of a round; until then it is the one before, which was emptying the host.
    site.until(
        lambda: [what for _host, what, _text in _answer()] == ["kept"],
        f"a round keeps it; {_answer()}; {process.log()}",
    )
    print(_answer())
    assert HostDrain.objects.count() == 1
    assert not Operation.objects.live().exists()
    assert sorted(_running(site)) == sorted(
        (row.host.name, row.domain_name) for row in Machine.objects.select_related("host")
    )
    site.remove()
    assert _domains(site) == []


def _list(site: Site, host: Host) -> list[str]:
    return site.virsh(host.name, "list", "--state-running", "--name").split()
