"""The file of retained values, as others than the engine read it (twin of native/retain.c), and giving one back.

A controller whose disk died is built anew; the plant has a copy of the file, and delivers it before the program. It
is taken only where nothing of the controller's own can be meant: no program, no retained values.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .paths import Paths

#: Magic, kind of start, ranges, bytes of values, checksum, layout, code, scan, time of the save.
_HEAD = struct.Struct("<8s4I32s2Qq")
_MAGIC, _FNV_BASE, _FNV_PRIME = b"VPLCRET2", 2166136261, 16777619
_CHECKSUM_AT = 20
HEAD_BYTES = _HEAD.size
#: Larger files are not copied: as many ranges and values as the engine writes in practice, with room.
MOST_BYTES = 2 << 20
#: Names in a package of kind "retain".
VALUES, SYMBOLS = "retain.bin", "symbols.json"


class RetainedError(ValueError):
    """The file is none of retained values, or damaged; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class RetainedFile:
    """What a file says of itself."""

    #: As `industrial.runtime.shm.Start`: a warm one holds what is retained, a hot one everything.
    kind: int
    layout_hash: str
    scan: int
    #: By the controller's clock, nanoseconds since 1970.
    saved_ns: int
    #: SHA-256 of all but checksum, scan and time: alike where the values are.
    values_sha256: str
    size_bytes: int


def read_head(data: bytes) -> RetainedFile:
    """What the file says, its checksum not looked at.

    Raises:
        RetainedError: it is none, or not whole.
    """
    if len(data) > MOST_BYTES:
        raise RetainedError(f"{VALUES}: {len(data)} bytes: at most {MOST_BYTES}")
    if len(data) < HEAD_BYTES:
        raise RetainedError(f"{VALUES}: {len(data)} bytes: its head alone has {HEAD_BYTES}")
    magic, kind, ranges, size, _sum, layout, code, scan, saved_ns = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise RetainedError(f"{VALUES}: it begins with {magic!r}: expected {_MAGIC!r}")
    wanted = HEAD_BYTES + 8 * ranges + size
    if len(data) != wanted:
        raise RetainedError(f"{VALUES}: {len(data)} bytes: its head promises {wanted}")
    said = hashlib.sha256(struct.pack("<3I32sQ", kind, ranges, size, layout, code))
    said.update(data[HEAD_BYTES:])
    return RetainedFile(kind, layout.hex(), scan, saved_ns, said.hexdigest(), len(data))


def check_sum(data: bytes) -> None:
    """Compute the file's checksum anew, a tenth of a microsecond for each byte.

    Raises:
        RetainedError: it is another one.
    """
    (wanted,) = struct.unpack_from("<I", data, _CHECKSUM_AT)
    found = _FNV_BASE
    for byte in data[:_CHECKSUM_AT] + bytes(4) + data[_CHECKSUM_AT + 4 :]:
        found = ((found ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    if found != wanted:
        raise RetainedError(f"{VALUES}: damaged: checksum {found:08x}, its head says {wanted:08x}")


def read_retained(data: bytes) -> RetainedFile:
    """What a whole and undamaged file says.

    Raises:
        RetainedError: it is none, or damaged.
    """
    found = read_head(data)
    check_sum(data)
    return found


def check_package(files: Mapping[str, bytes]) -> RetainedFile:
    """A delivered package of kind "retain": the values, and the variables of their layout where they are told.

    Raises:
        RetainedError: which part breaks which rule.
    """
    if VALUES not in files:
        raise RetainedError(f"{VALUES} is missing")
    if strange := sorted(set(files) - {VALUES, SYMBOLS}):
        raise RetainedError(f"{strange[0]}: {VALUES} and {SYMBOLS} are all that belongs here")
    found = read_retained(files[VALUES])
    if SYMBOLS in files:
        try:
            layout = json.loads(files[SYMBOLS])["layout_hash"]
        except (ValueError, KeyError, TypeError):
            raise RetainedError(f"{SYMBOLS}: it does not say its layout") from None
        if layout != found.layout_hash:
            raise RetainedError(f"{SYMBOLS}: layout {layout}: {VALUES} has {found.layout_hash}")
    return found


def has_own(paths: Paths) -> bool:
    """Whether a controller has a program or retained values: a copy from elsewhere can only be older."""
    kept = (paths.retain, paths.retain.with_name(f"{paths.retain.name}.old"))
    return paths.active.is_symlink() or any(path.exists() for path in kept)


def is_given(paths: Paths, package: Path) -> bool:
    """Whether what lies there is this package's already, as after a crash before the answer."""
    try:
        return paths.retain.read_bytes() == (package / VALUES).read_bytes()
    except OSError:
        return False
