"""Asks every host what it runs: on connecting, on events, and every few seconds. Writes what was seen.

A host that does not answer is suspect at once, and what it runs is *unknown*: not running, not down.
After a while without an answer it counts as down; its machines stay unknown until it, or a person, says more.

What is written has the time at which it was so, as exactly as that is known: a stop the time of libvirt's event, a
lost host the time at which its connection closed or the question that it left unanswered was asked.
"""

from __future__ import annotations

import datetime as dt
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Max
from django.utils import timezone

from millwright.balancing.recovering import clear_returned
from millwright.core.lifecycle import (
    EnvironmentState,
    HostHealth,
    HostPower,
    MachineDesired,
    MachineObserved,
    OperationState,
)
from millwright.environments.history import environment_transition, machine_observed, transition
from millwright.environments.models import DemandSample, Machine, Operation
from millwright.hypervisor import (
    DeadlineExceeded,
    DomainState,
    DomainStats,
    Event,
    EventKind,
    HypervisorError,
)
from millwright.inventory.models import Host
from millwright.inventory.waking import woken_by_itself
from millwright.service_levels.models import ProbeState

from .hosts import Hosts
from .reconciler import reconcile

log = logging.getLogger(__name__)

#: Seconds between two looks at a host, for an answer, and from suspect to down.
LOOK_S, ANSWER_S, DOWN_S = 5.0, 5.0, 60.0
#: Seconds between two looks at a host that sleeps: it may have been woken by hand.
ASLEEP_LOOK_S = 30.0
#: Demand is sampled this often.
SAMPLE_S = 15.0
#: Hosts asked at once. A frozen host holds one place for ANSWER_S at most.
AT_ONCE = 32

SEEN = {
    DomainState.RUNNING: MachineObserved.RUNNING,
    DomainState.PAUSED: MachineObserved.PAUSED,
    DomainState.STOPPED: MachineObserved.STOPPED,
    DomainState.CRASHED: MachineObserved.CRASHED,
    DomainState.MIGRATING: MachineObserved.MIGRATING,
    DomainState.UNKNOWN: MachineObserved.UNKNOWN,
}

#: What libvirt says of a machine that ended → what that is. It need not be asked about that again.
STOPS = {
    "crashed": MachineObserved.CRASHED,
    "stopped": MachineObserved.STOPPED,
    "destroyed": MachineObserved.STOPPED,
}


