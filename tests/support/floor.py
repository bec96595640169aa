"""A shop floor on loopback addresses: a real controller, the real gateway, real devices; only the host is simulated.

The simulated host's guest is a real one as far as anybody outside sees: what the orchestrator writes through the
guest agent lands in the controller's inbox, and scan and protocol processes answer at the machine's address.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from millwright.hypervisor.fake import FakeHypervisor, FakePool
from millwright.hypervisor.fake.guest import FakeGuest
from millwright.hypervisor.types import DomainInfo, ExecResult, ProbeKind
from millwright.orchestrator.forcing import VPLC
from millwright.orchestrator.signing import public_text, signing_key

from industrial.runtime import ensure_engine
from industrial.runtime.paths import Paths

ROOT = Path(__file__).parents[2]
#: The cell: this machine's own addresses; the gateway's is the one from which it is seen.
CIDR, GATEWAY, MONITORING = "127.0.0.0/24", "127.0.0.1", "127.0.0.2"


def free_address() -> str:
    """An address of the cell at which nobody serves what a controller serves."""
    numbers = list(range(100, 200))
    random.shuffle(numbers)
    for number in numbers:
        address = f"127.0.0.{number}"
        try:
            for port in (502, 4840, 9400):
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return address
    raise AssertionError("no free address in 127.0.0.100 to 127.0.0.199")


def listening(address: str, port: int) -> bool:
    """Whether somebody serves there."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, port)) == 0


def until(condition: Callable[[], bool], what: str, limit_s: float = 600.0) -> None:
    """Wait for a condition, generously."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)


class Controller:
    """Scan and protocols of one vPLC as two processes, in a folder of their own."""

    def __init__(self, folder: Path, address: str, trust: Path) -> None:
        self.address = address
        self.paths = Paths(folder / "state", folder / "run")
        self.paths.prepare()
        self._trust = trust
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Power comes: as the guest's units start them."""
        paths = self.paths
        self.stop()
        paths.shm.unlink(missing_ok=True)
        scan = [
            str(ensure_engine()), "--shm", str(paths.shm),
            "--program", str(paths.active / "program.so"), "--retain", str(paths.retain),
        ]  # fmt: skip
        self._processes.append(subprocess.Popen(scan, stderr=subprocess.DEVNULL))
        until(paths.shm.exists, "the shared memory")
        protocols = [
            sys.executable, "-m", "industrial.runtime", "--host", self.address, "--trust", str(self._trust),
        ]  # fmt: skip
        with (self._folder / "protocols.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(protocols, cwd=ROOT, env=self._places, stdout=log, stderr=log)
            )

    @property
    def _places(self) -> dict[str, str]:
        return {
            **os.environ,
            "VPLC_STATE": str(self.paths.state),
            "VPLC_RUN": str(self.paths.run),
        }

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """`vplc …` as somebody at the controller types it."""
        return subprocess.run(
            [sys.executable, "-m", "industrial.cli", *words],
            cwd=ROOT, env=self._places, capture_output=True, timeout=300, check=False,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What the controller says of itself."""
        said = self.read("/run/vplc/status.json")
        assert said is not None
        return dict(json.loads(said))

    def stop(self) -> None:
        """Power goes."""
        while self._processes:
            process = self._processes.pop()
            end(process)

    def read(self, path: str) -> bytes | None:
        """A file of the guest; None where there is none."""
        place = self._place(path)
        try:
            return place.read_bytes() if place is not None else None
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """A file that comes through the guest agent."""
        place = self._place(path)
        assert place is not None, path
        place.write_bytes(data)

    def _place(self, path: str) -> Path | None:
        for guest, here in (
            ("/var/lib/vplc/", self.paths.state),
            ("/run/vplc/", self.paths.run),
        ):
            if path.startswith(guest):
                return here / path.removeprefix(guest)
        return None


class _Files(dict[str, bytes]):
    """The controller's files as the simulated agent asks for them."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller

    def get(self, path: str, default: Any = None) -> Any:
        found = self._controller.read(path)
        return default if found is None else found


class LiveGuest(FakeGuest):
    """A guest behind whose agent the controller is."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.files = _Files(controller)

    def boot(self, boot_id: str) -> None:
        self.controller.start()

    def write(self, path: str, data: bytes) -> None:
        self.controller.write(path, data)

    def run(self, argv: Sequence[str], stdin: bytes) -> ExecResult:
        if argv[0] == VPLC:
            done = self.controller.command(*argv[1:])
            return ExecResult(
                exit_code=done.returncode, signal=None, stdout=done.stdout, stderr=done.stderr
            )
        return ExecResult(exit_code=0, signal=None, stdout=b"", stderr=b"")


class LiveHost(FakeHypervisor):
    """A simulated host; its guest is the floor's controller."""

    controller: Controller

    def define(self, spec: Any, *, deadline_s: float | None = None) -> DomainInfo:
        info = super().define(spec, deadline_s=deadline_s)
        with self._lock:
            domain = self._domains[info.uuid]
            if not isinstance(domain.guest, LiveGuest):
                domain.guest = LiveGuest(self.controller)
        return info


class LivePool(FakePool):
    """Hosts of a floor."""

    def __init__(self, site: str, controller: Controller) -> None:
        super().__init__(site)
        self._controller = controller

    def add_host(self, name: str, *, cpus: int = 2, **_more: Any) -> FakeHypervisor:
        host = LiveHost(
            name, site=self.site, clock=self.clock, cpus=cpus, threads_per_core=1, numa_nodes=1,
            memory_bytes=32 * 2**30, pool_bytes=2**40, boot_s=0.0, abilities=frozenset(ProbeKind),
        )  # fmt: skip
        host.controller = self._controller
        self._hosts[name] = host
        return host


class Floor:
    """One controller at an address of its own, and devices beside it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.address = free_address()
        self._stack = ExitStack()
        self.key = folder / "signing.key"
        trust = folder / "trust"
        trust.write_text(json.dumps([public_text(signing_key(self.key))]))
        self.controller = Controller(folder / "vplc", self.address, trust)
        self._stack.callback(self.controller.stop)

    def pool(self, site: str) -> FakePool:
        """Hosts whose guest is the controller."""
        return LivePool(site, self.controller)

    def close(self) -> None:
        self._stack.close()

    def process(self, *words: str, answers: tuple[str, int]) -> subprocess.Popen[bytes]:
        """A process of this floor, once it answers at an address."""
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
        self._stack.callback(end, process)
        until(lambda: listening(*answers), f"{' '.join(words)} answers")
        return process
