"""Takes copies of what controllers retain, through the guest agent, as often as is set; and gives them to operations.

In nobody's way: a thread for each host, one question at a time on the connections for work, never on the one that
watches; a host that has not finished is left out of the next round, a guest that does not answer for some rounds.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connections, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from industrial.package import pack
from industrial.runtime.retained import RetainedError
from millwright.audit.actions import record
from millwright.environments.models import Machine, Operation
from millwright.hypervisor import (
    DeadlineExceeded,
    HostUnreachable,
    Hypervisor,
    HypervisorError,
    NotFound,
)
from millwright.operations import Hypervisors, RetainedOffer
from millwright.operations.retained import merged
from millwright.shopfloor import retained
from millwright.shopfloor.retained import Asked

log = logging.getLogger(__name__)

#: In the guest.
PATH = "/var/lib/vplc/retain/retain.bin"
#: Hosts at once; of each in a round, controllers and bytes; seconds for one answer.
AT_ONCE, MOST, ROUND_BYTES, ANSWER_S = 8, 250, 32 << 20, 5.0
#: Rounds for which a guest that does not answer is left alone: twice as many each time.
MOST_REST = 8


class Retaining:
    """Copies round by round; `run` until `stop` is set."""

    def __init__(
        self,
        hosts: Hypervisors,
        period_s: float,
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`period_s`: between two copies of a controller; 0: none are taken."""
        self._hosts, self._period_s, self._stop, self._clock = hosts, period_s, stop, clock
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="retained")
        self._busy: dict[str, Future[int]] = {}
        #: machine → rounds that it rests yet, and for how many it was sent to rest
        self._rests: dict[UUID, tuple[int, int]] = {}
        #: machine → the round in which it was asked last
        self._turns: dict[UUID, int] = {}
        self._rounds = 0

    def run(self) -> None:
        """Take copies, until told to stop."""
        while self._period_s and not self._stop.is_set():
            begun = self._clock()
            try:
                self.round()
            except Exception:
                log.exception("retained values were not copied")
            finally:
                connections.close_all()
            self._stop.wait(max(0.0, self._period_s - (self._clock() - begun)))
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(list(self._busy.values()), timeout=ANSWER_S)

    def round(self) -> int:
        """Ask every controller that is due; returns how many copies were news, of hosts that have finished."""
        by_host: dict[str, list[Asked]] = {}
        due = retained.due()
        for asked in due:
            by_host.setdefault(asked.host, []).append(asked)
        # What is not asked any more does not fail any more.
        present = {asked.machine for asked in due}
        for machine in set(self._listed()) - present:
            self._rests.pop(machine, None)
        for machine in list(self._turns):
            if machine not in present:
                self._turns.pop(machine, None)
        self._rounds += 1
        begun = []
        for host, rows in by_host.items():
            if host not in self._busy or self._busy[host].done():
                self._busy[host] = self._pool.submit(self._safely, host, self._awake(rows))
                begun.append(self._busy[host])
        wait(begun, timeout=self._period_s)
        return sum(future.result() for future in begun if future.done())

    def failing(self) -> frozenset[UUID]:
        """Controllers that gave no copy when they were asked last."""
        return frozenset(self._listed())

    def _listed(self) -> list[UUID]:
        # In one go: hosts' threads write at the same time.
        return list(self._rests)

    def _awake(self, rows: Sequence[Asked]) -> list[Asked]:
        awake = []
        for asked in rows:
            left, length = self._rests.get(asked.machine, (0, 0))
            if left:
                self._rests[asked.machine] = left - 1, length
            else:
                awake.append(asked)
        # Those that failed last may end the round again: they come after all others. Of the others first who has waited
        # longest, and then the oldest copy: of one whose values stay it is the oldest for ever.
        awake.sort(key=lambda asked: (asked.machine in self._rests, self._turn(asked)))
        return awake[:MOST]

    def _turn(self, asked: Asked) -> int:
        return self._turns.get(asked.machine, 0)

    def _safely(self, host: str, rows: Sequence[Asked]) -> int:
        try:
            return self._host(self._hosts.get(host), rows)
        except HypervisorError as error:
            # The host itself: the watcher says so, and the next round asks again.
            log.info("retained values on %s: %s", host, error)
        except Exception:
            log.exception("retained values on %s", host)
        finally:
            connections.close_all()
        return 0

    def _host(self, driver: Hypervisor, rows: Sequence[Asked]) -> int:
        end, left, news = self._clock() + self._period_s, ROUND_BYTES, 0
        this = self._rounds
        for asked in rows:
            if self._stop.is_set() or self._clock() >= end or left <= 0:
                # The others have waited longest in the next round, and come first.
                break
            self._turns[asked.machine] = this
            as_of = timezone.now()
            try:
                data = driver.agent_read_file(
                    asked.machine, PATH, max_bytes=retained.MOST_BYTES, deadline_s=ANSWER_S
                )
                left -= len(data)
                news += retained.keep(asked, data, as_of)
            except NotFound:
                # It retains nothing, or has no program yet.
                pass
            except HostUnreachable:
                raise
            except (HypervisorError, RetainedError) as error:
                log.warning("retained values of %s: %s", asked.machine, error)
                self._rest(asked.machine)
                if isinstance(error, DeadlineExceeded):
                    # Host or guest, nobody knows: the others wait no longer, and next time it is not the first.
                    raise
                continue
            except Exception:
                # Whatever it is, it does not keep the host's others from their turn for ever.
                self._rest(asked.machine)
                raise
            self._rests.pop(asked.machine, None)
        return news

    def _rest(self, machine: UUID) -> None:
        length = min(MOST_REST, 2 * self._rests.get(machine, (0, 0))[1] or 1)
        self._rests[machine] = length, length


class RetainedStore:
    """The store's part for copies of retained values; mixed into `DjangoStore`."""

    _key: Ed25519PrivateKey

    def retained_offers(self, operation_id: UUID, machine_id: UUID) -> tuple[RetainedOffer, ...]:
        machine = Machine.objects.select_related("environment").get(pk=machine_id)
        payload = Operation.objects.values_list("payload", flat=True).get(pk=operation_id)
        lost_at = parse_datetime(str(payload.get("lost_at", "")))
        offers = []
        rows = retained.usable(machine)
        symbols = retained.described(machine, rows, payload.get("program_version"))
        for row in rows:
            bundle, wrong = b"", ""
            try:
                files = retained.package(row, symbols.get(row.layout_hash))
                bundle = pack("retain", machine.domain_name, str(row.scan), files, self._key)
            except RetainedError as error:
                wrong = str(error)
            offers.append(
                RetainedOffer(
                    sha256=row.sha256,
                    as_of=row.as_of.astimezone(dt.UTC),
                    scan=row.scan,
                    layout_hash=row.layout_hash,
                    size_bytes=row.size_bytes,
                    generation=row.generation,
                    bundle=bundle,
                    before_loss_s=retained.before_loss_s(row.as_of, lost_at),
                    wrong=wrong,
                )
            )
        return tuple(offers)

    @transaction.atomic
    def retained_outcome(self, operation_id: UUID, note: Mapping[str, Any]) -> None:
        row = Operation.objects.select_for_update(no_key=True, of=("self",)).get(pk=operation_id)
        before = row.result.get("retained", {})
        after = merged(before, note)
        if after == before:
            return
        row.result = {**row.result, "retained": after}
        row.save(update_fields=("result",))
        if row.machine is not None and "outcome" in after and "outcome" not in before:
            record(
                None, "machine.retained", row.machine, project=row.project, operation=str(row.pk), **after
            )  # fmt: skip
