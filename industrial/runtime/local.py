"""A controller on any Linux: a project folder compiled, signed with a key of this place, scanned and served.

State lies in `state/` of the project (retained values, the key, the packages); it is never packed.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .build import ensure_engine
from .delivery import LocalError, Source, announce, answer_to
from .inbox import Inbox
from .keys import local_key
from .paths import Paths
from .protocols import Ports, Protocols
from .settings import PortSettings, SettingsError

log = logging.getLogger(__name__)


def project_ports(manifest: Mapping[str, Any], host: str) -> Ports:
    """Ports of vplc.toml: [modbus] port and tls_port, [opcua] port, [metrics] port.

    Raises:
        LocalError: names key and value.
    """

    try:
        ports = PortSettings.parse(manifest)
    except SettingsError as error:
        raise LocalError(str(error)) from None
    return Ports(host, ports.modbus, ports.opcua, ports.metrics, ports.modbus_tls)


class LocalController:
    """The scan as a child process, the protocols in this one."""

    def __init__(self, project: Path, ports: Ports, compiler: str = "") -> None:
        self.project, self.ports, self.compiler = project, ports, compiler
        state = project / "state"
        self.paths = Paths.of_project(project)
        self.paths.prepare()
        self.paths.shm.unlink(missing_ok=True)  # of a run that was killed
        self.key = local_key(state)
        self.inbox = Inbox(self.paths, [self.key.public_key()])
        self.source: Source | None = None
        self._scan: subprocess.Popen[bytes] | None = None
        self._ends = threading.Event()

    def deliver(self) -> None:
        """Build, and hand the package to the inbox as a delivery from outside would be.

        Without a compiler that was asked for it is tcc's, at once; gcc's follows while it runs (see `run`).

        Raises:
            LocalError: it does not compile, or is not acceptable.
        """
        source = Source.read(self.project)
        staged = not self.compiler and source.stages
        self.source = source if staged else None
        compiler = "tcc" if staged else self.compiler
        number = announce(self.paths, source.bundle(self.key, compiler))
        self.inbox.take_all()
        answer_to(self.paths, number, timeout_s=1)

    def _start_scan(self) -> subprocess.Popen[bytes]:
        command = [str(ensure_engine()), "--shm", str(self.paths.shm)]
        command += ["--program", str(self.paths.active / "program.so")]
        command += ["--retain", str(self.paths.retain)]
        self._scan = subprocess.Popen(command, stderr=subprocess.PIPE)
        return self._scan

    async def run(self, ready: Callable[[Protocols], None] = lambda _protocols: None) -> None:
        """Scan and serve until cancelled; `ready` is called once everything but OPC UA listens, and when that does, too.

        Raises:
            LocalError: a port is not to be had, or the scan process ended.
        """
        scan = self._start_scan()
        try:
            await self._until_shm(scan)
            protocols = Protocols(self.paths, self.inbox, self.ports)
            tasks = [
                asyncio.create_task(protocols.run()),
                asyncio.create_task(_watch(scan, protocols, ready)),
            ]
            better = asyncio.create_task(self._second_stage())
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # A cancelled task's thread goes on, and the interpreter's end would wait for it.
                self._ends.set()
                for task in (*tasks, better):
                    task.cancel()
                await asyncio.gather(*tasks, better, return_exceptions=True)
            for task in done:
                task.result()
        except PermissionError as error:
            raise LocalError(
                f"{error.strerror}: ports below 1024 need a privilege; try --modbus 1502"
            ) from None
        except OSError as error:
            raise LocalError(str(error.strerror or error)) from None
        finally:
            self.stop()

    async def _second_stage(self) -> None:
        """gcc's program in place of tcc's, between two scans; the same bits come out of both."""
        if self.source is None:
            return
        try:
            bundle = await asyncio.to_thread(
                self.source.bundle, self.key, "gcc", idle=True, given_up=self._ends
            )
            number = announce(self.paths, bundle, "online")
            await asyncio.to_thread(answer_to, self.paths, number, given_up=self._ends)
        except LocalError as error:
            # What runs goes on; it is only slower.
            log.warning("the optimised program is not taken over: %s", error)

    async def _until_shm(self, scan: subprocess.Popen[bytes]) -> None:
        for _ in range(500):
            if self.paths.shm.exists():
                return
            if scan.poll() is not None:
                break
            await asyncio.sleep(0.02)
        text = scan.stderr.read() if scan.poll() is not None and scan.stderr else b""
        raise LocalError(f"the scan did not start: {text.decode(errors='replace').strip()}")

    def stop(self) -> None:
        """End the scan; it saves what is retained first."""
        if self._scan is not None:
            self._scan.terminate()
            try:
                self._scan.wait(10)
            except subprocess.TimeoutExpired:
                self._scan.kill()
                self._scan.wait()
            if self._scan.stderr is not None:
                self._scan.stderr.close()
            self._scan = None
        self.paths.shm.unlink(missing_ok=True)


async def _watch(
    scan: subprocess.Popen[bytes], protocols: Protocols, ready: Callable[[Protocols], None]
) -> None:
    """Tell that everything listens, and once more when OPC UA has followed; end when the scan does."""
    awaited = ["metrics", "opcua"]
    while scan.poll() is None:
        if awaited and awaited[0] in protocols.bound:
            awaited.pop(0)
            ready(protocols)
        await asyncio.sleep(0.1)
    raise LocalError(f"the scan process ended with {scan.returncode}")
