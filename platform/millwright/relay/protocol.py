"""What is said at a relay's door: one line each way, then silence or a machine's memory.

    orchestrator → destination   `keep COUNT`                      → `ok TOKEN PORT…`
    orchestrator → source        `open ADDRESS PORT TOKEN PORT…`   → `ok`, `taken`
    source → destination         `join TOKEN PORT`                 → `ok`, then what the two QEMUs say
    source → destination         `look TOKEN`                      → `ok`, then a `join` when there is something to carry

What was kept and opened lasts as long as the orchestrator's connection; who has joined goes on until one end closes.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The relay's door; libvirt's with TLS is 16514.
PORT = 16515
#: Ports of the loopback that passages take. Next to those that libvirt gives to migrations by itself.
PASSAGES = range(49216, 49280)
LINE_BYTES = 512
#: For a handshake and a line, each way.
ANSWER_S = 10.0
MAX_COUNT = 4


class RelayError(Exception):
    """A relay cannot, does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Order:
    """A line, understood. `address` and `relay_port` are given with `open` alone, `count` with `keep`."""

    verb: str
    token: str = ""
    ports: tuple[int, ...] = ()
    address: str = ""
    relay_port: int = 0
    count: int = 0


def parse(line: str) -> Order:
    """What is wanted.

    Raises:
        RelayError: nothing of the protocol; the text repeats nothing of what came.
    """
    verb, *words = line.split(" ")
    try:
        if verb == "keep" and len(words) == 1 and 1 <= int(words[0]) <= MAX_COUNT:
            return Order("keep", count=int(words[0]))
        if verb == "open" and 4 <= len(words) <= 3 + MAX_COUNT:
            address, port, token, *ports = words
            return Order("open", token, _ports(ports), address, int(port))
        if verb == "join" and len(words) == 2:
            return Order("join", words[0], _ports(words[1:]))
        if verb == "look" and len(words) == 1:
            return Order("look", words[0])
    except ValueError as error:
        raise RelayError("not a line of this protocol") from error
    raise RelayError("not a line of this protocol")


def _ports(words: list[str]) -> tuple[int, ...]:
    """Ports of passages alone: no line leads to another service of a host."""
    found = tuple(map(int, words))
    if any(port not in PASSAGES for port in found):
        raise ValueError(words)
    return found
