"""The orchestrator's side: a passage between two hosts, for as long as a move takes."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

from .protocol import PORT, RelayError
from .wire import Wire

#: Two relays may choose a port that something else has at the other's host.
TRIES = 3


@dataclass(frozen=True, slots=True)
class Door:
    """A host's relay as the orchestrator reaches it, with the orchestrator's certificate in `context`."""

    host: str
    context: ssl.SSLContext
    port: int = PORT


class Passage:
    """Ports of the loopback, the same at both hosts. Close it once the move has ended."""

    def __init__(self, ports: tuple[int, ...], held: tuple[Wire, ...]) -> None:
        self.ports = ports
        self._held = held

    def close(self) -> None:
        """Nobody joins any more; what was joined goes on to its end."""
        for wire in self._held:
            wire.close()


def open_passage(
    source: Door, destination: Door, *, data_host: str, count: int, timeout_s: float
) -> Passage:
    """A passage of `count` ports; `data_host` is where the source finds the destination's relay.

    Raises:
        RelayError: one of the two has no relay, or refuses, or the source does not reach the destination.
    """
    for _ in range(TRIES):
        kept = _reach(destination, timeout_s)
        opened = None
        try:
            answer, *words = kept.ask(f"keep {count}", timeout_s).split(" ")
            if answer != "ok" or len(words) != 1 + count:
                raise RelayError(f"{destination.host} keeps no passage")
            token, *ports = words
            opened = _reach(source, timeout_s)
            line = f"open {data_host} {destination.port} {token} {' '.join(ports)}"
            answer = opened.ask(line, timeout_s)
            if answer == "ok":
                return Passage(tuple(map(int, ports)), (kept, opened))
        except BaseException:
            for wire in filter(None, (kept, opened)):
                wire.close()
            raise
        for wire in (kept, opened):
            wire.close()
    raise RelayError(f"{source.host}: the ports of passages are taken")


def _reach(door: Door, timeout_s: float) -> Wire:
    try:
        raw = socket.create_connection((door.host, door.port), timeout_s)
    except OSError as error:
        raise RelayError(f"{door.host}: {error.strerror or error}") from error
    try:
        wire = Wire(raw, door.context, server=False, name=door.host)
        wire.shake(timeout_s)
    except BaseException:
        with suppress(OSError):
            raw.close()
        raise
    return wire
