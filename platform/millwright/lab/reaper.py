"""The first process of a lab host: starts libvirtd and buries what it leaves, as a server's first process does.

A guest is nobody's child once libvirt has started it, and a machine's first process may look after such children only
every few seconds, or never (containers). libvirt takes a guest for alive until then, so that each stop, destroy and
migration would wait for it. It ends with the last of them, not with libvirtd, whose guests live on.

Run as a file, in the host's namespaces: the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run `command` and stay until all that descends from it has ended; returns the exit code of `command`.

    Raises:
        OSError: it cannot be started, or the kernel knows no subreapers (before 3.4).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    first, code = os.posix_spawnp(command[0], command, os.environ), 0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            # As a shell has it of a signal.
            return code if code >= 0 else 128 - code
        if pid == first:
            code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
