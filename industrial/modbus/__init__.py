"""Modbus TCP: the server towards SCADA and HMI, the scanner towards devices."""

from typing import TYPE_CHECKING, Any

from .access import AccessList, Grant, Peer
from .image import ModbusImage
from .server import ModbusServer
from .settings import ModbusSettings, SettingsError

if TYPE_CHECKING:
    from .scanner import Device, DeviceError, Point, Scanner, load_devices

__all__ = [
    "AccessList",
    "Device",
    "DeviceError",
    "Grant",
    "ModbusImage",
    "ModbusServer",
    "ModbusSettings",
    "Peer",
    "Point",
    "Scanner",
    "SettingsError",
    "load_devices",
]


def __getattr__(name: str) -> Any:
    """The scanner brings a Modbus client with it, which the server's start does not wait for."""
    if name in __all__:
        from . import scanner

        return getattr(scanner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
