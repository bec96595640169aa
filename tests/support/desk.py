"""A real desk in a thread of the test's process, on the socket that the portal asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from millwright.desk import Desk
from millwright.orchestrator.workshop import WORKS
from millwright.settings import get_settings


@contextmanager
def open_desk(console: Any = None, **works: Any) -> Iterator[None]:
    """Programs are checked and rehearsed by the real worker while this is open."""
    stop = threading.Event()
    path = get_settings().desk_socket
    desk = Desk(path, {**WORKS, **works}, console)
    thread = threading.Thread(target=desk.run, args=(stop.is_set,), daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists(), "the desk does not open"
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
