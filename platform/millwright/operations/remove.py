"""Removing a machine with everything that was made for it."""

from __future__ import annotations

import contextlib

from millwright.core.lifecycle import MachineObserved
from millwright.hypervisor import NotFound

from .provision import remove_filter, remove_overlay, undefine
from .saga import Context, Step


def _placed(context: Context) -> bool:
    return context.machine().host is not None


def _stopped(context: Context) -> str:
    if not _placed(context):
        return "was never built"
    _, host = context.host()
    with contextlib.suppress(NotFound):
        host.destroy(context.machine_id)
    return "is off"


def _forget(context: Context) -> str:
    if not _placed(context):
        return "was never built"
    return f"domain {undefine(context)}, firewall {remove_filter(context)}"


def _delete_disk(context: Context) -> str:
    return remove_overlay(context) if _placed(context) else "was never built"


def _release(context: Context) -> str:
    store = context.ports.store
    store.observed(context.machine_id, MachineObserved.ABSENT, "removed", context.operation.id)
    store.release(context.machine_id)
    return "claims given back"


_GONE = "what was removed by request is not made again"
STOPPED = Step("stop", "Power off", _stopped, no_undo=_GONE)
FORGET = Step("forget", "Forget machine and firewall", _forget, no_undo=_GONE)
DELETE_DISK = Step("disk", "Delete the disk", _delete_disk, no_undo=_GONE)
RELEASE = Step("release", "Give CPU and address back", _release, no_undo=_GONE)
