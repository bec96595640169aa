"""`r : REF_TO INT := REF(x)`: where x lies is no number, but it is known when everything has its place.

Of an instance that is before the program runs: `emit_program` writes it into the initial values. What begins anew with
each execution (VAR_TEMP, and all of a function's and a method's) is assigned at the beginning of the body.
"""

from __future__ import annotations

from . import nodes as n
from .lower_sfc import Hidden


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
            made = n.Assign(decl.pos, Hidden(decl.pos, decl.name), init)
            lasting = decl.kind == "VAR" and pou.kind in ("PROGRAM", "FUNCTION_BLOCK")
            (pou.references if lasting else taken).append(made)
    pou.body = [*taken, *pou.body]
