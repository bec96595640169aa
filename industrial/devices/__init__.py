"""Devices of the field: Modbus TCP, RTU over TCP and OPC UA, read into the images and written from them."""

from .config import Device, DeviceError, Point, load_devices
from .scanner import Scanner

__all__ = ["Device", "DeviceError", "Point", "Scanner", "load_devices"]
