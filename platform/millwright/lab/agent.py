"""The fence agent of lab hosts: the agents' protocol (options on standard input, the state as the exit code)."""

from __future__ import annotations

from collections.abc import Iterable

from . import daemon
from .errors import LabError
from .lab import Lab

#: What an agent's "status" ends with while the host is off.
OFF = 2


def answer(lab: Lab, lines: Iterable[str]) -> tuple[int, str]:
    """Exit code and text for `action=on|off|status` and `plug=HOST`.

    Raises:
        LabError: no such host, or no such action.
    """
    options = dict(line.strip().partition("=")[::2] for line in lines if "=" in line)
    host = lab.host(options.get("plug", ""))
    action = options.get("action", "")
    if action == "off":
        return 0, lab.kill(host.name)
    if action == "on":
        return 0, lab.restore(host.name)
    if action != "status":
        raise LabError(f"action = {action!r}: on, off or status")
    if daemon.daemon_pid(lab.root, host) is None:
        return OFF, "Status: OFF"
    return 0, "Status: ON"