class Watcher:
    """Looks at hosts in a pool of threads; `run` until `stop` is set."""

    def __init__(
        self,
        hosts: Hosts,
        stop: threading.Event,
        lost: Callable[[Sequence[UUID]], None] = lambda _machines: None,
    ) -> None:
        """`lost` is told of machines that went out of sight."""
        self._hosts, self._lost = hosts, lost
        self._stop = stop
        self._hints: queue.SimpleQueue[Event] = queue.SimpleQueue()
        #: host → when its connection ended, until it answers again
        self._dropped: dict[str, dt.datetime] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look")
        self._last_cpu: dict[UUID, tuple[float, int, int]] = {}
        self._sampled: dict[str, float] = {}
        self.looks = 0

    def hint(self, event: Event) -> None:
        """An event came: look at its host soon. Called from the driver's threads."""
        if event.kind is EventKind.DISCONNECTED:
            self._dropped.setdefault(event.host, event.at)
        if event.kind is not EventKind.AGENT:
            self._hints.put(event)

    def run(self) -> None:
        """Look, until told to stop."""
        busy: dict[str, Future[None]] = {}
        due: dict[str, float] = {}
        clock = _monotonic
        while not self._stop.is_set():
            try:
                rows = list(Host.objects.values_list("name", "uri", "power"))
                asleep = {name for name, _, power in rows if power == HostPower.ASLEEP}
                # Of one that sleeps nobody expects an answer: it is connected to when it is looked at.
                self._hosts.sync({name: uri for name, uri, _ in rows}, asleep)
            except Exception:
                log.exception("the inventory could not be read")
                self._stop.wait(2.0)
                continue
            finally:
                connections.close_all()
            hinted = self._drain()
            now = clock()
            for name in self._hosts.names():
                if (name in hinted or now >= due.get(name, 0.0)) and (
                    name not in busy or busy[name].done()
                ):
                    busy[name] = self._pool.submit(self._look_safely, name)
                    due[name] = now + (ASLEEP_LOOK_S if name in asleep else LOOK_S)
            self._stop.wait(0.25)
        wait([future for future in busy.values() if not future.done()], timeout=ANSWER_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _drain(self) -> set[str]:
        names = set()
        try:
            while True:
                event = self._hints.get_nowait()
                names.add(event.host)
                try:
                    self._stopped(event)
                except Exception:
                    # One event that cannot be written keeps no other from it: the host is looked at all the same.
                    log.exception("%s of %s on %s", event.detail, event.name, event.host)
        except queue.Empty:
            return names
        finally:
            connections.close_all()

    def _look_safely(self, name: str) -> None:
        try:
            self.look(name)
        except Exception:
            log.exception("looking at %s", name)
        finally:
            connections.close_all()

    def look(self, name: str) -> None:
        """Ask one host and write what it says."""
        self.looks += 1
        asked = timezone.now()
        try:
            domains = self._hosts.get(name).bulk_state(deadline_s=ANSWER_S)
        except HypervisorError as error:
            lost = self._dropped.get(name, asked)
            if isinstance(error, DeadlineExceeded):
                # Nothing was heard since the question, whatever became of the connection meanwhile.
                lost = min(lost, asked)
            self._silent(name, str(error), asked, lost)
            return
        if self._dropped.get(name, asked) < asked:
            self._dropped.pop(name, None)
        self._answered(name, domains, asked)

    # --- what was seen --------------------------------------------------------------------------

    def _stopped(self, event: Event) -> None:
        """Write a stop that nobody ordered as of its event: an answer about it may be long in coming."""
        state = STOPS.get(event.detail)
        if event.kind is not EventKind.DOMAIN or state is None:
            return
        with transaction.atomic():
            host = Host.objects.select_for_update().filter(name=event.host).first()
            if host is None:
                return
            machine = (
                host.machines.select_related("environment")
                .filter(pk=event.uuid)
                .exclude(observed__in=(MachineObserved.ABSENT, *STOPS.values()))
                .first()
            )
            if (
                machine is None
                # Seen otherwise since: the event is about an earlier run.
                or (machine.observed_at is not None and event.at < machine.observed_at)
                or _busy(machine)
                or host.moves_out.filter(machine=machine, state="prepared").exists()
            ):
                return
            machine_observed(machine, state, cause=event.detail, at=event.at)
            if machine.desired == MachineDesired.RUNNING:
                _degrade(machine, f"{machine.name} is {state}")

    def _silent(self, name: str, why: str, asked: dt.datetime, lost: dt.datetime) -> None:
        with transaction.atomic():
            host = Host.objects.select_for_update().filter(name=name).first()
            if host is None or host.power != HostPower.AWAKE:
                # Silent by intent: nothing is lost, and nothing of ours is on it. What becomes of it its operation says.
                return
            now = timezone.now()
            silent_s = (now - host.last_seen).total_seconds() if host.last_seen else None
            health = (
                HostHealth.DOWN
                if silent_s is not None and silent_s > DOWN_S
                else HostHealth.SUSPECT
            )
            if host.health == HostHealth.DOWN:
                health = HostHealth.DOWN
            transition(
                host, "host_health", health, field="health", cause=why, health_reason=why[:300]
            )
            gone = []
            answered = _last_answers(host)
            for machine in host.machines.select_related("environment").exclude(
                observed=MachineObserved.UNKNOWN
            ):
                # What was seen after the question, by an event or an operation, stands until the next one.
                later = machine.observed_at is not None and machine.observed_at > asked
                if machine.observed != MachineObserved.ABSENT and not later:
                    gone.append(machine.pk)
                    known = (lost, machine.observed_at, answered.get(machine.pk))
                    machine_observed(
                        machine,
                        MachineObserved.UNKNOWN,
                        cause=f"{name} does not answer",
                        at=max(at for at in known if at is not None),
                    )
                    _degrade(machine, f"{name} does not answer")
        if gone:
            self._lost(gone)

    def _answered(self, name: str, domains: tuple[DomainStats, ...], asked: dt.datetime) -> None:
        with transaction.atomic():
            host = Host.objects.select_for_update().filter(name=name).first()
            if host is None:
                return
            now = timezone.now()
            if host.power == HostPower.ASLEEP and asked >= (host.power_since or asked):
                woken_by_itself(host, now)
            if host.health != HostHealth.UP:
                transition(
                    host,
                    "host_health",
                    HostHealth.UP,
                    field="health",
                    cause="it answers",
                    health_reason="",
                )
            Host.objects.filter(pk=host.pk).update(last_seen=now)
            seen = {row.uuid: row for row in domains if row.owned_by(self._hosts.site)}
            machines = {
                machine.pk: machine for machine in host.machines.select_related("environment")
            }
            leaving = frozenset(
                host.moves_out.filter(state="prepared").values_list("machine_id", flat=True)
            )
            # Operations have changed these since the host was asked: its answer is about before.
            later = frozenset(
                machine.pk
                for machine in machines.values()
                if machine.observed_at is not None and asked < machine.observed_at <= now
            )
            for machine in machines.values():
                if machine.pk in leaving and machine.pk not in seen:
                    # It has just arrived at its destination: its move says so, and where.
                    continue
                if machine.pk not in later:
                    self._machine(machine, seen.get(machine.pk), name)
            if seen.keys() - machines.keys():
                # Before anything else: what came back and runs elsewhere by now.
                clear_returned(host, set(seen))
            reconcile(host, domains, machines, self._hosts.site, now, later)
        self._demand(name, seen, machines)

    def _machine(self, machine: Machine, row: DomainStats | None, host: str) -> None:
        state = SEEN[row.state] if row is not None else MachineObserved.ABSENT
        changed = machine_observed(
            machine, state, cause=(row.reason if row and row.reason else f"seen on {host}")
        )
        if not changed:
            return
        if state is MachineObserved.RUNNING:
            _heal(machine)
        elif machine.desired == MachineDesired.RUNNING:
            _degrade(machine, f"{machine.name} is {state}")

    def _demand(
        self, host: str, seen: dict[UUID, DomainStats], machines: dict[UUID, Machine]
    ) -> None:
        """CPU and wait ratios since the last sample of each machine."""
        now = _monotonic()
        if now - self._sampled.get(host, -SAMPLE_S) < SAMPLE_S:
            return
        self._sampled[host] = now
        at = timezone.now()
        samples = []
        for uuid, row in seen.items():
            if uuid not in machines or row.cpu_time_ns is None:
                continue
            delay = sum(vcpu.delay_ns for vcpu in row.vcpus)
            before = self._last_cpu.get(uuid)
            self._last_cpu[uuid] = (now, row.cpu_time_ns, delay)
            if before is None or row.cpu_time_ns < before[1] or now <= before[0]:
                continue
            span_ns = (now - before[0]) * 1e9
            samples.append(
                DemandSample(
                    machine_id=uuid,
                    at=at,
                    cpu_ratio=(row.cpu_time_ns - before[1]) / span_ns,
                    wait_ratio=max(0.0, (delay - before[2]) / span_ns),
                    memory_bytes=row.memory_used_bytes or row.rss_bytes or 0,
                )
            )
        DemandSample.objects.bulk_create(samples)


def _monotonic() -> float:
    import time

    return time.monotonic()


def _last_answers(host: Host) -> dict[UUID, dt.datetime]:
    """Machine → when a probe from outside last had an answer: it was not lost before."""
    return dict(
        ProbeState.objects.filter(machine__host=host, ok=True, stale=False)
        .values("machine")
        .annotate(last=Max("last_at"))
        .values_list("machine", "last")
    )


def _degrade(machine: Machine, why: str) -> None:
    """An environment whose machine is not as wanted is degraded, unless an operation is about it."""
    environment = machine.environment
    if environment.state == EnvironmentState.RUNNING and not _busy(machine):
        environment_transition(environment, EnvironmentState.DEGRADED, reason=why)


def _heal(machine: Machine) -> None:
    """Running again, when every machine of the environment is."""
    environment = machine.environment
    others: Any = environment.machines.exclude(pk=machine.pk).filter(desired=MachineDesired.RUNNING)
    if (
        environment.state == EnvironmentState.DEGRADED
        and not others.exclude(observed=MachineObserved.RUNNING).exists()
        and not _busy(machine)
    ):
        environment_transition(environment, EnvironmentState.RUNNING, reason="")


def _busy(machine: Machine) -> bool:
    return Operation.objects.filter(
        machine=machine,
        state__in=(OperationState.RUNNING, OperationState.WAITING, OperationState.UNDOING),
    ).exists()


def prune_samples(
    now: dt.datetime,
    keep: dt.timedelta = dt.timedelta(days=8),
    *,
    most: int = 200_000,
    slice_rows: int = 10_000,
) -> int:
    """Forget demand samples that no balancing looks at any more; the oldest first, `most` rows at once.

    They are looked for by their keys, which grow with time, and deleted in slices: so neither a scan of the
    table nor a year's rows in one transaction holds up the rounds.
    """
    removed = 0
    while removed < most:
        rows = DemandSample.objects.order_by("pk").values_list("pk", "at")[:slice_rows]
        first = list(rows)
        old = [key for key, at in first if at < now - keep]
        if old:
            removed += int(DemandSample.objects.filter(pk__in=old).delete()[0])
        if len(old) < slice_rows:
            break
    return removed
