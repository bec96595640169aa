"""OPC UA: the program's variables as nodes `ns=2;s=<path>`, published when they change, written by role.

Basic256Sha256 with Sign or SignAndEncrypt, where there is a user or a trusted application to use it; a channel
without security only where security.toml opens reading in words. Nothing is written to the program at start-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import socket
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from asyncua import Server, ua

from industrial.runtime.history import History, Moment
from industrial.runtime.settings import MachineSettings
from industrial.runtime.shm import Command, SharedMemory, ShmError, Snapshot, State, Write
from industrial.runtime.sources import Fed
from industrial.runtime.variables import Place, Variables
from industrial.security import OpcUaPolicy, Role, TrustStore, ensure_identity

from .door import PlcServer
from .information import (
    DIRECTIONS,
    Blocks,
    Nodes,
    add_information,
    health,
    link_tasks,
)
from .methods import add_methods
from .models import Models
from .publish import AREAS, LOOK_S, PERIOD_S, Publisher
from .sessions import PlcInternalServer, Users

log = logging.getLogger(__name__)

NAMESPACE = "urn:millwright:vplc"
#: More variables than this are not published: an OPC UA client drowns, and start-up takes minutes.
MAX_NODES = 5000
#: Between two looks at who is still let in, in seconds.
REVIEW_S = 1.0
#: Elements of an array that are published as one value.
MAX_ARRAY = 1024
TYPES = {
    "BOOL": ua.VariantType.Boolean,
    "SINT": ua.VariantType.SByte,
    "USINT": ua.VariantType.Byte,
    "BYTE": ua.VariantType.Byte,
    "INT": ua.VariantType.Int16,
    "UINT": ua.VariantType.UInt16,
    "WORD": ua.VariantType.UInt16,
    "DINT": ua.VariantType.Int32,
    "UDINT": ua.VariantType.UInt32,
    "DWORD": ua.VariantType.UInt32,
    "TIME": ua.VariantType.UInt32,
    "TOD": ua.VariantType.UInt32,
    "DATE": ua.VariantType.UInt32,
    "DT": ua.VariantType.UInt32,
    "LINT": ua.VariantType.Int64,
    "LTIME": ua.VariantType.Int64,
    "LDATE": ua.VariantType.Int64,
    "LTOD": ua.VariantType.Int64,
    "LDT": ua.VariantType.Int64,
    "ULINT": ua.VariantType.UInt64,
    "LWORD": ua.VariantType.UInt64,
    "REAL": ua.VariantType.Float,
    "LREAL": ua.VariantType.Double,
    "STRING": ua.VariantType.String,
    "WSTRING": ua.VariantType.String,
    "CHAR": ua.VariantType.String,
    "WCHAR": ua.VariantType.String,
}


class TagServer:
    """The OPC UA server of one program.

    `project` is the folder of its symbols.json and vplc.toml; `silent` counts the devices that do not answer.
    """

    def __init__(
        self,
        shm: Callable[[], SharedMemory],
        host: str,
        port: int,
        *,
        policy: OpcUaPolicy,
        state: Path,
        fed: Callable[[str], Fed | None] = lambda _path: None,
        project: Path | None = None,
        silent: Callable[[], int] = lambda: 0,
    ) -> None:
        self._shm = shm
        self._url = f"opc.tcp://{host}:{port}/"
        self._policy, self._state, self._fed = policy, state, fed
        self._project, self._silent = project, silent
        self._trust = TrustStore(state / "trust", policy.clients)
        self.users = Users(lambda: self._policy, lambda: self._trust)
        self._server: Server | None = None
        self._nodes: list[tuple[ua.NodeId, Place]] = []
        self._publisher: Publisher | None = None
        self._history: History | None = None
        #: The first bytes of the layout that the nodes mean; none where it is not known.
        self._layout = b""
        self._task: asyncio.Task[None] | None = None
        self._events: Any = None
        self._health: tuple[ua.NodeId, int] | None = None
        self.port = port

    @property
    def served(self) -> bool:
        """Whether there is anybody to serve: a user, a trusted application, or words that open reading."""
        return self._policy.secured or self._policy.open

    def adopt(self, policy: OpcUaPolicy) -> bool:
        """Go on with other users, applications and rights; whether that was possible.

        It is not where another kind of channel is served: the server has to be started anew for that. Sessions of
        users and applications that are not let in any more, or with another role, end.
        """
        if (policy.secured, policy.open) != (self._policy.secured, self._policy.open):
            return False
        self._policy = policy
        self._trust = TrustStore(self._state / "trust", policy.clients)
        self._review()
        return True

    def _review(self) -> None:
        """End sessions that may not be there any more: trust is also withdrawn by `vplc trust remove`."""
        server = self._server
        if server is not None and server.bserver:
            for connection in list(server.bserver.clients):
                connection.end_unless(lambda session: session.is_welcome(self._policy))

    @property
    def sessions(self) -> int:
        """Clients that are connected."""
        server = self._server
        return len(server.bserver.clients) if server is not None and server.bserver else 0

    @property
    def refused(self) -> int:
        """Sign-ins that were refused, and connections that were ended because they were no OPC UA or too many."""
        server = self._server
        return self.users.refused + (server.iserver.turned_away if server is not None else 0)

    async def start(self, program: str, symbols: Iterable[Mapping[str, Any]]) -> None:
        """Make the nodes and listen; nothing at all is served where nobody may come."""
        if not self.served:
            return
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        internal = PlcInternalServer(self.users, lambda: self._trust)
        server = PlcServer(iserver=internal)
        await server.init()
        server.set_endpoint(self._url)
        server.set_server_name(f"Millwright vPLC {socket.gethostname()}")
        uri = await self._secure(server)
        index = await server.register_namespace(NAMESPACE)
        models = Models(server, index)
        await models.define()
        about, machine = self._about(program)
        places = add_information(models, uri, about, machine)
        self._health = (places.health, 0)
        self._layout = bytes.fromhex(str(about.get("layout_hash", "")))[:4]
        shown = await self._add_nodes(server, models, about, places, list(symbols))
        attributes = internal.attribute_service
        attributes.symbols = {node: row for (node, _), row in zip(self._nodes, shown, strict=True)}
        attributes.may_write = lambda role, row: self._policy.may_write(role, row)
        attributes.writer = self._write
        self._publisher = Publisher(
            server, [(node, place, TYPES[place.type]) for node, place in self._nodes]
        )
        self._events = await add_methods(server, models, places.methods, self._shm, self._order)
        # The program's values and not zeros are what the first client sees.
        with contextlib.suppress(ShmError):
            for moment in self._moments():
                await self._tell(moment.images, None)
        await server.start()
        self._server = server
        self.port = server.bserver.port if server.bserver else self.port
        self._task = asyncio.create_task(self._publish())

    def _about(self, program: str) -> tuple[Mapping[str, Any], MachineSettings]:
        """What symbols.json says beside the variables, and the machine's nameplate.

        Raises:
            SettingsError: [opcua] breaks a rule.
        """
        about: dict[str, Any] = {}
        manifest: dict[str, Any] = {}
        if self._project is not None:
            with contextlib.suppress(OSError, ValueError):
                about = json.loads((self._project / "symbols.json").read_text())
            with contextlib.suppress(OSError, ValueError):
                manifest = tomllib.loads((self._project / "vplc.toml").read_text(encoding="utf-8"))
        return {**about, "program": program}, MachineSettings.parse(manifest)

    async def _secure(self, server: Server) -> str:
        """Certificate, policies and the kinds of tokens; returns the application's URI."""
        identity = await asyncio.to_thread(ensure_identity, self._state / "keys")
        await server.set_application_uri(identity.uri)
        await server.load_certificate(str(identity.certificate))
        await server.load_private_key(str(identity.key))
        policies = []
        tokens: list[type] = []
        if self._policy.secured:
            policies = [
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Basic256Sha256_Sign,
            ]
            tokens += [ua.UserNameIdentityToken, ua.X509IdentityToken]
        if self._policy.open:
            policies.append(ua.SecurityPolicyType.NoSecurity)
            tokens.append(ua.AnonymousIdentityToken)
        server.set_security_policy(policies)
        server.set_identity_tokens(tokens)
        return identity.uri

    async def _add_nodes(
        self, server: Server, models: Models, about: Mapping[str, Any], places: Nodes,
        rows: list[Mapping[str, Any]],
    ) -> list[Mapping[str, Any]]:  # fmt: skip
        """The program's tree below Objects/Program, and the same nodes where PLCopen looks for them."""
        folder = await server.nodes.objects.add_folder(
            ua.NodeId("Program", models.own), models.name(f":{about['program']}")
        )
        variables = Variables(rows)
        blocks = Blocks(models, about)
        parents: dict[str, ua.NodeId] = {"": folder.nodeid}
        self._nodes = []
        shown = [row for row in rows if row["type"] in TYPES and not row.get("hidden")]
        shown = [row for row in shown if variables.find(str(row["path"])).count <= MAX_ARRAY]
        if len(shown) > MAX_NODES:
            log.warning("OPC UA shows %d of %d variables, the first ones", MAX_NODES, len(shown))
            shown = shown[:MAX_NODES]
        for symbol in shown:
            place = variables.find(str(symbol["path"]))
            path, _, name = place.path.rpartition(".")
            kind = TYPES[place.type]
            reference = models.id("PLC", DIRECTIONS.get(str(symbol.get("direction")), 4004))
            node = models.variable(
                ua.NodeId(place.path, models.own), models.name(f":{name}"), _parent(blocks, parents, path),
                reference if path else ua.ObjectIds.HasComponent, _initial(place, kind), kind,
                description=str(symbol.get("comment") or ""),
                dimensions=[high - low + 1 for low, high in place.dims] or None,
            )  # fmt: skip
            if not path:
                models.refer(places.globals, ua.NodeId(ua.ObjectIds.Organizes), node)
            if any(self._policy.may_write(role, symbol) for role in Role):
                # The role decides at the write; here it is said that it can be written at all.
                await server.get_node(node).set_writable()
            self._nodes.append((node, place))
        programs = {path: node for path, node in parents.items() if blocks.is_program(path)}
        for node in programs.values():
            models.refer(places.programs, ua.NodeId(ua.ObjectIds.HasComponent), node)
        link_tasks(models, about, programs)
        return shown

    async def stop(self) -> None:
        """End sessions and the port."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._server is not None:
            await self._server.stop()
            self._server = None

    # --- from clients ------------------------------------------------------------------------------------

    def _write(self, symbol: Mapping[str, Any], variant: ua.Variant) -> ua.StatusCode:
        """Queue a client's value for the next scan boundary."""
        place = Variables([symbol]).find(str(symbol["path"]))
        if variant.VariantType is not TYPES[place.type]:
            return ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        try:
            data = place.encode(variant.Value)
            self._shm().write(_writes(place, data))
        except LookupError:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        except ShmError:
            return ua.StatusCode(ua.StatusCodes.BadResourceUnavailable)
        return ua.StatusCode()

    async def _order(self, command: Command) -> bool:
        return await asyncio.to_thread(self._shm().command, command)

    # --- to clients ----------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        """Every moment of the history, however late we are; whatever else changes ten times a second."""
        before = State.NO_PROGRAM
        clock = asyncio.get_running_loop().time
        due = reviewed = clock()
        latest: Snapshot | None = None
        while True:
            await asyncio.sleep(LOOK_S)
            server = self._server
            if server is None:
                return
            if clock() - reviewed > REVIEW_S:
                reviewed = clock()
                self._review()
            try:
                fresh = False
                for moment in self._moments():
                    latest, fresh = moment.images, True
                    await self._tell(
                        latest, dt.datetime.fromtimestamp(moment.wall_ns / 1e9, dt.UTC)
                    )
                if clock() < due:
                    continue
                due = clock() + PERIOD_S
                shm = self._shm()
                state = shm.state
            except ShmError:
                continue
            if state is State.FAULT and before is not State.FAULT and self._events is not None:
                await self._events(shm.fault)
            before = state
            await self._tell_health(server, health(state, len(shm.forces()), self._silent()))
            if latest is not None and not fresh:
                await self._tell(latest, None)

    def _moments(self) -> Iterator[Moment]:
        """What was not told yet, of the program that the nodes mean."""
        shm = self._shm()
        if self._history is None or self._history.shm is not shm:
            self._history = History(shm)
        for moment in self._history.take():
            if not self._layout or moment.layout == self._layout:
                yield moment

    async def _tell(self, images: Snapshot, scanned: dt.datetime | None) -> None:
        if self._publisher is not None:
            await self._publisher.tell(images, self._fed, scanned)

    async def _tell_health(self, server: Server, now: int) -> None:
        if self._health is not None and self._health[1] != now:
            self._health = (self._health[0], now)
            await server.write_attribute_value(
                self._health[0], ua.DataValue(ua.Variant(now, ua.VariantType.Int32))
            )


