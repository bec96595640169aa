"""The thread that finds news and delivers it; a mail server that hangs holds nothing else up."""

from __future__ import annotations

import logging
import threading

from django.db import connections
from django.utils import timezone

from millwright.notifications.delivering import deliver, forget
from millwright.notifications.gather import gather

log = logging.getLogger(__name__)

ROUND_S = 2.0
#: Old notices are looked for once in so many rounds: every hour.
FORGET_EVERY = 1800


def run(stop: threading.Event) -> None:
    """Rounds until told to stop."""
    tick = 0
    while not stop.is_set():
        try:
            gather(timezone.now())
            deliver(timezone.now())
            if tick % FORGET_EVERY == 0:
                forget(timezone.now())
        except Exception:
            log.exception("the round of notices failed")
        finally:
            connections.close_all()
        tick += 1
        stop.wait(ROUND_S)
