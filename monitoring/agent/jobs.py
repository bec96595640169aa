"""Migrations that leave the host. libvirt's bulk statistics do not have them, so each running domain is asked.

Such a question waits for a domain whose monitor hangs, up to libvirt's 30 s. It is therefore asked beside the scrape,
which shows what the last round found; a domain that keeps a question is left out until it gives it back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .libvirt_reader import Domain

#: Questions that may hang at once, each in a thread of its own; with so many nothing more is asked.
MOST_HANGING = 4
#: What was found counts for so long.
FRESH_S = 60.0
#: virDomainJobOperation, virDomainState
_MIGRATION_OUT, _RUNNING, _PAUSED = 5, 1, 3


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration under way: seconds since its begin, bytes as libvirt counts them (they grow as memory changes)."""

    domain: str
    elapsed_s: float
    total: int
    processed: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Jobs:
    """What a round found. `unanswered`: domains that keep a question now."""

    migrations: tuple[Migration, ...] = ()
    unanswered: int = 0


def ask_job(domain: Domain) -> Migration | None:
    """The domain's migration; None: it has none, or has gone."""
    import libvirt

    try:
        found: dict[str, Any] = domain.handle.jobStats()
    except libvirt.libvirtError:
        # On the destination libvirt refuses to say; a domain that ended meanwhile is not there.
        return None
    if found.get("operation") != _MIGRATION_OUT:
        return None
    return Migration(
        domain.name,
        found.get("time_elapsed", 0) / 1000,
        found.get("data_total", 0),
        found.get("data_processed", 0),
        found.get("data_remaining", 0),
    )


@dataclass
class _Lane:
    """One thread's round. `uuid`, `since`: whom it is asking, and since when."""

    uuid: str = ""
    since: float = float("inf")
    found: list[Migration] = field(default_factory=list)


class JobReader:
    """Asks in a thread of its own; `look` never waits for it.

    Args:
        patience_s: a question that is out for longer is left behind; another thread asks the other domains.
        after_s: a round begins so long after the look: the scrape's answer goes out first.
    """

    def __init__(
        self,
        *,
        ask: Callable[[Domain], Migration | None] = ask_job,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = 1.0,
        after_s: float = 0.5,
    ) -> None:
        self._ask, self._clock = ask, clock
        self._patience_s, self._after_s = patience_s, after_s
        self._lock = threading.Lock()
        self._found: tuple[Migration, ...] = ()
        self._found_at = float("-inf")
        self._lane: _Lane | None = None
        #: lanes that were left behind with a question
        self._hanging: list[_Lane] = []

    def look(self, domains: Sequence[Domain]) -> Jobs:
        """What the last round found; begins another unless one is at work."""
        with self._lock:
            now, lane = self._clock(), self._lane
            if lane is not None and now - lane.since > self._patience_s:
                self._hanging.append(lane)
                self._lane = None
            if self._lane is None and len(self._hanging) < MOST_HANGING:
                kept = {row.uuid for row in self._hanging}
                asked = [
                    row
                    for row in domains
                    if row.handle is not None
                    and row.uuid not in kept
                    and row.stats.get("state.state") in (_RUNNING, _PAUSED)
                ]
                self._lane = _Lane()
                threading.Thread(
                    target=self._run, args=(self._lane, asked), name="libvirt-jobs", daemon=True
                ).start()
            fresh = now - self._found_at <= FRESH_S
            return Jobs(self._found if fresh else (), len(self._hanging))

    def _run(self, lane: _Lane, domains: Sequence[Domain]) -> None:
        time.sleep(self._after_s)
        for domain in domains:
            with self._lock:
                if self._lane is not lane:
                    break
                lane.uuid, lane.since = domain.uuid, self._clock()
            try:
                answer = self._ask(domain)
            except Exception:
                # A broken connection: the next scrape's reading says so.
                answer = None
            if answer is not None:
                lane.found.append(answer)
        with self._lock:
            if self._lane is lane:
                self._found, self._found_at = tuple(lane.found), self._clock()
                self._lane = None
            elif lane in self._hanging:
                self._hanging.remove(lane)