def _parent(blocks: Blocks, parents: dict[str, ua.NodeId], path: str) -> ua.NodeId:
    """The object of a path, made with those above it."""
    if path not in parents:
        parents[path] = blocks.add(path, _parent(blocks, parents, path.rpartition(".")[0]))
    return parents[path]


def _initial(place: Place, kind: ua.VariantType) -> Any:
    zero: Any = False if kind is ua.VariantType.Boolean else ""
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        zero = 0.0
    elif kind not in (ua.VariantType.Boolean, ua.VariantType.String):
        zero = 0
    for low, high in reversed(place.dims):
        zero = [zero] * (high - low + 1)
    return zero


def _writes(place: Place, data: bytes) -> list[Write]:
    """A value as writes of at most eight bytes, all applied at the same boundary."""
    area = AREAS[place.area]
    if place.bit is not None:
        return [Write(area, place.offset, 0, data[0], place.bit)]
    parts: list[Write] = []
    for at in range(0, len(data), 8):
        chunk = data[at : at + 8]
        for size in (8, 4, 2, 1):
            while len(chunk) >= size:
                number = int.from_bytes(chunk[:size], "little")
                parts.append(
                    Write(
                        area, place.offset + at + len(data[at : at + 8]) - len(chunk), size, number
                    )
                )
                chunk = chunk[size:]
    return parts
