"""What becomes of the variables when another program takes over: by name and type, and a plan of bytes for the engine.

The same plan serves an online change and retained values of an older layout. It lies beside the program as
`carry.bin` (twin of native/change.c), and as `carry.json` for people.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_AREAS = {"I": 0, "Q": 1, "M": 2}
_ARENA, _INITIAL = 0, 1
#: Reasons that are spelled out; a program that is quite another one has thousands.
MOST_REASONS = 20

Row = Mapping[str, Any]


@dataclass(slots=True)
class Carry:
    """A plan. `reasons` says why a running program cannot be changed to the new one; without any it can.

    `lost` are variables that retained values cannot be brought over to, with the reason.
    """

    data: bytes
    reasons: list[str] = field(default_factory=list)
    kept: int = 0
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def online(self) -> bool:
        """Whether the engine can change between two scans."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """For `carry.json` and for reports."""
        return {
            "format": 1,
            "online": self.online,
            "reasons": self.reasons[:MOST_REASONS],
            "kept": self.kept,
            "added": self.added,
            "removed": self.removed,
            "lost": self.lost,
        }


def spelled(row: Row) -> str:
    """A variable's type for people."""
    kind = "a reference" if row.get("reference") else str(row["type"])
    if row.get("string_len"):
        kind += f"[{row['string_len']}]"
    if row.get("dims"):
        bounds = ", ".join(f"{low}..{high}" for low, high in row["dims"])
        kind = f"ARRAY[{bounds}] OF {kind}"
    return kind


def _difference(old: Row, new: Row) -> str:
    """Why the value of one cannot become that of the other; empty when it can."""
    if spelled(old) != spelled(new) or old["size"] != new["size"]:
        return f"{new['path']} was {spelled(old)}, is {spelled(new)}"
    before, after = old.get("enum") or {}, new.get("enum") or {}
    lower = {name.upper(): number for name, number in after.items()}
    for name, number in before.items():
        if lower.get(name.upper(), number) != number:
            return f"{new['path']}: {name} was {number}, is {lower[name.upper()]}"
    if bool(before) != bool(after):
        return (
            f"{new['path']} {'is no enumeration any more' if before else 'is an enumeration now'}"
        )
    if _place(old) != _place(new):
        return f"{new['path']} was at {_place(old)}, is at {_place(new)}"
    return ""


def _place(row: Row) -> str:
    """Where the process sees it: an address of the image, or memory of the program."""
    if row["area"] == "arena":
        return "no address"
    return str(row.get("located") or f"{row['area']}{row['offset']}.{row.get('bit')}")


def _tasks(symbols: Mapping[str, Any]) -> list[Any]:
    return list(symbols.get("tasks", []))


def plan(old: Mapping[str, Any], new: Mapping[str, Any], *, same_code: bool = False) -> Carry:
    """The plan from one program's symbols.json to another's.

    Args:
        same_code: both are the same source, compiled by other compilers: everything is carried as it is.
    """
    before = {str(row["path"]).upper(): row for row in old.get("symbols", [])}
    after = {str(row["path"]).upper(): row for row in new.get("symbols", [])}
    found = Carry(b"")
    entries: list[tuple[int, int, int, int]] = []
    moved = old.get("layout_hash") != new.get("layout_hash")
    for key, row in after.items():
        was = before.get(key)
        if was is None:
            found.added.append(str(row["path"]))
            continue
        if row.get("constant") or was.get("constant"):
            continue  # the new program's own value
        if why := _difference(was, row):
            found.reasons.append(why)
            found.lost.append(why)
            continue
        if row.get("reference") and moved:
            found.reasons.append(f"{row['path']} is a reference: what it points to has moved")
            found.lost.append(found.reasons[-1])
            continue
        found.kept += 1
        if row["area"] == "arena":
            entries.append((_ARENA, int(was["offset"]), int(row["offset"]), int(row["size"])))
    found.removed = [str(row["path"]) for key, row in before.items() if key not in after]
    for row in [*old.get("symbols", []), *new.get("symbols", [])]:
        if row.get("cut"):
            found.reasons.append(f"{row['path']} is of an array with more blocks than are carried")
            break
    entries = _merged(entries)
    entries += _initial(before.values(), [after[name.upper()] for name in found.added])
    if _tasks(old) != _tasks(new):
        found.reasons.append("the tasks differ")
    hashes = [str(side.get("layout_hash", "")) for side in (old, new)]
    if not all(len(text) == 64 for text in hashes):
        found.reasons.append("a program does not say its layout")
        return found
    if same_code and not moved:
        found.reasons.clear()
        found.lost.clear()
    head = b"VPLCCAR1" + b"".join(bytes.fromhex(text) for text in hashes)
    head += struct.pack("<II", same_code and not moved, len(entries))
    found.data = head + b"".join(struct.pack("<4I", *entry) for entry in entries)
    return found


def _merged(entries: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Neighbours in both layouts are one entry."""
    found: list[tuple[int, int, int, int]] = []
    for kind, origin, target, size in sorted(set(entries)):
        if found:
            _, o, t, s = found[-1]
            if o + s == origin and t + s == target:
                found[-1] = kind, o, t, s + size
                continue
        found.append((kind, origin, target, size))
    return found


def _initial(before: Iterable[Row], added: Iterable[Row]) -> list[tuple[int, int, int, int]]:
    """New variables of the image take their initial values, where nothing of the old program lies."""
    taken = {
        (row["area"], at)
        for row in before
        if row["area"] in ("Q", "M")
        for at in range(row["offset"], row["offset"] + max(row["size"], 1))
    }
    return [
        (_INITIAL, _AREAS[row["area"]], int(row["offset"]), max(int(row["size"]), 1))
        for row in added
        if row["area"] in ("Q", "M")
        and not any(
            (row["area"], at) in taken
            for at in range(row["offset"], row["offset"] + max(row["size"], 1))
        )
    ]
