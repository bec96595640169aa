"""A host that does not come back from a question until it is let go."""

from __future__ import annotations

import threading
from typing import Any

from millwright.hypervisor.fake import FakePool

#: for what has to happen; nothing is said of how soon
LIMIT_S = 60.0


class Hanging:
    """Hosts of which one does not come back from a question until it is let go."""

    def __init__(self, pool: FakePool, name: str, verb: str) -> None:
        self._pool, self._name, self._verb = pool, name, verb
        self.asked, self.gate = threading.Event(), threading.Event()
        self.times = 0

    def get(self, name: str) -> Any:
        host = self._pool.host(name)
        return _Held(host, self) if name == self._name else host

    def hold(self) -> None:
        self.times += 1
        self.asked.set()
        assert self.gate.wait(LIMIT_S)


class _Held:
    def __init__(self, host: Any, hosts: Hanging) -> None:
        self._host, self._hosts = host, hosts

    def __getattr__(self, name: str) -> Any:
        if name == self._hosts._verb:
            self._hosts.hold()
        return getattr(self._host, name)
