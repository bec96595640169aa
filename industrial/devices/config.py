"""io/*.toml: devices and their points.

name = "station"
protocol = "modbus_tcp"            # or "modbus_rtu_tcp" (RTU frames in a TCP connection), "opcua"
address = "192.0.2.5:502"          # opcua: url = "opc.tcp://192.0.2.5:4840/"
rate_ms = 100                      # at least 10; timeout_ms = 500, at least 50
word_order = "low_first"           # or "high_first"; byte_order = "big", or "little" within each register
gap = 16                           # registers or bits that are read along so that neighbours are one request
max_registers = 100                # of one request
fail = "hold"                      # or "zero", "substitute": inputs of a silent device, or of a bad value
on_stop = "zero"                   # or "hold", "substitute": outputs while the program is stopped, and at shutdown
on_fault = "zero"                  # the same after a fault, or when the scan process is silent; [outputs] of vplc.toml else
heartbeat = {area = "holding", address = 99}   # counts with each cycle while the scan lives; opcua: {node = "ns=2;s=Alive"}
[[point]]
tag = "Main.sensor"
area = "input"                     # opcua: node = "ns=2;s=Main.level"
address = 0
on_stop = "substitute"             # fail, on_stop, on_fault and substitute are a point's own, too
deadband = 0.5                     # changes up to this, in the variable's unit, are not passed on

OPC UA is encrypted: server_certificate = '''-----BEGIN CERTIFICATE-----…''' is the device's own, or
unencrypted = "why it cannot be". mode = "subscribe", or "read" for devices without subscriptions.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import values

AREAS = ("coil", "discrete", "input", "holding")
FAIL = ("hold", "zero", "substitute")
_HEARTBEAT = {"fail": "hold", "on_stop": "hold", "on_fault": "hold"}
PROTOCOLS = ("modbus_tcp", "modbus_rtu_tcp", "opcua")
#: Types of a Modbus point and their bytes.
FORMATS = {
    "BOOL": "",
    "INT": "<h",
    "UINT": "<H",
    "WORD": "<H",
    "DINT": "<i",
    "UDINT": "<I",
    "DWORD": "<I",
    "LINT": "<q",
    "ULINT": "<Q",
    "LWORD": "<Q",
    "REAL": "<f",
    "LREAL": "<d",
}


class DeviceError(ValueError):
    """An io/*.toml breaks a rule; names file, field, value and rule."""


@dataclass(frozen=True, slots=True)
class Point:
    """One register, bit or node of a device, bound to a tag."""

    tag: str
    area: str
    address: int
    type: str
    output: bool
    scale: float
    offset: float
    fail: str
    substitute: float
    symbol: Mapping[str, Any] = field(hash=False)
    deadband: float = 0.0
    node: str = ""
    on_stop: str = "zero"
    on_fault: str = "zero"

    @property
    def registers(self) -> int:
        """Registers or bits that it takes."""
        return 1 if self.type == "BOOL" else struct.calcsize(FORMATS[self.type]) // 2

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.registers


@dataclass(slots=True)
class Device:
    """A device and its state. `good`: it answers; `bad_points`: values it said itself are bad.

    Devices are equal when they are set up alike, whatever their state.
    """

    name: str
    host: str
    port: int
    unit: int
    rate_s: float
    timeout_s: float
    points: tuple[Point, ...]
    protocol: str = "modbus_tcp"
    high_first: bool = False
    swap_bytes: bool = False
    gap: int = 16
    max_registers: int = 100
    url: str = ""
    subscribe: bool = True
    server_certificate: str = ""
    good: bool = field(default=False, compare=False)
    last_good: float = field(default=0.0, compare=False)
    reads: int = field(default=0, compare=False)
    #: Its outputs are as we set them: they are not left without a word.
    led: bool = field(default=False, compare=False)
    errors: int = field(default=0, compare=False)
    latency_s: float = field(default=0.0, compare=False)
    bad_points: int = field(default=0, compare=False)
    error: str = field(default="not read yet", compare=False)
    #: A register or node that counts while the scan lives: the device sees by it that nobody leads it any more.
    heartbeat: Point | None = None
    beats: int = field(default=0, compare=False)

    def orphans(self, successors: Iterable[Device]) -> tuple[Point, ...]:
        """Outputs here that none of these devices leads any more."""
        led = {
            (*one.place, point.area, point.address, point.node)
            for one in successors
            for point in one.points
            if point.output
        }
        return tuple(
            point
            for point in self.points
            if point.output and (*self.place, point.area, point.address, point.node) not in led
        )

    @property
    def place(self) -> tuple[str, str, int, int, str]:
        """Where it is."""
        return (self.protocol, self.host, self.port, self.unit, self.url)


def load_devices(
    files: Mapping[str, str],
    symbols: Iterable[Mapping[str, Any]],
    *,
    on_stop: str = "zero",
    on_fault: str = "zero",
) -> list[Device]:
    """Read io/*.toml against the program's symbols.

    Args:
        on_stop: what outputs do that say nothing else ([outputs] of vplc.toml).
        on_fault: the same after a fault.

    Raises:
        DeviceError: what is wrong in the first wrong file.
    """
    by_tag = {str(symbol["path"]).lower(): symbol for symbol in symbols}
    outputs = {"on_stop": on_stop, "on_fault": on_fault}
    return [_device(path, text, by_tag, outputs) for path, text in sorted(files.items())]


def _device(
    path: str,
    text: str,
    symbols: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, str],
) -> Device:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path}: {error}") from None
    protocol = _one_of(path, data, "protocol", PROTOCOLS, "")
    opcua = protocol == "opcua"
    url = host = port = certificate = ""
    if opcua:
        url, certificate = str(data.get("url", "")), data.get("server_certificate", "")
        if not url.startswith("opc.tcp://"):
            raise DeviceError(f"{path}: url = {url!r}: expected opc.tcp://host:port/")
        if not certificate and not str(data.get("unencrypted", "")).strip():
            raise DeviceError(
                f'{path}: server_certificate is missing: the device\'s in PEM, or unencrypted = "why"'
            )
        if certificate and "BEGIN CERTIFICATE" not in str(certificate):
            raise DeviceError(f"{path}: server_certificate: a certificate in PEM")
    else:
        host, _, port = str(data.get("address", "")).rpartition(":")
        if not host or not port.isdigit():
            raise DeviceError(
                f"{path}: address = {data.get('address')!r}: expected host:port"
            )  # fmt: skip
    policies = {"fail": "hold", **outputs}
    policies |= {key: data[key] for key in policies if key in data}
    make = _node_point if opcua else _register_point
    points = tuple(
        make(f"{path}: point[{n}]", row, symbols, policies)
        for n, row in enumerate(data.get("point", []), 1)
    )
    return Device(
        str(data.get("name", Path(path).stem)),
        host.strip("[]"),
        int(port or 0),
        int(_number(path, data, "unit", 1, 0, 255)),
        max(0.01, _number(path, data, "rate_ms", 100, 0, 3_600_000) / 1000),
        max(0.05, _number(path, data, "timeout_ms", 500, 0, 60_000) / 1000),
        points,
        protocol,
        _one_of(path, data, "word_order", ("low_first", "high_first"), "low_first") == "high_first",
        _one_of(path, data, "byte_order", ("big", "little"), "big") == "little",
        int(_number(path, data, "gap", 16, 0, 1000)),
        int(_number(path, data, "max_registers", 100, 4, 125)),
        url,
        _one_of(path, data, "mode", ("subscribe", "read"), "subscribe") == "subscribe",
        str(certificate),
        heartbeat=_heartbeat(path, data, opcua=opcua),
    )


def _heartbeat(path: str, data: Mapping[str, Any], *, opcua: bool) -> Point | None:
    """A register or node of its own: no variable stands behind it."""
    row = data.get("heartbeat")
    if row is None:
        return None
    if not isinstance(row, Mapping):
        raise DeviceError(f"{path}: heartbeat = {row!r}: a table, as {{area, address}} or {{node}}")
    symbol = {"path": "heartbeat", "type": "UINT", "area": "M", "offset": 0, "bit": None}
    row = {"area": "holding", **row, "tag": "heartbeat", "direction": "out"}
    make = _node_point if opcua else _register_point
    point = make(f"{path}: heartbeat", row, {"heartbeat": symbol}, _HEARTBEAT)
    if not opcua and point.area != "holding":
        raise DeviceError(f"{path}: heartbeat.area = {point.area!r}: a holding register")
    return point


def _one_of(where: str, row: Mapping[str, Any], key: str, known: tuple[str, ...], default: str) -> str:  # fmt: skip
    value = row.get(key, default)
    if value not in known:
        raise DeviceError(f"{where}: {key} = {value!r}: one of {', '.join(known)}")
    return str(value)


def _number(where: str, row: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:  # fmt: skip
    value = row.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DeviceError(f"{where}: {key} = {value!r}: {low:g} to {high:g}")
    return value


def _common(
    where: str,
    row: Mapping[str, Any],
    symbols: Mapping[str, Mapping[str, Any]],
    policies: Mapping[str, str],
) -> dict[str, Any]:
    tag = str(row.get("tag", ""))
    symbol = symbols.get(tag.lower())
    if symbol is None:
        raise DeviceError(f"{where}.tag = {tag!r}: the program has no such variable")
    if (symbol["type"] != "BOOL" and symbol["type"] not in values.FORMATS) or symbol.get("dims"):
        raise DeviceError(
            f"{where}.tag = {tag!r}: of type {symbol['type']}, not one number or BOOL"
        )
    scale = _number(where, row, "scale", 1.0, -1e30, 1e30)
    if scale == 0:
        raise DeviceError(f"{where}: scale = 0: a scale of zero loses the value")
    return {
        "tag": tag,
        "output": _one_of(where, row, "direction", ("in", "out"), "in") == "out",
        "scale": float(scale),
        "offset": float(_number(where, row, "offset", 0.0, -1e30, 1e30)),
        **{key: _one_of(where, row, key, FAIL, value) for key, value in policies.items()},
        "substitute": float(_number(where, row, "substitute", 0.0, -1e30, 1e30)),
        "symbol": symbol,
        "deadband": float(_number(where, row, "deadband", 0.0, 0.0, 1e30)),
    }


def _register_point(
    where: str,
    row: Mapping[str, Any],
    symbols: Mapping[str, Mapping[str, Any]],
    policies: Mapping[str, str],
) -> Point:
    common = _common(where, row, symbols, policies)
    area, kind = row.get("area"), row.get("type", common["symbol"]["type"])
    if area not in AREAS:
        raise DeviceError(f"{where}.area = {area!r}: one of {', '.join(AREAS)}")
    if kind not in FORMATS or (kind == "BOOL") != (area in ("coil", "discrete")):
        raise DeviceError(f"{where}.type = {kind!r}: does not fit area {area}")
    if common["output"] and area in ("discrete", "input"):
        raise DeviceError(f"{where}.direction: {area} can only be read")
    address = row.get("address")
    if isinstance(address, bool) or not isinstance(address, int) or not 0 <= address < 65536:
        raise DeviceError(f"{where}.address = {address!r}: 0 to 65535")
    return Point(area=area, address=address, type=kind, **common)


def _node_point(
    where: str,
    row: Mapping[str, Any],
    symbols: Mapping[str, Mapping[str, Any]],
    policies: Mapping[str, str],
) -> Point:
    common = _common(where, row, symbols, policies)
    node, kind = row.get("node"), row.get("type", common["symbol"]["type"])
    if not isinstance(node, str) or "=" not in node:
        raise DeviceError(f"{where}.node = {node!r}: a node id, as ns=2;s=Main.level")
    if kind != "BOOL" and kind not in values.FORMATS:
        raise DeviceError(f"{where}.type = {kind!r}: not one number or BOOL")
    return Point(area="", address=0, type=kind, node=node, **common)
