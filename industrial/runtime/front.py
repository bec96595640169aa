"""What a vPLC answers first: Modbus from the shared memory, with nothing imported that it can do without.

Under emulation an import costs ten times what it does elsewhere; scanner, metrics, deliveries and OPC UA
come after the first answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from industrial.modbus.access import AccessList
from industrial.modbus.image import ModbusImage
from industrial.modbus.server import ModbusServer

from .paths import Paths
from .shm import SharedMemory


class Front:
    """Shared memory, symbols, access rules, and the Modbus server on them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.symbols: list[dict[str, Any]] = []
        self.access = AccessList()
        self._shm: SharedMemory | None = None
        self._image: ModbusImage | None = None
        self.modbus = ModbusServer(self.image, lambda: self.access)

    def shm(self) -> SharedMemory:
        """The memory of the scan process there is now."""
        if self._shm is None or self._shm.replaced:
            self._shm = SharedMemory(self.paths.shm)
            self._image = None
        return self._shm

    def image(self) -> ModbusImage:
        """The program's registers in that memory."""
        shm = self.shm()
        if self._image is None:
            self._image = ModbusImage(shm, self.symbols)
        return self._image

    @property
    def source(self) -> Path:
        """Where configuration is read: what was delivered overrides what the program brought."""
        return self.paths.config if self.paths.config.exists() else self.paths.active

    def load(self) -> None:
        """Read symbols and access rules.

        Raises:
            OSError: not readable.
            ValueError: bad rules; those in force stay.
        """
        self.symbols = read_json(self.paths.active / "symbols.json").get("symbols", [])
        self._image = None
        security = self.source / "security.toml"
        self.access = AccessList.parse(security.read_text()) if security.exists() else AccessList()


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file; empty if there is none."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
