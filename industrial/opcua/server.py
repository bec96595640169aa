"""OPC UA: the program's variables as nodes, written only when they change.

Anonymous reading without encryption is open only where security.toml says so in words; nobody writes here yet.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from asyncua import Server, ua

from industrial.modbus.scanner import decode
from industrial.runtime.shm import SharedMemory, ShmError

NAMESPACE = "urn:millwright:vplc"
#: More variables than this are not published: an OPC UA client drowns, and start-up takes minutes.
MAX_NODES = 5000
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
    "LINT": ua.VariantType.Int64,
    "ULINT": ua.VariantType.UInt64,
    "LWORD": ua.VariantType.UInt64,
    "REAL": ua.VariantType.Float,
    "LREAL": ua.VariantType.Double,
}


class TagServer:
    """Publishes symbols as `ns=2;s=<path>`."""

    def __init__(
        self, shm: Callable[[], SharedMemory], host: str, port: int, *, anonymous_read: str
    ) -> None:
        self._shm = shm
        self._url = f"opc.tcp://{host}:{port}/"
        self._open = bool(anonymous_read)
        self._server: Server | None = None
        self._nodes: list[tuple[ua.NodeId, Mapping[str, Any]]] = []
        self._last: list[object] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self, program: str, symbols: Iterable[Mapping[str, Any]]) -> None:
        """Make the nodes and listen; nothing at all is served where reading was not opened."""
        if not self._open:
            return
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        server = Server()
        await server.init()
        server.set_endpoint(self._url)
        server.set_server_name(f"Millwright vPLC {socket.gethostname()}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        folder = await server.nodes.objects.add_folder(
            ua.NodeId("Program", index), f"{index}:{program}"
        )
        parents = {"": folder}
        self._nodes = []
        shown = [
            row
            for row in symbols
            if row["type"] in TYPES and not row.get("dims") and not row.get("hidden")
        ]
        for symbol in shown[:MAX_NODES]:
            parent = folder
            parts = str(symbol["path"]).split(".")
            for depth in range(1, len(parts)):
                path = ".".join(parts[:depth])
                if path not in parents:
                    parents[path] = await parent.add_object(
                        ua.NodeId(path, index), f"{index}:{parts[depth - 1]}"
                    )
                parent = parents[path]
            kind = TYPES[symbol["type"]]
            initial = (
                False
                if kind is ua.VariantType.Boolean
                else 0.0
                if kind in (ua.VariantType.Float, ua.VariantType.Double)
                else 0
            )
            node = await parent.add_variable(
                ua.NodeId(str(symbol["path"]), index), f"{index}:{parts[-1]}", initial, kind
            )
            self._nodes.append((node.nodeid, symbol))
        self._last = [None] * len(self._nodes)
        await server.start()
        self._server = server
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def _publish(self) -> None:
        """Ten times a second, what changed."""
        while True:
            await asyncio.sleep(0.1)
            server = self._server
            if server is None:
                return
            try:
                images = self._shm().snapshot(arena=True)
            except ShmError:
                continue
            for number, (node, symbol) in enumerate(self._nodes):
                value = decode(symbol, images)
                if value != self._last[number]:
                    self._last[number] = value
                    await server.write_attribute_value(
                        node, ua.DataValue(ua.Variant(value, TYPES[symbol["type"]]))
                    )
