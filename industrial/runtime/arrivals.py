"""Something was written into a folder: told by the kernel (inotify) the moment it is there."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

_CLOSE_WRITE, _MOVED_TO = 0x8, 0x80
#: Where the kernel does not tell, a folder is looked at this often, in seconds.
LOOK_S = 0.05


class Arrivals:
    """Files written to their end in a folder, or moved into it. Without inotify it is a pause."""

    def __init__(self, folder: Path) -> None:
        self._fd = -1
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(AttributeError, OSError):
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO) < 0:  # fmt: skip
                os.close(fd)
                fd = -1
            self._fd = fd

    async def wait(self, timeout_s: float) -> None:
        """Until something arrives, at most so many seconds. What arrived since the last call counts."""
        if self._fd < 0:
            await asyncio.sleep(min(LOOK_S, timeout_s))
            return
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, came.set)
        try:
            async with asyncio.timeout(timeout_s):
                await came.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._fd)
        self._forget()

    def _forget(self) -> None:
        """What the kernel has told so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass

    def close(self) -> None:
        """End it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
