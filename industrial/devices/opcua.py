"""Devices that speak OPC UA: read, subscribed to, and written."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from industrial.security import ensure_identity

from .config import Device, Point
from .link import Reading
from .values import encode

#: How often a device whose values do not change is asked whether it lives.
_ALIVE_S = 1.0
_TYPES = {
    "BOOL": ua.VariantType.Boolean,
    "SINT": ua.VariantType.SByte,
    "USINT": ua.VariantType.Byte,
    "BYTE": ua.VariantType.Byte,
    "INT": ua.VariantType.Int16,
    "UINT": ua.VariantType.UInt16,
    "WORD": ua.VariantType.UInt16,
    "DINT": ua.VariantType.Int32,
    "UDINT": ua.VariantType.UInt32,
    "DWORD": ua.VariantType.UInt32,
    "TIME": ua.VariantType.UInt32,
    "LINT": ua.VariantType.Int64,
    "ULINT": ua.VariantType.UInt64,
    "LWORD": ua.VariantType.UInt64,
    "REAL": ua.VariantType.Float,
    "LREAL": ua.VariantType.Double,
}


class OpcUaLink:
    """One session. `keys`: the folder of the vPLC's own certificate."""

    def __init__(self, device: Device, keys: Path) -> None:
        self._device, self._keys = device, keys
        self._client = Client(device.url, timeout=device.timeout_s)
        self._inputs = [point for point in device.points if not point.output]
        self._by_node: dict[str, list[Point]] = {}
        for point in self._inputs:
            self._by_node.setdefault(point.node, []).append(point)
        self._latest: dict[str, float | bool | None] = {}
        self._looked_at = 0.0
        self._lost = ""

    async def open(self) -> None:
        try:
            if self._device.server_certificate:
                await self._secure()
            await self._client.connect()
            if self._device.subscribe and self._by_node:
                await self._subscribe()
        except (ua.UaError, ValueError) as error:
            raise ConnectionError(f"{self._device.url}: {_words(error)}") from None

    async def _secure(self) -> None:
        own = await asyncio.to_thread(ensure_identity, self._keys)
        # The certificate is the one in the file: a device that shows another is not talked to.
        theirs = x509.load_pem_x509_certificate(self._device.server_certificate.encode())
        self._client.application_uri = own.uri
        await self._client.set_security(
            SecurityPolicyBasic256Sha256, str(own.certificate), str(own.key),
            server_certificate=theirs.public_bytes(Encoding.DER),
        )  # fmt: skip

    async def _subscribe(self) -> None:
        period = self._device.rate_s * 1000
        subscription = await self._client.create_subscription(period, self)
        nodes = [self._client.get_node(node) for node in self._by_node]
        made = await subscription.subscribe_data_change(nodes, sampling_interval=period)
        for node, handle in zip(
            self._by_node, made if isinstance(made, list) else [made], strict=True
        ):
            if not isinstance(handle, int):
                raise ConnectionError(f"{node}: {handle.name}")

    def datachange_notification(self, node: Any, _value: Any, data: Any) -> None:
        """asyncua: a subscribed value has changed, or its quality."""
        self._latest[node.nodeid.to_string()] = _number(data.monitored_item.Value)

    def status_change_notification(self, status: Any) -> None:
        """asyncua: the subscription has ended."""
        self._lost = f"the subscription ended: {status}"

    async def read(self) -> Sequence[Reading]:
        try:
            if self._device.subscribe:
                await self._look()
            elif self._by_node:
                nodes = [self._client.get_node(node) for node in self._by_node]
                found = await self._client.read_attributes(nodes, ua.AttributeIds.Value)
                self._latest = {
                    node.nodeid.to_string(): _number(value)
                    for node, value in zip(nodes, found, strict=True)
                }
        except ua.UaError as error:
            raise ConnectionError(_words(error)) from None
        return [
            (point, self._latest[key])
            for node, points in self._by_node.items()
            if (key := ua.NodeId.from_string(node).to_string()) in self._latest
            for point in points
        ]

    async def _look(self) -> None:
        if self._lost:
            raise ConnectionError(self._lost)
        now = time.monotonic()
        if now - self._looked_at >= _ALIVE_S:
            self._looked_at = now
            await self._client.check_connection()
            await self._client.get_node(ua.ObjectIds.Server_ServerStatus_State).read_value()

    async def write(self, wanted: Sequence[tuple[Point, float | bool]]) -> None:
        nodes = [self._client.get_node(point.node) for point, _ in wanted]
        values = [_data(point, value) for point, value in wanted]
        try:
            answers = await self._client.write_values(nodes, values, raise_on_partial_error=False)
        except ua.UaError as error:
            raise ConnectionError(_words(error)) from None
        for (point, _), answer in zip(wanted, answers, strict=True):
            if not answer.is_good():
                raise ConnectionError(f"{point.node}: {answer.name}")

    async def close(self) -> None:
        with contextlib.suppress(OSError, ua.UaError, asyncio.TimeoutError):
            await self._client.disconnect()


def _data(point: Point, value: float | bool) -> ua.DataValue:
    """A value without time stamps: many devices refuse those."""
    kind = _TYPES[point.type]
    if point.type == "BOOL":
        return ua.DataValue(ua.Variant(bool(value), kind))
    if point.type in ("REAL", "LREAL"):
        return ua.DataValue(ua.Variant(float(value), kind))
    data = encode({"type": point.type}, float(value))  # saturates
    signed = point.type in ("SINT", "INT", "DINT", "LINT")
    return ua.DataValue(ua.Variant(int.from_bytes(data, "little", signed=signed), kind))


def _number(found: ua.DataValue) -> float | bool | None:
    """A value, if it is one and not bad."""
    value = found.Value.Value if found.Value is not None else None
    if (found.StatusCode is not None and found.StatusCode.is_bad()) or not isinstance(
        value, int | float
    ):
        return None
    return value


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
