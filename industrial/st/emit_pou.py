"""One POU to C functions: its frame, its locals, its body, its actions; and the dispatchers of methods."""

from __future__ import annotations

from . import types as t
from .emit_base import c_int, c_real
from .emit_expr import overridden
from .emit_stmt import EmitStmt
from .errors import FILE_SHIFT
from .model import Pou, Var, align, encode
from .open_arrays import BOUND


def parameters(pou: Pou) -> list[Var]:
    """Inputs and in-outs in the order of the call, and the bounds that go with an ARRAY[*]."""
    return [var for var in pou.variables.values() if var.kind in ("VAR_INPUT", "VAR_IN_OUT", BOUND)]


def is_call(pou: Pou) -> bool:
    """Called with arguments, as against run on an instance."""
    return pou.kind in ("FUNCTION", "METHOD", "PROPERTY_GET", "PROPERTY_SET")


def layout_frame(pou: Pou) -> None:
    """Give every local its place. What callers touch comes first, in an order that overrides share."""
    offset = 0
    shared = bool(pou.node.actions)
    everything = [*([pou.result] if pou.result else []), *pou.variables.values()]
    autos = [var for var in everything if var.storage == "auto" and not var.by_reference]

    def place(var: Var) -> None:
        nonlocal offset
        offset = align(offset, 8 if isinstance(var.type, t.BlockType) else var.type.align)
        var.storage, var.offset = "frame", offset
        offset += var.type.size

    def large(var: Var) -> bool:
        return not t.is_scalar(var.type)

    contract = [
        var
        for var in autos
        if is_call(pou)
        and (var.kind == "VAR_OUTPUT" or (var.kind in ("RESULT", "VAR_INPUT") and large(var)))
    ]
    for var in contract:
        place(var)
    for var in autos:
        if var.storage == "auto" and (large(var) or var.addressed or shared):
            place(var)
    pou.frame_size = offset


class PouEmitter(EmitStmt):
    """Emits one POU."""

    def head(self) -> str:
        """The C signature."""
        pou = self.pou
        result = (
            t.scalar(pou.returns).ctype
            if t.is_scalar(pou.returns) and pou.returns is not t.VOID
            else "void"
        )
        arguments = ["vplc_ctx *c", "uint32_t sp"]
        if not is_call(pou) or pou.owner is not None:
            arguments.append("uint32_t self")
        if is_call(pou):
            for var in parameters(pou):
                if var.by_reference:
                    arguments.append(f"uint32_t r{var.number}")
                elif t.is_scalar(var.type):
                    arguments.append(
                        f"{t.scalar(var.type).ctype} {'a' if var.storage == 'frame' else 'v'}{var.number}"
                    )
        return f"static {result} p{pou.number}({', '.join(arguments)})"

    def _initialise(self, var: Var) -> None:
        if var.constant and var.value is not None and not var.addressed:
            return
        if var.storage == "auto":
            kind = t.scalar(var.type)
            value = (
                var.init
                if isinstance(var.init, int | float)
                else int.from_bytes(encode(var.type, None), "little")
                if kind.family != "real"
                else 0.0
            )
            text = c_real(kind, float(value)) if kind.family == "real" else c_int(kind, int(value))
            self.out.append(f"{kind.ctype} v{var.number} = {text};")
            return
        data = encode(var.type, var.init)
        if not any(data):
            self.out.append(f"memset(F + {var.offset}u, 0, {len(data)}u);")
        else:
            number = self.blobs.setdefault(data, len(self.blobs))
            self.out.append(f"memcpy(F + {var.offset}u, b{number}, {len(data)}u);")

    def _prologue(self, *, many_files: bool, guarded: bool) -> None:
        self.loops = []
        self.out.append("uint8_t *const A = c->arena;")
        self.out.append("uint8_t *const F = A + sp;")
        if not is_call(self.pou) or self.pou.owner is not None:
            self.out.append("uint8_t *const S = A + self;")
        if guarded:
            self.out.append(f"vp_frame(c, sp, {self.frame_name});")
        if many_files:
            self.out.append(
                f"uint32_t file = c->file; c->file = {self.pou.node.pos >> FILE_SHIFT}u;"
            )

    def emit(self, *, many_files: bool, guarded: bool) -> list[str]:
        """The functions of this POU."""
        pou = self.pou
        self.frame = pou.frame_size
        self._prologue(many_files=many_files, guarded=guarded)
        for var in [*([pou.result] if pou.result else []), *pou.variables.values()]:
            if var.by_reference or var.storage not in ("auto", "frame"):
                continue
            if is_call(pou) and var.kind in ("VAR_INPUT", BOUND):
                if t.is_scalar(var.type) and var.storage == "frame":
                    self.out.append(
                        f"*({self.mtype(var.type)} *)(F + {var.offset}u) = a{var.number};"
                    )
                continue
            self._initialise(var)
        if pou.kind == "FUNCTION_BLOCK" and not pou.body.statements and pou.base is not None:
            self.out.append(f"p{pou.base.number}(c, sp + {self.frame_name}, self);")
        self.block(pou.body.statements)
        self._epilogue(many_files=many_files, guarded=guarded)
        if pou.returns is not t.VOID and t.is_scalar(pou.returns) and pou.result is not None:
            found = self.variable(pou.result)
            self.out.append(
                f"return {found};"
                if isinstance(found, str)
                else f"return {self.load_at(found, pou.returns)};"
            )
        lines = [self.head() + " {", *self.out, "}"]
        for position, name in enumerate(a.name.upper() for a in pou.node.actions):
            self.out = []
            self._prologue(many_files=many_files, guarded=guarded)
            self.block(pou.body.actions.get(name, []))
            self._epilogue(many_files=many_files, guarded=guarded)
            lines += [
                f"static void a{pou.number}_{position}(vplc_ctx *c, uint32_t sp, uint32_t self) {{",
                *self.out,
                "}",
            ]
        pou.frame_size = align(self.frame, 8)
        return lines

    def _epilogue(self, *, many_files: bool, guarded: bool) -> None:
        if any("goto done;" in line for line in self.out):
            self.out.append("done:;")
        if many_files:
            self.out.append("c->file = file;")
        if guarded:
            self.out.append("c->depth--;")


