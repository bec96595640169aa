"""Modbus TCP, with and without TLS: the server towards SCADA and HMI."""

from .access import AccessList, Grant, Peer
from .image import ModbusImage
from .server import ModbusServer
from .settings import ModbusSettings, SettingsError

__all__ = [
    "AccessList",
    "Grant",
    "ModbusImage",
    "ModbusServer",
    "ModbusSettings",
    "Peer",
    "SettingsError",
]
