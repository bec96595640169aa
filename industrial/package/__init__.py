"""Bundles: what is delivered to a vPLC, signed."""

from .bundle import Bundle, BundleError, Manifest, pack, unpack

__all__ = ["Bundle", "BundleError", "Manifest", "pack", "unpack"]