def concrete(pou: Pou) -> list[Pou]:
    """Every block that can stand where this block or interface is asked for."""
    found: dict[Pou, None] = {}

    def collect(one: Pou) -> None:
        if one.kind == "FUNCTION_BLOCK" and not one.node.abstract:
            found[one] = None
        for child in one.derived:
            collect(child)

    collect(pou)
    return list(found)


def method_key(method: Pou) -> str:
    """The name under which a block keeps a method."""
    return method.name.upper() + {"PROPERTY_GET": ".GET", "PROPERTY_SET": ".SET"}.get(
        method.kind, ""
    )


def implementations(method: Pou) -> list[Pou]:
    """The bodies that a call of this method may reach."""
    if method.owner is None:
        return [method]
    found = [block.method(method_key(method)) for block in concrete(method.owner)]
    return list({pou: None for pou in found if pou is not None and not pou.node.abstract})


def needs_dispatch(method: Pou) -> bool:
    """Whether a call must look at the instance's tag."""
    return method.owner is not None and (
        method.owner.kind == "INTERFACE" or method.node.abstract or overridden(method)
    )


def dispatcher(method: Pou, head: str) -> list[str]:
    """A function that looks at the instance's tag and calls what belongs to it."""
    arguments = [
        part.split()[-1].lstrip("*") for part in head[head.index("(") + 1 : -1].split(", ")
    ]
    lines = [
        head.replace(f" p{method.number}(", f" d{method.number}(") + " {",
        "switch (*(vp_u32 *)(c->arena + self)) {",
    ]
    returns = method.returns is not t.VOID and t.is_scalar(method.returns)
    assert method.owner is not None  # noqa: S101 - only methods come here
    for block in concrete(method.owner):
        chosen = block.method(method_key(method))
        if chosen is None or chosen.node.abstract or chosen.broken or block.type is None:
            continue
        call = f"p{chosen.number}({', '.join('vp_instance(c, self, ' + str(block.type.size) + 'u)' if a == 'self' else a for a in arguments)});"
        lines.append(f"case {block.number}u: {'return ' + call if returns else call + ' return;'}")
    lines += ["default: vp_fault(c, VPLC_FAULT_REFERENCE);", "}"]
    if returns:
        lines.append("return 0;")
    lines.append("}")
    return lines
