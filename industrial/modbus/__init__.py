"""Modbus TCP, with and without TLS: the server towards SCADA and HMI."""

from typing import TYPE_CHECKING, Any

from .access import AccessList, Grant, Peer
from .settings import ModbusSettings, SettingsError

if TYPE_CHECKING:
    from .image import ModbusImage
    from .server import ModbusServer

__all__ = [
    "AccessList",
    "Grant",
    "ModbusImage",
    "ModbusServer",
    "ModbusSettings",
    "Peer",
    "SettingsError",
]


def __getattr__(name: str) -> Any:
    """The server comes when it is asked for: a compilation reads the settings alone."""
    if name == "ModbusImage":
        from .image import ModbusImage

        return ModbusImage
    if name == "ModbusServer":
        from .server import ModbusServer

        return ModbusServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
