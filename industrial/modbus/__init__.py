"""Modbus TCP: the server towards SCADA and HMI, the scanner towards devices."""

from .access import AccessList, Grant
from .image import ModbusImage
from .scanner import Device, DeviceError, Point, Scanner, load_devices
from .server import ModbusServer

__all__ = [
    "AccessList",
    "Device",
    "DeviceError",
    "Grant",
    "ModbusImage",
    "ModbusServer",
    "Point",
    "Scanner",
    "load_devices",
]
