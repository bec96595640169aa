"""What a vPLC answers first: Modbus from the shared memory, with nothing imported that it can do without.

Under emulation an import costs ten times what it does elsewhere; scanner, metrics, deliveries and OPC UA
come after the first answer.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from industrial.modbus.access import AccessList
from industrial.modbus.image import ModbusImage
from industrial.modbus.server import IDENTITY, ModbusServer
from industrial.modbus.settings import ModbusSettings

from .paths import Paths
from .shm import ScanSilent, SharedMemory

#: How long the memory of the scan process is taken to be the one that was looked at.
LOOKED_S = 0.05
#: A scan process that has said nothing for so long is not there: clients get an error and no old values.
SILENT_S = 5.0


class Front:
    """Shared memory, symbols, access rules, and the Modbus server on them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.symbols: list[dict[str, Any]] = []
        self.access = AccessList()
        self._shm: SharedMemory | None = None
        self._image: ModbusImage | None = None
        self._looked_at = 0.0
        self.settings = ModbusSettings()
        self.identity: Mapping[int, str] = IDENTITY
        self.modbus = ModbusServer(
            self.image, lambda: self.access, lambda: self.settings, lambda: self.identity
        )

    def shm(self) -> SharedMemory:
        """The memory of the scan process there is now."""
        if self._shm is None or self._shm.replaced:
            self._shm = SharedMemory(self.paths.shm)
            self._image = None
        return self._shm

    def image(self) -> ModbusImage:
        """The program's registers in that memory.

        Raises:
            ShmError: there is none.
            ScanSilent: the scan process is not alive.
        """
        now = time.monotonic()
        if self._image is None or now - self._looked_at > LOOKED_S:
            shm = self.shm()
            if (age := shm.heartbeat_age_s) > SILENT_S:
                self._image = None
                raise ScanSilent(f"the scan process has been silent for {age:.0f} s")
            if self._image is None:
                high_first = self.settings.word_order == "high_first"
                self._image = ModbusImage(shm, self.symbols, high_first=high_first)
            self._looked_at = now
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
        manifest = self.paths.active / "vplc.toml"
        self.settings = ModbusSettings.parse(
            tomllib.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
        )
        about = read_json(self.paths.active / "about.json")
        self.identity = {
            **IDENTITY,
            4: "Millwright vPLC",
            5: str(about.get("version", "")),
            6: str(about.get("name", "")),
        }
        security = self.source / "security.toml"
        self.access = AccessList.parse(security.read_text()) if security.exists() else AccessList()


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file; empty if there is none."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
