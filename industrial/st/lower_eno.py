"""EN and ENO inside of a function or function block: declared in words, or used without.

(IEC 61131-3:2013, 6.6.1.6: where EN is FALSE nothing is executed and ENO is FALSE; else ENO is TRUE when the body begins,
and the body may make it FALSE.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from . import nodes as n
from .lower_sfc import Hidden

_WORD = re.compile(r"\bENO?\b", re.IGNORECASE)


def has_eno(text: str) -> bool:
    """Whether a source has either word: most have none, and are not looked through."""
    return _WORD.search(text) is not None


def taken(units: list[n.Unit]) -> frozenset[str]:
    """Which of EN and ENO a project uses for something else, as a global or a named value: no body gets it unasked."""
    found = {decl.name.upper() for unit in units for decl in unit.variables}
    found |= {pou.name.upper() for unit in units for pou in unit.pous}
    for spec in _enumerations([(unit.types, unit.variables, unit.pous) for unit in units]):
        found |= {name.upper() for _, name, _ in spec.values}
    return frozenset(found & {"EN", "ENO"})


def lower_eno(pou: n.Pou, others: frozenset[str], above: n.Pou | None) -> None:
    """Declare what the body uses, and let ENO be TRUE when it begins. The calls' side is `check_call.bind`.

    After an SFC was made a body. `others`: what `taken` found. `above`: what the block extends, looked at before it.
    """
    if pou.kind not in ("FUNCTION", "FUNCTION_BLOCK", "METHOD"):
        return
    declared = {decl.name.upper(): decl for decl in (above.variables if above else ())}
    declared |= {decl.name.upper(): decl for decl in pou.variables}
    if pou.kind != "METHOD":
        used = {name for name in _names([pou.body, pou.actions]) if name in ("EN", "ENO")}
        for name in sorted(used - declared.keys() - others):
            kind = "VAR_INPUT" if name == "EN" else "VAR_OUTPUT"
            decl = n.VarDecl(pou.pos, name, n.NamedType(pou.pos, "BOOL"), kind)
            declared[name] = decl
            pou.variables.append(decl)
    enable, eno = declared.get("EN"), declared.get("ENO")
    if enable is not None and enable.kind == "VAR_INPUT" and _is_bool(enable):
        enable.init = _true(enable.pos)
    if eno is not None and eno.kind == "VAR_OUTPUT" and _is_bool(eno):
        start = n.Assign(pou.pos, Hidden(pou.pos, eno.name), _true(pou.pos))
        pou.body = [start, *pou.body]


def _true(pos: int) -> n.Expr:
    return n.Literal(pos, "typed", "BOOL#TRUE")


def _is_bool(decl: n.VarDecl) -> bool:
    return isinstance(decl.spec, n.NamedType) and decl.spec.name.upper() == "BOOL"


def _enumerations(node: Any) -> Iterator[n.EnumSpec]:
    """Every enumeration below."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _enumerations(item)
    elif isinstance(node, n.EnumSpec):
        yield node
    elif isinstance(node, n.Node) and not isinstance(node, n.Stmt | n.Expr):
        for entry in fields(node):
            yield from _enumerations(getattr(node, entry.name))


def _names(node: Any) -> Iterator[str]:
    """Every bare name below, in upper case."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _names(item)
    elif isinstance(node, n.Name):
        yield node.name.upper()
    elif isinstance(node, n.Node):
        for entry in fields(node):
            yield from _names(getattr(node, entry.name))
