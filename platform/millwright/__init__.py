"""Millwright: a plant's own virtual infrastructure."""

__version__ = "0.1.0"
