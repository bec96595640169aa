"""The OPC UA server of a vPLC."""

from .server import TagServer

__all__ = ["TagServer"]
