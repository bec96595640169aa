"""Standard functions to calls of the support header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ir
from . import types as t

if TYPE_CHECKING:
    from .emit_expr import EmitExpr

_MATH = {
    "sqrt": "sqrt",
    "ln": "log",
    "log": "log10",
    "exp": "exp",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
}
_INTO_FRAME = frozenset(["concat", "insert", "delete", "replace"])
_IN_PLACE = frozenset(["left", "right", "mid"])
_DAY_MS, _DAY_NS, _DAY_S = "86400000u", "86400000000000LL", "86400u"

#: Bits of a scan's flags, as vplc_abi.h has them.
_FLAGS = {"first_scan": 0, "clock_trusted": 1, "machine_paused": 2, "inputs_live": 3}

#: Points in time: {0}, {1} are the arguments.
_TIME: dict[str, str] = {
    "add_dt": "(uint32_t)({0} + {1} / 1000u)", "sub_dt": "(uint32_t)({0} - {1} / 1000u)",
    "add_date": "(uint32_t)({0} + {1} / 1000u)", "sub_date": "(uint32_t)({0} - {1} / 1000u)",
    "add_tod": f"(uint32_t)(((uint64_t){{0}} + {{1}}) % {_DAY_MS})", "sub_tod": f"(uint32_t)(((uint64_t){{0}} + {_DAY_MS} - {{1}} % {_DAY_MS}) % {_DAY_MS})",
    "diff_dt": "(uint32_t)(({0} - {1}) * 1000u)", "diff_date": "(uint32_t)(({0} - {1}) * 1000u)", "diff_tod": "(uint32_t)({0} - {1})",
    "add_ldt": "({0} + {1})", "sub_ldt": "({0} - {1})", "add_ldate": "({0} + {1})", "sub_ldate": "({0} - {1})",
    "add_ltod": f"((({{0}} + {{1}}) % {_DAY_NS} + {_DAY_NS}) % {_DAY_NS})", "sub_ltod": f"((({{0}} - {{1}}) % {_DAY_NS} + {_DAY_NS}) % {_DAY_NS})",
    "diff_ldt": "({0} - {1})", "diff_ldate": "({0} - {1})", "diff_ltod": "({0} - {1})",
    "concat_date_tod": "(uint32_t)({0} + {1} / 1000u)",
    "dt_to_date": f"(uint32_t)({{0}} - {{0}} % {_DAY_S})", "dt_to_tod": f"(uint32_t)({{0}} % {_DAY_S} * 1000u)", "date_to_dt": "{0}",
    "ldt_to_ldate": f"(vp_floor_div({{0}}, {_DAY_NS}) * {_DAY_NS})", "ldt_to_ltod": f"({{0}} - vp_floor_div({{0}}, {_DAY_NS}) * {_DAY_NS})", "ldate_to_ldt": "{0}",
    "time_to_ltime": "((int64_t){0} * 1000000)", "tod_to_ltod": "((int64_t){0} * 1000000)", "ltime_to_time": "(uint32_t)({0} / 1000000)", "ltod_to_tod": "(uint32_t)({0} / 1000000)",
    "date_to_ldate": "((int64_t){0} * 1000000000)", "dt_to_ldt": "((int64_t){0} * 1000000000)", "ldate_to_date": "(uint32_t)({0} / 1000000000)", "ldt_to_dt": "(uint32_t)({0} / 1000000000)",
    "dt_to_ldate": f"((int64_t)({{0}} - {{0}} % {_DAY_S}) * 1000000000)", "dt_to_ltod": f"((int64_t)({{0}} % {_DAY_S}) * 1000000000)", "date_to_ldt": "((int64_t){0} * 1000000000)",
    "ldt_to_date": f"(uint32_t)(vp_floor_div({{0}}, {_DAY_NS}) * 86400)", "ldt_to_tod": f"(uint32_t)(({{0}} - vp_floor_div({{0}}, {_DAY_NS}) * {_DAY_NS}) / 1000000)", "ldate_to_dt": "(uint32_t)({0} / 1000000000)",
}  # fmt: skip


def builtin(emit: EmitExpr, e: ir.Builtin) -> str:
    """The C expression of a standard function."""
    if e.name == "default":
        return default(emit, e.type)
    args = emit.ordered(e.args)
    if isinstance(e.type, t.StringType) or (e.args and isinstance(e.args[0].type, t.StringType)):
        return _text(emit, e, args)
    kind = t.scalar(e.type)
    if e.name in _MATH:
        value = f"{_MATH[e.name]}({args[0]})"
        return f"(float){value}" if kind.bits == 32 else value
    if e.name in ("pow", "atan2"):
        value = f"{e.name}({args[0]}, {args[1]})"
        return f"(float){value}" if kind.bits == 32 else value
    if e.name == "abs":
        return (
            f"({kind.ctype})fabs({args[0]})"
            if kind.family == "real"
            else f"vp_abs_{kind.suffix}({args[0]})"
        )
    if e.name in ("shl", "shr", "rol", "ror"):
        return f"vp_{e.name}_{kind.suffix}({args[0]}, {args[1]})"
    if e.name == "mux_index":
        return f"vp_mux{'_last' if emit.project.codesys else ''}(c, {args[0]}, {args[1]})"
    if e.name == "time":
        return "(uint32_t)(c->now_ns / 1000000u)"
    if e.name == "ltime":
        return "(int64_t)c->now_ns"
    if e.name == "wall":
        return "c->wall_ns"
    if e.name in _FLAGS:
        return f"(uint8_t)(c->flags >> {_FLAGS[e.name]}u & 1u)"
    if e.name in ("input_good", "input_age"):
        return f"vp_{e.name}(c, {args[0]}, {args[1]})"
    if e.name == "is_bcd":
        return f"vp_is_bcd({args[0]})"
    if e.name == "swap":
        return f"vp_swap({args[0]}, {args[1]})"
    if e.name == "from_bcd":
        return f"vp_from_bcd(c, {args[0]})"
    if e.name == "to_bcd":
        return f"vp_to_bcd(c, {args[0]}, {args[1]})"
    if e.name in ("mul_time_real", "div_time_real"):
        if e.name.startswith("div"):
            value = f"vp_div_f64(c, (double){args[0]}, {args[1]})"
        else:
            value = f"(double){args[0]} * {args[1]}"
        return f"({kind.ctype})vp_whole(c, rint({value}))"
    if e.name.startswith("cast_"):
        return f"{e.name}(c, {args[0]})"
    template = _TIME[e.name]
    if template.count("{0}") > 1:
        args = [emit.save(argument.type, text) for argument, text in zip(e.args, args, strict=True)]
    return template.format(*args)


def default(emit: EmitExpr, kind: t.Type) -> str:
    """The initial value of a type, for an argument that was left out."""
    from .model import encode

    if isinstance(kind, t.StringType):
        return f"vp_{'w' if kind.wide else 's'}_make(0, 0u)"
    data = encode(kind, None)
    number = emit.blobs.setdefault(data, len(emit.blobs))
    return f"((uint8_t *)b{number})"


def _text(emit: EmitExpr, e: ir.Builtin, args: list[str]) -> str:
    """Functions on texts; what makes a new one puts it into the frame."""
    source = e.args[0].type if e.args else e.type
    wide = (isinstance(source, t.StringType) and source.wide) or (
        isinstance(e.type, t.StringType) and e.type.wide and not isinstance(source, t.StringType)
    )
    letter = "w" if wide else "s"
    if e.name == "len":
        return f"(int16_t)({args[0]}).n"
    if e.name == "find":
        return f"vp_{letter}_find({args[0]}, {args[1]})"
    if e.name == "string_to_char":
        return f"vp_{letter}_first({args[0]})"
    if not isinstance(e.type, t.StringType):
        return f"vp_{e.name}({args[0]})"
    if e.name in _IN_PLACE:
        return emit.save(e.type, f"vp_{letter}_{e.name}({', '.join(args)})")
    slot = f"(F + {emit.slot(max(e.type.size, 48) + 2)}u)"
    if e.name in _INTO_FRAME:
        text = f"vp_{letter}_{e.name}({', '.join([slot, f'{e.type.length}u', *args])})"
    elif e.name in ("w_to_s", "s_to_w"):
        text = f"vp_{e.name}({slot}, {e.type.length}u, {args[0]})"
    elif e.name == "char_to_string":
        text = f"vp_{letter}_char({slot}, {args[0]})"
    else:
        text = f"vp_{e.name}({slot}, {args[0]})"
    return emit.save(e.type, text)
