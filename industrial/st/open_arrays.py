"""ARRAY[*]: a VAR_IN_OUT behind which stands an array of any size (IEC 61131-3 ed. 3, 6.4.4.6.2 and table 15).

Beside the reference, whoever calls hands over the bounds of each dimension, in variables that no source can
name. Indices are checked against them, LOWER_BOUND and UPPER_BOUND read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ir
from . import nodes as n
from . import types as t
from .model import Pou, Var

if TYPE_CHECKING:
    from .resolve_types import TypeResolver

#: The kind of the hidden variables: handed over in a call, and no parameter by name.
BOUND = "BOUND"


def is_open(decl: n.VarDecl, pou: Pou) -> bool:
    """Whether this is an ARRAY[*] where one may stand."""
    return (
        isinstance(decl.spec, n.ArraySpec)
        and decl.spec.open > 0
        and decl.kind == "VAR_IN_OUT"
        and pou.kind in ("FUNCTION", "METHOD", "FUNCTION_BLOCK")
    )


def add_bounds(var: Var, decl: n.VarDecl, pou: Pou) -> None:
    """The hidden variables of an ARRAY[*], right behind it; its elements are settled in their turn."""
    assert isinstance(decl.spec, n.ArraySpec)  # noqa: S101 - `is_open` has looked
    bounds: list[tuple[Var, Var]] = []
    for dimension in range(1, decl.spec.open + 1):
        pair = []
        for end in ("lower", "upper"):
            name = f"__{decl.name}.{end}.{dimension}"
            bound = Var(name, t.DINT, BOUND, decl.pos, number=len(pou.variables) + 1)
            bound.storage = "self" if pou.kind == "FUNCTION_BLOCK" else "auto"
            pou.variables[name.upper()] = bound
            pair.append(bound)
        bounds.append((pair[0], pair[1]))
    var.type = t.OpenArrayType("ARRAY[*]", 4, 4, t.ERROR, bounds)


def settle_open(resolver: TypeResolver, var: Var, decl: n.VarDecl, pou: Pou) -> None:
    """Resolve what its elements are."""
    kind = var.type
    assert isinstance(kind, t.OpenArrayType)  # noqa: S101 - callers have looked
    assert isinstance(decl.spec, n.ArraySpec)  # noqa: S101 - as above
    var.comment = decl.comment
    kind.element = resolver.spec(decl.spec.element, pou)
    if kind.element is t.ERROR:
        var.type = t.ERROR
        return
    resolver.complete(kind.element)
    stars = ", ".join("*" for _ in kind.bounds)
    kind.name = f"ARRAY[{stars}] OF {kind.element.name}"


def bounds_of(kind: t.Type) -> list[tuple[ir.Expr, ir.Expr]]:
    """Lower and upper bound of each dimension of what a place holds."""
    if isinstance(kind, t.OpenArrayType):
        return [(_load(low), _load(high)) for low, high in kind.bounds]
    if isinstance(kind, t.ArrayType):
        return [(ir.Const(t.DINT, low), ir.Const(t.DINT, high)) for low, high in kind.ranges]
    return []


def _load(var: Var) -> ir.Expr:
    return ir.Load(t.DINT, ir.VarPlace(t.DINT, var))


def takes(formal: t.Type, actual: t.Type) -> bool:
    """Whether an array may stand behind this ARRAY[*]."""
    return (
        isinstance(formal, t.OpenArrayType)
        and isinstance(actual, t.ArrayType | t.OpenArrayType)
        and len(formal.bounds) == len(bounds_of(actual))
        and t.same(formal.element, actual.element)
    )


def handed_over(var: Var, behind: ir.Place) -> list[tuple[Var, ir.Expr]]:
    """The hidden arguments that go with an array behind an ARRAY[*]; nothing for any other."""
    if not isinstance(var.type, t.OpenArrayType):
        return []
    rows: list[tuple[Var, ir.Expr]] = []
    for (low, high), (first, last) in zip(var.type.bounds, bounds_of(behind.type), strict=True):
        rows += [(low, first), (high, last)]
    return rows
