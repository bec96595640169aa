"""The orchestrator's life: wait for the lock, then run watcher, poller and rounds until told to stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connections
from django.utils import timezone

from millwright.balancing.pictures import picture_round
from millwright.desk import Desk
from millwright.inventory.actions import ensure_site
from millwright.operations import Engine, LockLost, Ports
from millwright.service_levels import rounds as ledger
from millwright.settings import Settings

from . import consoles, forcing, joining, notices, rounds, workshop
from .builder import WorkerBuilder
from .disks import Disks
from .durable import DurableRunner
from .facts import Facts
from .fencing import AgentFencer
from .hosts import Hosts
from .lock import AdvisoryLock, FileLock, Lock
from .outside import Outside
from .poller import pick_up, unfinished
from .prober import GatewayProber
from .probing import Probing
from .promises import Promises
from .reconciliation import Reconciliation
from .retaining import Retaining
from .signing import signing_key
from .sleeping import HostSleeper
from .store import DjangoStore
from .watcher import Watcher

log = logging.getLogger(__name__)

#: Exit code of a process that lost the lock: the supervisor starts it again, as a standby.
LOST = 75


class SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class FencedPorts(Ports):
    """Ports that act only while the lock is held and nobody has asked to stop."""

    lock: Lock | None = None
    stop: threading.Event | None = None

    def fence(self) -> None:
        if self.stop is not None and self.stop.is_set():
            # As if killed here: the next process continues.
            raise LockLost("the orchestrator is stopping")
        if self.lock is not None and not self.lock.held():
            # No clean-up: whatever this process still did could meet the other one's work.
            log.critical("the lock is lost: ending at once")
            os._exit(LOST)


def make_lock(settings: Settings) -> Lock:
    """The lock that fits the database."""
    if settings.is_sqlite:
        return FileLock(settings.home / "orchestrator.lock")
    return AdvisoryLock(settings.effective_database_url)


def durable_url(settings: Settings) -> str:
    """Where durable operations are kept: a file of their own, or the same PostgreSQL in its own schema."""
    if settings.is_sqlite:
        return f"sqlite:///{settings.home / 'operations.sqlite3'}"
    return settings.effective_database_url


class Service:
    """One orchestrator process."""

    def __init__(self, settings: Settings, *, hosts: Hosts | None = None, **ports: Any) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.active = threading.Event()
        self._given_hosts = hosts
        self._given_ports = ports
        self.lock = make_lock(settings)
        self.watcher: Watcher | None = None
        self.promises = Promises()
        self.outside: Outside | None = None
        self.reconciliation: Reconciliation | None = None
        self.retaining: Retaining | None = None
        self._threads: list[threading.Thread] = []
        self.lock_lost = False

    def run(self) -> None:
        """Stand by until the lock is ours, then work until `stop`."""
        if not self._stand_by():
            return
        log.info("active")
        site = str(ensure_site().pk)
        key = signing_key(self.settings.signing_key_file)
        hosts = self._given_hosts or Hosts(
            site, on_event=lambda event: self.watcher and self.watcher.hint(event)
        )
        store = DjangoStore(site, key, self.settings.bundle_dir)
        fencer = AgentFencer(self.settings.fence_agent_path)
        ports = FencedPorts(
            store=store,
            hypervisors=hosts,
            clock=SystemClock(),
            prober=GatewayProber(self.settings.gateway_socket),
            builder=WorkerBuilder(key),
            fencer=fencer,
            sleeper=HostSleeper(hosts, fencer),
            lock=self.lock,
            stop=self.stop,
        )
        ports = replace(ports, **self._given_ports)
        self.outside = outside = Outside(self.settings, self.promises, self.stop)
        self.watcher = Watcher(hosts, self.stop, outside.lost_sight)
        runner = DurableRunner(Engine(ports), durable_url(self.settings))
        probing = Probing(hosts, self.settings, self.stop)
        self._start("watcher", self.watcher.run)
        self._start("outside", outside.run)
        self.reconciliation = Reconciliation(self.settings, self.stop)
        self._start("reconciliation", self.reconciliation.run)
        self._start("rounds", lambda: self._rounds(hosts, probing))
        self._start("ledger", self._ledger)
        self._start("pictures", self._pictures)
        self.retaining = Retaining(hosts, self.settings.retained_copy_s, self.stop)
        self._start("retained", self.retaining.run)
        self._start("notices", lambda: notices.run(self.stop))
        desk = Desk(
            self.settings.desk_socket,
            {
                **workshop.WORKS,
                **forcing.works(hosts),
                "host_check": joining.checker(site),
            },
            consoles.opener(hosts),
        )
        self._start("desk", lambda: desk.run(self.stop.is_set))
        runner.launch(unfinished())
        connections.close_all()
        self.active.set()
        started: set[tuple[UUID, int]] = set()
        try:
            while not self.stop.is_set():
                try:
                    ports.fence()
                    pick_up(runner, started)
                except LockLost:
                    self.lock_lost = True
                    break
                except Exception:
                    log.exception("the outbox could not be read")
                connections.close_all()
                self.stop.wait(0.5)
        finally:
            self.stop.set()
            for thread in self._threads:
                thread.join(timeout=60.0)
            runner.close()
            hosts.close()
            self.lock.release()

    def _stand_by(self) -> bool:
        said = False
        while not self.stop.is_set():
            if self.lock.try_acquire():
                return True
            if not said:
                log.info("standing by: the lock is not to be had")
                said = True
            self.stop.wait(1.0)
        return False

    def _start(self, name: str, work: Any) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _rounds(self, hosts: Hosts, probing: Probing) -> None:
        tick, facts, disks = 0, Facts(hosts), Disks(hosts, hosts.site)
        while not self.stop.is_set():
            try:
                # Facts often at the start, when hosts have just been registered.
                if (tick < 30 or tick % 12 == 0) and self._hosts_are_known():
                    facts.round(hosts.names())
                    probing.round()
                if tick % 6 == 0:
                    rounds.all_rounds(hosts)
                    if self._hosts_are_known():
                        disks.round(hosts.names())
            except Exception:
                log.exception("rounds")
            finally:
                connections.close_all()
            tick += 1
            self.stop.wait(5.0)
        facts.close()
        disks.close()

    def _pictures(self) -> None:
        """Keep what is asked of a large pool: a thread of its own, since counting takes its time."""
        while not self.stop.is_set():
            try:
                picture_round()
            except Exception:
                log.exception("the pool's pictures were not taken")
            finally:
                connections.close_all()
            self.stop.wait(3.0)

    def _hosts_are_known(self) -> bool:
        """Whether the watcher has read the inventory: before that no host can be asked anything."""
        return self.watcher is not None and self.watcher.looks > 0

    def _ledger(self) -> None:
        """Keep the ledger: a thread of its own, so that a slow host makes no gap in it."""
        begun = False
        while not self.stop.is_set():
            try:
                if not begun:
                    ledger.begin()
                    begun = True
                ledger.ledger_round(timezone.now())
            except Exception:
                log.exception("the ledger's round failed")
            finally:
                connections.close_all()
            self.stop.wait(2.0)
        if begun and not self.lock_lost:
            try:
                ledger.end_rounds(timezone.now())
            except Exception:
                log.exception("the ledger was not told of the end")
            finally:
                connections.close_all()
