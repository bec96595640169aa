"""Inputs declared with R_EDGE or F_EDGE: the body sees the edge, found by a trigger of its own.

(IEC 61131-3:2013, 6.5.6.3: the same as an R_TRIG or F_TRIG in front of the input.)
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from . import nodes as n
from .errors import Sink
from .lower_sfc import Hidden

_TRIGGERS = {"R_EDGE": "R_TRIG", "F_EDGE": "F_TRIG"}


def lower_edges(pou: n.Pou, sink: Sink) -> None:
    """Give every such input its trigger, and let the body mean the trigger's output."""
    found = [decl for decl in pou.variables if decl.edge]
    if not found:
        return
    outer, sink.pou = sink.pou, pou.name
    edges: dict[str, str] = {}
    calls: list[n.Stmt] = []
    for decl in found:
        word, decl.edge = decl.edge, ""
        good = decl.kind == "VAR_INPUT" and pou.kind in ("FUNCTION_BLOCK", "PROGRAM")
        if not good or not (
            isinstance(decl.spec, n.NamedType) and decl.spec.name.upper() == "BOOL"
        ):
            sink.error(
                decl.pos,
                "type",
                f"{word} belongs to a BOOL in VAR_INPUT of a function block or program",
                length=len(decl.name),
            )
            continue
        trigger = f"__E_{decl.name.upper()}"
        edges[decl.name.upper()] = trigger
        kind = n.NamedType(decl.pos, _TRIGGERS[word])
        pou.variables.append(n.VarDecl(decl.pos, trigger, kind, "VAR"))
        argument = n.Arg(decl.pos, "CLK", Hidden(decl.pos, decl.name))
        calls.append(n.CallStmt(decl.pos, n.Call(decl.pos, Hidden(decl.pos, trigger), [argument])))
    for action in pou.actions:
        action.body = _replaced(action.body, edges)
    pou.body = [*calls, *_replaced(pou.body, edges)]
    sink.pou = outer


def _replaced(node: Any, edges: dict[str, str]) -> Any:
    """The tree with the inputs' names exchanged for their triggers' outputs."""
    if isinstance(node, list):
        return [_replaced(item, edges) for item in node]
    if isinstance(node, tuple):
        return tuple(_replaced(item, edges) for item in node)
    if isinstance(node, n.Name) and not isinstance(node, Hidden):
        trigger = edges.get(node.name.upper())
        return node if trigger is None else n.Member(node.pos, Hidden(node.pos, trigger), "Q")
    if isinstance(node, n.Node) and not isinstance(node, Hidden):
        for item in fields(node):
            setattr(node, item.name, _replaced(getattr(node, item.name), edges))
    return node
