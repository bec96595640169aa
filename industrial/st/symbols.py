"""What others may look at: every elementary variable with its path and place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import types as t
from .model import Var, align

#: Elements of one array of structures or blocks that are listed one by one.
MAX_ELEMENTS = 256
#: Symbols in all; a program with more is refused.
MAX_SYMBOLS = 100_000
_DIRECTIONS = {"VAR_INPUT": "in", "VAR_OUTPUT": "out", "VAR_IN_OUT": "inout"}


def short_name(kind: t.Type) -> str:
    """The type's name as protocols know it."""
    base = t.base_of(kind)
    if isinstance(base, t.StringType):
        return "WSTRING" if base.wide else "STRING"
    if isinstance(base, t.Elementary):
        return {
            "TIME_OF_DAY": "TOD",
            "DATE_AND_TIME": "DT",
            "LTIME_OF_DAY": "LTOD",
            "LDATE_AND_TIME": "LDT",
        }.get(base.name, base.name)
    return "UDINT"


def flatten(path: str, kind: t.Type, offset: int, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The elementary members behind a variable, depth first."""
    if isinstance(kind, t.StructType):
        for member in kind.fields.values():
            yield from flatten(
                f"{path}.{member.name}",
                member.type,
                offset + member.offset,
                {**row, "located": None},
            )
        return
    if isinstance(kind, t.BlockType):
        for var in kind.pou.instance_variables():
            if not var.by_reference:
                inner = {
                    **row,
                    "direction": _DIRECTIONS.get(var.kind, "var"),
                    "retain": row["retain"] or var.retain,
                    "constant": var.constant,
                    "comment": var.comment,
                    "hidden": row["hidden"]
                    or var.name.startswith("__")
                    or (kind.pou.library and var.kind == "VAR"),
                }
                yield from flatten(f"{path}.{var.name}", var.type, offset + var.offset, inner)
        return
    if isinstance(kind, t.ArrayType) and not (
        t.is_scalar(kind.element) or t.is_string(kind.element)
    ):
        stride = align(kind.element.size, kind.element.align)
        for number in range(min(kind.count, MAX_ELEMENTS)):
            yield from flatten(
                f"{path}[{_indices(kind, number)}]",
                kind.element,
                offset + number * stride,
                # cut: there are more elements than are listed
                {**row, "located": None, **({"cut": True} if kind.count > MAX_ELEMENTS else {})},
            )
        return
    element = kind.element if isinstance(kind, t.ArrayType) else kind
    # A reference is a place in this layout and in no other.
    pointing = isinstance(t.base_of(element), t.PointerType | t.InterfaceType)
    yield {
        **row,
        **({"reference": True} if pointing else {}),
        "path": path,
        "type": short_name(element),
        "offset": offset,
        "size": kind.size,
        "dims": [list(bounds) for bounds in kind.ranges] if isinstance(kind, t.ArrayType) else None,
        "string_len": element.length if isinstance(element, t.StringType) else None,
        "enum": {element.spelled[key]: value for key, value in element.values.items()}
        if isinstance(element, t.EnumType)
        else None,
    }


def instances(path: str, kind: t.Type) -> Iterator[dict[str, Any]]:
    """The function blocks behind a variable, with the names of their types, depth first."""
    if isinstance(kind, t.StructType):
        for member in kind.fields.values():
            yield from instances(f"{path}.{member.name}", member.type)
    elif isinstance(kind, t.BlockType):
        yield {"path": path, "type": kind.pou.name, "kind": "function_block"}
        for var in kind.pou.instance_variables():
            if not var.by_reference and not var.name.startswith("__"):
                yield from instances(f"{path}.{var.name}", var.type)
    elif isinstance(kind, t.ArrayType) and not (
        t.is_scalar(kind.element) or t.is_string(kind.element)
    ):
        for number in range(min(kind.count, MAX_ELEMENTS)):
            yield from instances(f"{path}[{_indices(kind, number)}]", kind.element)


def _indices(kind: t.ArrayType, number: int) -> str:
    parts: list[str] = []
    for low, high in reversed(kind.ranges):
        count = high - low + 1
        parts.append(str(low + number % count))
        number //= count
    return ",".join(reversed(parts))


def variable_symbols(path: str, var: Var, base: int) -> Iterator[dict[str, Any]]:
    """The symbols of one variable of a program or of the globals."""
    image = var.storage == "image"
    row: dict[str, Any] = {
        "path": path, "type": "", "area": var.area if image else "arena", "offset": 0, "bit": var.bit if image else None, "size": 0,
        "dims": None, "string_len": None, "direction": _DIRECTIONS.get(var.kind, "var"), "retain": var.retain, "constant": var.constant,
        "located": var.located or None, "comment": var.comment, "enum": None, "driven": image and var.written,
        # what charts and our own blocks keep for themselves: state, but nothing to look at
        "hidden": var.name.startswith("__"),
    }  # fmt: skip
    yield from flatten(path, var.type, var.offset if image else base + var.offset, row)
