"""libvirt's event loop: one per process, in a thread of its own, before any connection."""

from __future__ import annotations

import threading
import time

import libvirt

_lock = threading.Lock()
_started = False


def ensure_event_loop() -> None:
    """Start the loop unless it runs. Has to be called before the first `open`.

    libvirt's default error handler, which prints to stderr, is silenced: every error comes
    back as an exception.
    """
    global _started
    with _lock:
        if _started:
            return
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
        _started = True


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            # A failing poll must not end the loop, nor eat a CPU.
            time.sleep(0.1)
