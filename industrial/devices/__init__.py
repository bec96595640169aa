"""Devices of the field: Modbus TCP, RTU over TCP and OPC UA, read into the images and written from them."""

from typing import TYPE_CHECKING, Any

from .config import Device, DeviceError, Point, load_devices

if TYPE_CHECKING:
    from .scanner import Scanner

__all__ = ["Device", "DeviceError", "Point", "Scanner", "load_devices"]


def __getattr__(name: str) -> Any:
    """What talks to devices comes when it is asked for: a compilation reads their files alone."""
    if name == "Scanner":
        from .scanner import Scanner

        return Scanner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
