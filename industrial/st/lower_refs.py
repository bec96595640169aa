"""`r : REF_TO INT := REF(x)`: where x lies is known once there is an instance, so its first execution takes it.

In a function or method, whose variables begin anew with each call, every execution does.
"""

from __future__ import annotations

from . import nodes as n
from .lower_sfc import Hidden

_FLAG = "__R_REFS"


def lower_refs(pou: n.Pou) -> None:
    """Make assignments of such initial values; of a VAR, that is: who calls gives an input its value."""
    taken: list[n.Stmt] = []
    for decl in pou.variables:
        init = decl.init
        if (
            decl.kind in ("VAR", "VAR_TEMP")
            and isinstance(init, n.Call)
            and isinstance(init.callee, n.Name)
            and init.callee.name.upper() == "REF"
        ):
            decl.init = None
            taken.append(n.Assign(decl.pos, Hidden(decl.pos, decl.name), init))
    if not taken:
        return
    if pou.kind in ("PROGRAM", "FUNCTION_BLOCK"):
        pos = pou.pos
        pou.variables.append(n.VarDecl(pos, _FLAG, n.NamedType(pos, "BOOL"), "VAR"))
        taken.append(n.Assign(pos, Hidden(pos, _FLAG), n.Literal(pos, "typed", "BOOL#TRUE")))
        taken = [n.If(pos, [(n.Unary(pos, "NOT", Hidden(pos, _FLAG)), taken)], [])]
    pou.body = [*taken, *pou.body]
