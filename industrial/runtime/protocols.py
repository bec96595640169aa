"""The protocol process of a vPLC: Modbus first, then metrics, then OPC UA; deliveries in between.

Everything it knows of the program it reads from the active package; the scan goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from industrial.devices import Scanner, load_devices
from industrial.modbus import AccessList, ModbusServer

from .arrivals import Arrivals
from .front import Front
from .inbox import Inbox, trusted_keys, write_atomic
from .metrics import FAULTS, Metrics
from .paths import Paths
from .settings import RuntimeSettings
from .shm import Command, SharedMemory, ShmError, State
from .sources import Sources
from .status import STATES, Journal, runtime_report

log = logging.getLogger(__name__)

#: Between two looks at everything, in seconds.
PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 chooses a free port."""

    host: str = "0.0.0.0"  # noqa: S104 - the cell's firewall decides who reaches it
    modbus: int = 502
    opcua: int = 4840
    metrics: int = 9400
    #: Modbus/TCP Security; served where security.toml has [modbus.tls].
    modbus_tls: int = 802


class Protocols:
    """One vPLC's protocols."""

    def __init__(
        self, paths: Paths, inbox: Inbox, ports: Ports, front: Front | None = None
    ) -> None:
        self.paths, self.inbox, self.ports = paths, inbox, ports
        self.front = front or Front(paths)
        inbox.order = self._order
        self.scanner = Scanner(
            self.shm, alive=lambda: self.shm().heartbeat_age_s < 1.0, keys=paths.state / "keys"
        )
        self.metrics = Metrics(self)
        self._opcua: Any = None
        self._sources = Sources(self.shm)
        self._opcua_served: tuple[bytes, ...] | None = None
        self._modbus_due = False
        #: Whose certificates Modbus/TCP Security believes at present.
        self._authorities = ""
        #: A front that was handed over listens already.
        self.bound: dict[str, int] = {"modbus": ports.modbus} if front else {}
        self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.message = ""
        #: kind of fault → how often one was seen
        self.faults: dict[str, int] = {}
        self._state_before = State.NO_PROGRAM
        self.journal = Journal(paths.journal)
        #: Whether the devices are those of the active program.
        self._loaded = False
        #: Scan process and generation that wait for good inputs, and since when that was seen.
        self._waits_for: tuple[int, int, float] = (0, 0, 0.0)

    def shm(self) -> SharedMemory:
        """The memory of the scan process there is now."""
        return self.front.shm()

    @property
    def symbols(self) -> list[dict[str, Any]]:
        """The running program's variables."""
        return self.front.symbols

    @property
    def access(self) -> AccessList:
        """Who may write what."""
        return self.front.access

    @property
    def modbus(self) -> ModbusServer:
        """The Modbus server."""
        return self.front.modbus

    def _order(self, verb: Command) -> str:
        """Tell the scan to take another program; until its symbols are read, writes mean the layout of the one before."""
        shm = self.shm()
        shm.layout = shm.generation
        return shm.order(verb)

    # --- what is in force ---------------------------------------------------------------------------

    def load(self) -> None:
        """Read program and configuration. A configuration overrides what the program brought."""
        self.message = ""
        try:
            self.front.load()
            files = {
                f"io/{path.name}": path.read_text()
                for path in sorted((self.front.source / "io").glob("*.toml"))
            }
            outputs = self._settings()
            devices = (
                load_devices(
                    files, self.symbols, on_stop=outputs.on_stop, on_fault=outputs.on_fault
                )
                if self.symbols
                else []
            )
        except (OSError, ValueError) as error:
            # What was in force stays in force; the status says why.
            self.message, self._loaded = str(error), False
            log.error("configuration: %s", error)
            return
        self._loaded = True
        self.scanner.start(devices)
        self._modbus_due = True
        self._sources = Sources(self.shm, devices)

    # --- life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        with contextlib.suppress(ShmError):
            self.load()
        if "modbus" not in self.bound and self.front.settings.plain:
            self.bound["modbus"] = await self.modbus.start(self.ports.host, self.ports.modbus)
        await self._serve_modbus()
        self.bound["metrics"] = await self.metrics.start(self.ports.host, self.ports.metrics)
        opcua = asyncio.create_task(self._restart_opcua())
        arrivals = Arrivals(self.paths.inbox)
        try:
            while True:
                await self._tick(opcua)
                await self._pause(arrivals)
        finally:
            arrivals.close()
            await self.scanner.shutdown()
            await self.modbus.stop()
            opcua.cancel()
            if self._opcua is not None:
                await self._opcua.stop()

    async def _pause(self, arrivals: Arrivals) -> None:
        """A quarter of a second, or until something is delivered."""
        end = time.monotonic() + PAUSE_S
        while (left := end - time.monotonic()) > 0:
            await arrivals.wait(left)
            if self.inbox.waiting():
                return

    async def _tick(self, opcua: asyncio.Task[None]) -> None:
        try:
            shm = self.shm()
            shm.beat()
            if (state := shm.state) is not self._state_before:
                self._state_before = state
                if state is State.FAULT:
                    kind = FAULTS.get(shm.fault[0], "other")
                    self.faults[kind] = self.faults.get(kind, 0) + 1
            taken = await asyncio.to_thread(self.inbox.take_all)
            if taken:
                self.load()
                self.shm().layout = None
                await self._serve_modbus()
                if not self._opcua_goes_on():
                    opcua.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await opcua
                    await self._restart_opcua()
            self._note(shm)
            if state is State.WAITING:
                self._inputs_ready(shm)
            report = json.dumps(self.status()).encode()
            # Not on this loop: Modbus and OPC UA do not wait for a disk.
            await asyncio.to_thread(write_atomic, self.paths.status, report, lasting=False)
        except ShmError as error:
            log.warning("%s", error)
            await asyncio.sleep(0.5)

    def _settings(self) -> RuntimeSettings:
        return RuntimeSettings.parse(
            read_manifest(self.paths.active) if (self.paths.active / "vplc.toml").exists() else {}
        )

    def _inputs_ready(self, shm: SharedMemory) -> None:
        """Tell the scan once every device has been read well since this program was there."""
        now = (shm.scan_pid, shm.generation)
        if now != self._waits_for[:2]:
            self._waits_for = (*now, time.monotonic())
        feeds = [
            row for row in self.scanner.devices if any(not point.output for point in row.points)
        ]
        if self._loaded and all(
            row.good and not row.bad_points and row.last_good > self._waits_for[2] for row in feeds
        ):
            shm.inputs_ready()

    def _note(self, shm: SharedMemory) -> None:
        """Events of the scan, errors of the configuration and of devices: written down when they begin and end."""
        self.journal.note_events(shm)
        self.journal.note("configuration", self.message)
        for device in self.scanner.devices:
            if device.good or device.errors:
                self.journal.note(f"device {device.name}", "" if device.good else device.error)

    async def _serve_modbus(self) -> None:
        """With TLS where security.toml says whom to believe; without where vplc.toml does not forbid it."""
        if not self._modbus_due:
            return
        self._modbus_due = False
        try:
            if self.front.settings.plain:
                self.bound["modbus"] = await self.modbus.start(
                    self.ports.host, self.bound.get("modbus", self.ports.modbus)
                )
            else:
                self.modbus.stop_plain()
                self.bound.pop("modbus", None)
            if not self.access.authorities:
                self.modbus.stop_tls()
                self.bound.pop("modbus_tls", None)
                return
            from industrial.modbus.secure import role_of, server_context
            from industrial.security import ensure_identity

            own = await asyncio.to_thread(ensure_identity, self.paths.state / "keys")
            context = server_context(own.certificate, own.key, self.access.authorities)
            if self._authorities not in ("", self.access.authorities):
                # Their certificates were believed by others: they show them again.
                self.modbus.end_secure_sessions()
            self._authorities = self.access.authorities
            self.bound["modbus_tls"] = await self.modbus.start_tls(
                self.ports.host, self.ports.modbus_tls, context, role_of
            )
        except (OSError, ValueError) as error:
            # Control and the other protocols go on; the status and the log say what is missing.
            self.message = f"Modbus: {error}"
            log.error("%s", self.message)

    def _opcua_files(self) -> tuple[bytes, ...]:
        """What the OPC UA server is made of: where none of it is another, its sessions outlive a delivery."""
        files = (self.paths.active / "symbols.json", self.paths.active / "vplc.toml")
        return tuple(path.read_bytes() if path.exists() else b"" for path in files)

    def _opcua_goes_on(self) -> bool:
        """Whether the server there is serves what has been delivered; users and rights are the new ones at once."""
        if self._opcua is None or self._opcua_files() != self._opcua_served:
            return False
        return bool(self._opcua.adopt(self._policy()))

    async def _restart_opcua(self) -> None:
        self._opcua_served = None
        try:
            await self._start_opcua()
        except Exception as error:
            self._opcua_served = None
            # Control and the other protocols go on; the status and the log say what is missing.
            self.message = f"OPC UA: {error or type(error).__name__}"
            log.exception("OPC UA does not start")

    async def _start_opcua(self) -> None:
        # Imported here: it takes seconds under emulation, and Modbus need not wait for it.
        from industrial.opcua import TagServer

        if self._opcua is not None:
            await self._opcua.stop()
        program = self.inbox.active_program()
        # From here on it can be told of other users, ready or not.
        self._opcua_served = self._opcua_files()
        self._opcua = TagServer(
            self.shm,
            self.ports.host,
            self.ports.opcua,
            policy=self._policy(),
            state=self.paths.state,
            fed=lambda path: self._sources(path),
            project=self.paths.active,
            silent=lambda: sum(not device.good for device in self.scanner.devices),
        )
        await self._opcua.start(program["name"] if program else "none", self.symbols)
        # 0: nobody may come, and nothing listens.
        self.bound["opcua"] = self._opcua.port if self._opcua.served else 0

    def _policy(self) -> Any:
        """The OPC UA part of security.toml; one that breaks a rule lets nobody in, and the status says why."""
        from industrial.security import OpcUaPolicy, PolicyError

        security = self.front.source / "security.toml"
        try:
            return OpcUaPolicy.parse(security.read_text()) if security.exists() else OpcUaPolicy()
        except (OSError, PolicyError) as error:
            self.message = str(error)
            log.error("%s", error)
            return OpcUaPolicy()

    def clients(self) -> dict[str, tuple[int, int]]:
        """Protocol → open connections or sessions, and how many were refused so far."""
        opcua = self._opcua
        return {
            "modbus": (
                self.modbus.connections - self.modbus.secure_connections,
                self.modbus.refused,
            ),
            "modbus_tls": (self.modbus.secure_connections, self.modbus.failed_handshakes),
            "opcua": (opcua.sessions, opcua.refused) if opcua is not None else (0, 0),
        }

    def status(self) -> dict[str, Any]:
        """What `/run/vplc/status.json` says."""
        shm = self.shm()
        tasks = shm.tasks()
        state = shm.state
        code, line, file, task = shm.fault
        found: dict[str, Any] = {
            "boot_id": self.boot_id,
            "scan_pid": shm.scan_pid,
            "state": STATES[state],
            "program": self.inbox.active_program(),
            "scans": {row.name: row.scans for row in tasks},
            "overruns": {row.name: row.overruns for row in tasks},
            "fifo": shm.fifo,
            "forced": len(shm.forces()),
            "heartbeat_age_s": round(shm.heartbeat_age_s, 3),
            "message": self.message,
            **runtime_report(shm, self.paths.active),
            "at": time.time(),
            "devices": {
                device.name: {
                    "good": device.good,
                    "error": device.error,
                    "reads": device.reads,
                    "errors": device.errors,
                    "bad_points": device.bad_points,
                }
                for device in self.scanner.devices
            },
        }
        if state is State.FAULT:
            found["fault"] = {
                "code": code,
                "line": line,
                "file": file,
                "task": tasks[task].name if task < len(tasks) else "",
            }
        return found


async def serve(paths: Paths, trust: Path | None, ports: Ports, front: Front | None = None) -> None:
    """Serve until cancelled, taking deliveries that the keys of the file `trust` have signed."""
    keys = trusted_keys(trust.read_text()) if trust and trust.exists() else []
    await Protocols(paths, Inbox(paths, keys), ports, front).run()


def read_manifest(project: Path) -> dict[str, Any]:
    """vplc.toml as data."""
    return tomllib.loads((project / "vplc.toml").read_text(encoding="utf-8"))
