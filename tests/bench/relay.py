"""`python -m tests.bench.relay [--mib 100] [--passes 12]`: what two relays take to carry a machine's memory.

Two relays of this machine, each a process with a loopback address of its own, and what a source's QEMU sends, in its
pieces of 120 KiB, to what a destination's takes. Of each pass the seconds on the way, and the seconds of the processor
of either relay, TLS handshakes included; medians. By turns with glibc's tunable of the unit and without it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

from millwright.lab.relay import TUNABLES
from millwright.pki import Authority, write_host
from millwright.relay import Relay, open_passage
from millwright.relay.client import Door
from millwright.relay.service import Certificates

MIB = 2**20
#: What QEMU 7.2 gives the kernel at once: 64 pieces, of which half are pages.
PIECE = os.urandom(120 * 1024)
ORCHESTRATOR = "orchestrator"
LIMIT_S = 30.0


def certificates(folder: Path) -> Certificates:
    """Those that `write_host` wrote there."""
    names = ("ca-cert.pem", "server-cert.pem", "server-key.pem")
    return Certificates(*(folder / "qemu" / name for name in names))


def serve(number: int, folder: Path) -> None:
    """A relay at 127.0.0.`number`, whose passages are at 127.0.1.`number`; says its port, and ends with its caller."""
    relay = Relay(
        address=f"127.0.0.{number}", port=0, certificates=certificates(folder),
        orchestrators=frozenset({ORCHESTRATOR}), users=frozenset({os.getuid()}),
        loopback=f"127.0.1.{number}",
    )  # fmt: skip
    relay.listen()
    print(relay.port, flush=True)
    threading.Thread(target=relay.serve, daemon=True).start()
    sys.stdin.read()


class Pair:
    """Two relays, the source's and the destination's."""

    def __init__(self, authority: Authority, home: Path, stack: ExitStack, tuned: bool) -> None:
        self.processes, self.doors = [], []
        write_host(authority, home / ORCHESTRATOR, ORCHESTRATOR, ["127.0.0.1"])
        context = certificates(home / ORCHESTRATOR).context(server=False)
        for number in (1, 2):
            folder = home / str(number)
            write_host(authority, folder, f"h{number}", [f"127.0.0.{number}"])
            known = {name: text for name, text in os.environ.items() if name != "GLIBC_TUNABLES"}
            made = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.relay", "--serve", str(number), str(folder)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    env=known | ({"GLIBC_TUNABLES": TUNABLES} if tuned else {}),
                )
            )  # fmt: skip
            assert made.stdin is not None and made.stdout is not None
            stack.callback(made.stdin.close)
            self.processes.append(made)
            self.doors.append(Door(f"127.0.0.{number}", context, int(made.stdout.readline())))

    def used_s(self) -> list[float]:
        """Seconds of the processor that either has used, threads that have ended included."""
        # `clock_getcpuclockid(3)`: a process's clock is made of its number.
        return [time.clock_gettime((~each.pid << 3) | 2) for each in self.processes]

    def carry(self, mib: int) -> tuple[float, float, float]:
        """Seconds on the way, of the source's processor and of the destination's."""
        before = self.used_s()
        got = [0]
        passage = open_passage(*self.doors, data_host="127.0.0.2", count=1, timeout_s=LIMIT_S)
        with closing(passage), socket.create_server(("127.0.1.2", passage.ports[0])) as listener:

            def take() -> None:
                with closing(listener.accept()[0]) as wire:
                    room = bytearray(MIB)
                    while count := wire.recv_into(room, 128 * 1024):
                        got[0] += count

            taking = threading.Thread(target=take)
            taking.start()
            with closing(socket.create_connection(("127.0.1.1", passage.ports[0]))) as wire:
                begun = time.monotonic()
                for _ in range(mib * MIB // len(PIECE)):
                    wire.sendall(PIECE)
                wire.shutdown(socket.SHUT_WR)
                taking.join(LIMIT_S)
                took = time.monotonic() - begun
        if got[0] != mib * MIB // len(PIECE) * len(PIECE):
            raise SystemExit(f"{got[0]} bytes arrived")
        source, destination = (b - a for a, b in zip(before, self.used_s(), strict=True))
        return took, source, destination


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="tests.bench.relay", description=__doc__)
    parser.add_argument("--mib", type=int, default=100, help="of memory in each pass")
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--serve", nargs=2, metavar=("NUMBER", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(int(asked.serve[0]), Path(asked.serve[1]))
        return
    found: dict[str, list[tuple[float, float, float]]] = {"tuned": [], "plain": []}
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        authority = Authority(Path(home) / "ca")
        authority.ensure()
        pairs = {name: Pair(authority, Path(home) / name, stack, name == "tuned") for name in found}
        for _ in range(asked.passes):
            for name, pair in pairs.items():
                found[name].append(pair.carry(asked.mib))
    for name, rows in found.items():
        took, source, destination = (statistics.median(part) for part in zip(*rows, strict=True))
        both = source + destination
        told = {
            "way_s": took,
            "source_cpu_s": source,
            "destination_cpu_s": destination,
            "both": both,
        }
        print(json.dumps({"who": name} | {key: round(value, 3) for key, value in told.items()}))


if __name__ == "__main__":
    main()
