"""Changed values from the images to the address space and to who subscribed to them, without a copy on the way."""

from __future__ import annotations

import datetime as dt
import logging
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asyncua import Server, ua

from industrial.runtime.shm import Area, Snapshot
from industrial.runtime.sources import Fed, Worth
from industrial.runtime.variables import Place

log = logging.getLogger(__name__)

AREAS = {"I": Area.IN, "Q": Area.OUT, "M": Area.MEM, "arena": Area.ARENA}
_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_FORMATS = {
    "SINT": "<b", "USINT": "<B", "BYTE": "<B", "INT": "<h", "UINT": "<H", "WORD": "<H", "DINT": "<i",
    "UDINT": "<I", "DWORD": "<I", "TIME": "<I", "TOD": "<I", "DATE": "<I", "DT": "<I", "LINT": "<q",
    "LTIME": "<q", "LDATE": "<q", "LTOD": "<q", "LDT": "<q", "ULINT": "<Q", "LWORD": "<Q", "REAL": "<f", "LREAL": "<d",
}  # fmt: skip


#: What is not an image of a scan (the quality of inputs, the controller's health) is told so often, in seconds.
PERIOD_S = 0.1
#: How often new moments are looked for: so much later than the scan is its result told.
LOOK_S = 0.02


class Published(ua.DataValue):  # type: ignore[misc]  # asyncua is untyped
    """A value that nobody changes once it is made: a subscription keeps it, and not a deep copy of it."""

    __slots__ = ()

    def __deepcopy__(self, _memo: Any) -> Published:
        return self


@dataclass(slots=True)
class _Row:
    attribute: Any
    path: str
    area: Area
    start: int
    end: int
    bit: int | None
    kind: ua.VariantType
    read: Callable[[bytes], Any]
    last: object = None


class Publisher:
    """The nodes of one program."""

    def __init__(self, server: Server, nodes: Iterable[tuple[ua.NodeId, Place, ua.VariantType]]) -> None:  # fmt: skip
        self._good = ua.StatusCode(ua.StatusCodes.Good)
        # With a bad status the value would have to be dropped; what the program sees is told as uncertain.
        self._status = {
            Worth.GOOD: self._good,
            Worth.HELD: ua.StatusCode(ua.StatusCodes.UncertainLastUsableValue),
            Worth.SUBSTITUTED: ua.StatusCode(ua.StatusCodes.UncertainSubstituteValue),
            Worth.AWAITED: ua.StatusCode(ua.StatusCodes.UncertainInitialValue),
        }
        self._rows = [
            _Row(
                server.iserver.aspace[node].attributes[ua.AttributeIds.Value], place.path, AREAS[place.area],
                place.offset, place.offset + place.width * place.count, place.bit, kind, _reader(place),
            )
            for node, place, kind in nodes
        ]  # fmt: skip

    async def tell(
        self, images: Snapshot, fed: Callable[[str], Fed | None], scanned: dt.datetime | None = None
    ) -> None:
        """Publish what is another than the last time: with the time of the scan, or when the device answered that it came from."""
        now = dt.datetime.now(dt.UTC)
        areas = {area: images.area(area) for area in Area}
        for row in self._rows:
            raw = areas[row.area][row.start : row.end]
            source = fed(row.path)
            worth = None if source is None else source.worth
            # Bytes are compared, not values: most do not change, and need not be decoded.
            seen = (raw if row.bit is None else raw[0] >> row.bit & 1, worth)
            if seen == row.last:
                continue
            row.last = seen
            status, at = self._good, scanned or now
            if source is not None:
                status = self._status[source.worth]
                if source.age_s is not None:
                    at = now - dt.timedelta(seconds=source.age_s)
            value = Published(ua.Variant(row.read(raw), row.kind), status, at, now)
            attribute = row.attribute
            attribute.value = value
            if attribute.datachange_callbacks:
                for handle, callback in list(attribute.datachange_callbacks.items()):
                    try:
                        await callback(handle, value)
                    except Exception:
                        # One subscription that breaks leaves the others theirs.
                        log.exception("OPC UA: %s is not told to a subscription", row.path)


def _reader(place: Place) -> Callable[[bytes], Any]:
    """What makes a native value of a variable's bytes."""
    if place.bit is None and not place.dims and place.type in _FORMATS:
        unpack = struct.Struct(_FORMATS[place.type]).unpack
        return lambda raw: unpack(raw)[0]
    if place.bit is None and place.type in ("REAL", "LREAL"):
        return lambda raw: _native(place.decode(raw))
    return place.decode


def _native(value: Any) -> Any:
    """Numbers for which JSON has texts."""
    if isinstance(value, list):
        return [_native(one) for one in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
