"""Clients that go on while a plant is changed: one that polls a controller, one that asks the portal."""

from __future__ import annotations

import itertools
import json
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.nspawn import Server

#: Runs on a server: one Modbus connection that is kept, two registers twice a second, a line each.
POLLER = """
import json, socket, struct, sys, time
host, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)
sock, number = None, 0
while True:
    row = {"at": time.time()}
    try:
        if sock is None:
            sock = socket.create_connection((host, 502), 30)
            sock.settimeout(30)
            row["connected"] = True
        number = (number + 1) % 65536
        sock.sendall(struct.pack(">HHHBBHH", number, 0, 6, 1, 3, 0, 2))
        answer = b""
        while len(answer) < 13:
            part = sock.recv(13 - len(answer))
            if not part:
                raise ConnectionError("closed by the controller")
            answer += part
        low, high = struct.unpack(">HH", answer[9:13])
        row["count"] = high * 10000 + low
    except (OSError, struct.error) as error:
        row["error"] = repr(error)
        if sock is not None:
            sock.close()
        sock = None
    row["took"] = time.time() - row["at"]
    log.write(json.dumps(row) + "\\n")
    time.sleep(0.5)
"""
UNIT = "mw-poller"
#: The poller itself gives up a question after so many seconds.
SILENT_S = 30.0


@dataclass(frozen=True)
class Seen:
    """What a poller met between two looks."""

    answers: int
    errors: list[str]
    connections: int
    longest_s: float
    counts: list[int]

    def __str__(self) -> str:
        scans = self.counts[-1] - self.counts[0] if self.counts else 0
        return (
            f"the poller: {self.answers} answers, {len(self.errors)} errors, {self.connections} new connections, "
            f"longest silence {self.longest_s:.1f} s, {scans} scans"
        )

    def quiet(self) -> None:
        """Nothing happened to it, and the program counted on all the while.

        Raises:
            AssertionError: a connection was lost, a question failed, or the program began anew.
        """
        assert not self.errors and not self.connections, (self.errors[:5], self.connections)
        assert self.answers > 1, "it did not poll"
        assert self.longest_s < SILENT_S, f"no answer for {self.longest_s:.0f} s"
        assert self.counts == sorted(self.counts), "the program began anew"
        assert self.counts[-1] > self.counts[0], "the program stands still"


class ModbusPoller:
    """Polls a controller from a server, from an address of its own in the cell."""

    def __init__(self, server: Server, bridge: str, own: str, controller: str) -> None:
        self.server, self.bridge, self.own, self.controller = server, bridge, own, controller
        self._mark = 0

    def start(self) -> None:
        """Begin; it goes on for as long as its server stands."""
        where = self.server.root / "root/poller.py"
        where.write_text(POLLER)
        self.server.ssh(f"systemctl stop {UNIT}; rm -f /root/polled")
        done = self.server.ssh(
            f"ip address replace {self.own}/24 dev {self.bridge} && systemd-run --unit={UNIT} --collect "
            f"/usr/bin/python3 /root/poller.py {self.controller} /root/polled"
        )
        assert done.returncode == 0, done.stderr

    def refused(self, own: str) -> str:
        """What a client at another address, that nobody registered, is told when it opens the same door.

        Raises:
            AssertionError: it was let in.
        """
        self.server.ssh(f"ip address replace {own}/24 dev {self.bridge}")
        tried = (
            f"import socket; socket.create_connection(('{self.controller}', 502), 8, ('{own}', 0))"
        )
        done = self.server.ssh(f'python3 -c "{tried}"')
        assert done.returncode, f"{own} was let in"
        return done.stderr

    def rows(self) -> list[dict[str, float]]:
        """Everything it wrote so far."""
        path = self.server.root / "root/polled"
        text = path.read_text() if path.exists() else ""
        # The last line may be half written.
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def mark(self) -> None:
        """What follows is counted anew."""
        self._mark = len(self.rows())

    def seen(self) -> Seen:
        """What it met since the mark."""
        rows = self.rows()[self._mark :]
        answered = [row for row in rows if "count" in row]
        ends = [row["at"] + row["took"] for row in answered]
        # A question that is still open is a silence too.
        ends.append(time.time())
        return Seen(
            answers=len(answered),
            errors=[str(row["error"]) for row in rows if "error" in row],
            connections=sum("connected" in row for row in rows),
            longest_s=max((b - a for a, b in itertools.pairwise(ends)), default=0.0),
            counts=[int(row["count"]) for row in answered],
        )


class PortalAsker:
    """Asks the portal again and again, each time over a new connection whose certificate is checked."""

    def __init__(self, address: str, ca: Path) -> None:
        self._url = f"https://{address}/api/v1/status/"
        self._trust = ssl.create_default_context(cafile=str(ca))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: list[float] = []
        self.errors: list[tuple[float, str]] = []

    def __enter__(self) -> PortalAsker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._end.wait(0.25):
            now = time.monotonic()
            try:
                with httpx.Client(verify=self._trust, timeout=30, trust_env=False) as client:
                    code = client.get(self._url).status_code
            except httpx.HTTPError as error:
                self.errors.append((now, repr(error)))
                continue
            # Without a token the right answer is a refusal.
            if code in (401, 403):
                self.answers.append(time.monotonic())
            else:
                self.errors.append((now, f"HTTP {code}"))

    def first_s(self, since: float) -> float:
        """From a moment of the monotonic clock to the first answer."""
        return self.answers[0] - since

    @property
    def longest_s(self) -> float:
        """The longest time between two answers."""
        pairs = itertools.pairwise(self.answers)
        return max((b - a for a, b in pairs), default=0.0)
