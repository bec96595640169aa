"""The standard functions: what they accept, what they give. Emission knows them by the stem of their helper."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from . import fold, ir
from . import nodes as n
from . import types as t
from .convert import common, const, is_whole, narrowed, plain, settle, zero

if TYPE_CHECKING:
    from .check_call import CallChecker

Handler = Callable[["CallChecker", "list[ir.Expr]", "n.Call", str], ir.Expr]
_CONVERSION = re.compile(r"^(?:(\w+?)_)?(TRUNC|TO)_(\w+)$")
_BCD = re.compile(
    r"^(?:(BYTE|WORD|DWORD|LWORD)_)?BCD_TO_(USINT|UINT|UDINT|ULINT)$|^(?:(USINT|UINT|UDINT|ULINT)_)?TO_BCD_(BYTE|WORD|DWORD|LWORD)$"
)


def _numeric(c: CallChecker, e: ir.Expr, pos: int, what: str) -> bool:
    if t.is_number(e.type) or (c.codesys and t.is_bits(e.type)):
        return True
    c.error(pos, "type", f"{what} needs a number, this is {e.type.name}")
    return False


def _real_function(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    e = args[0]
    if not _numeric(c, e, call.pos, name):
        return zero(t.ERROR)
    kind = e.type if e.type in (t.REAL, t.LREAL) else t.REAL if c.codesys else t.LREAL
    return ir.Builtin(kind, name.lower(), [c.meet(e, kind, call.pos)])


def _atan2(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    kind = common(args[0], args[1], codesys=c.codesys)
    if kind is None or not t.is_number(kind):
        c.error(call.pos, "type", "ATAN2 needs two real numbers")
        return zero(t.ERROR)
    kind = kind if kind in (t.REAL, t.LREAL) else t.LREAL
    return ir.Builtin(kind, "atan2", [c.meet(a, kind, call.pos) for a in args])


def _abs(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    e = settle(args[0], codesys=c.codesys)
    if not _numeric(c, e, call.pos, name):
        return zero(t.ERROR)
    return ir.Builtin(t.base_of(e.type), "abs", [e])


def _expt(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    return c.operate("**", args[0], args[1], call.pos)


def _operator(op: str) -> Handler:
    def handle(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        result = args[0]
        for other in args[1:]:
            result = c.operate(op, result, other, call.pos)
        return result

    return handle


def _comparison(op: str) -> Handler:
    def handle(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        result: ir.Expr | None = None
        for left, right in pairwise(args):
            one = c.operate(op, left, right, call.pos)
            result = one if result is None else c.operate("AND", result, one, call.pos)
        return result or zero(t.ERROR)

    return handle


def _not(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    e = settle(args[0], codesys=c.codesys)
    if e.type is t.BOOL or t.is_bits(e.type) or (c.codesys and t.is_int(e.type)):
        return fold.unary(ir.Unary(e.type, "not", e))
    c.error(call.pos, "type", f"NOT needs BOOL or a bit string, this is {e.type.name}")
    return zero(t.ERROR)


def _move(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    return args[0]


def _shift(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    value, count = settle(args[0], codesys=c.codesys), settle(args[1], codesys=c.codesys)
    if value.type is t.LIT_INT or not (
        t.is_bits(value.type)
        or (t.is_int(value.type) and (c.codesys or isinstance(value, ir.Const)))
    ):
        c.error(
            call.pos,
            "type",
            f"{name} needs a bit string, this is {value.type.name}",
            hint="" if not t.is_int(value.type) else f"convert: {value.type.name}_TO_WORD(…)",
        )
        return zero(t.ERROR)
    if not (t.is_int(count.type) or t.is_bits(count.type)):
        c.error(
            call.pos,
            "type",
            f"{name}: the number of places is a whole number, this is {count.type.name}",
        )
        return zero(t.ERROR)
    return ir.Builtin(t.base_of(value.type), name.lower(), [value, c.meet(count, t.LINT, call.pos)])


def _meeting(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> t.Type | None:
    """The one type of several arguments."""
    kind: t.Type | None = args[0].type
    probe = args[0]
    for other in args[1:]:
        kind = (
            common(probe, other, codesys=c.codesys)
            if not t.same(probe.type, other.type)
            else probe.type
        )
        if kind is None:
            c.error(
                call.pos,
                "type",
                f"{name}: {probe.type.name} and {other.type.name} do not fit together",
            )
            return None
        probe = (
            ir.Load(kind, ir.Place(kind))
            if kind not in (t.LIT_INT, t.LIT_REAL)
            else other
            if other.type is kind
            else probe
        )
    if kind in (t.LIT_INT, t.LIT_REAL):
        if c.wanted is not None and _holds(c.wanted, args):
            return c.wanted
        settled = [settle(a, codesys=c.codesys) for a in args]
        kind = settled[0].type
        for e in settled[1:]:
            kind = common(ir.Load(kind, ir.Place(kind)), e, codesys=c.codesys) or kind
    return kind


def _holds(kind: t.Type, args: list[ir.Expr]) -> bool:
    """Whether a type holds all of these bare numbers."""
    base = t.base_of(kind)
    if t.is_real(base):
        return True
    return (t.is_int(base) or t.is_bits(base)) and all(
        isinstance(a, ir.Const)
        and isinstance(a.value, int)
        and t.scalar(base).low <= a.value <= t.scalar(base).high
        for a in args
    )


def _into(c: CallChecker, e: ir.Expr, kind: t.Type, pos: int) -> ir.Expr:
    if t.is_string(kind) or not t.is_scalar(kind):
        return c.coerce(e, kind, pos)
    return c.meet(e, kind, pos)


def _select(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    condition = c.coerce(args[0], t.BOOL, call.pos, "SEL's G")
    kind = _meeting(c, args[1:], call, name)
    if kind is None:
        return zero(t.ERROR)
    return ir.Select(
        kind, condition, _into(c, args[2], kind, call.pos), _into(c, args[1], kind, call.pos)
    )


def _mux(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    selector = settle(args[0], codesys=c.codesys)
    if not (t.is_int(selector.type) or (c.codesys and t.is_bits(selector.type))):
        c.error(call.pos, "type", f"MUX's K is a whole number, this is {selector.type.name}")
        return zero(t.ERROR)
    kind = _meeting(c, args[1:], call, name)
    if kind is None:
        return zero(t.ERROR)
    index = c.hoist(
        ir.Builtin(
            t.DINT,
            "mux_index",
            [c.meet(selector, t.LINT, call.pos), ir.Const(t.DINT, len(args) - 1)],
        )
    )
    result = _into(c, args[-1], kind, call.pos)
    for position in range(len(args) - 3, -1, -1):
        test = ir.Binary(t.BOOL, "eq", index, ir.Const(t.DINT, position))
        result = ir.Select(kind, test, _into(c, args[position + 1], kind, call.pos), result)
    return result


def _extremum(op: str) -> Handler:
    def handle(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        kind = _meeting(c, args, call, name)
        if kind is None:
            return zero(t.ERROR)
        if not t.is_scalar(kind) and not t.is_string(kind):
            c.error(call.pos, "type", f"{name} needs values that can be ordered, not {kind.name}")
            return zero(t.ERROR)
        result = c.hoist(_into(c, args[0], kind, call.pos))
        for other in args[1:]:
            value = c.hoist(_into(c, other, kind, call.pos))
            result = ir.Select(kind, c.operate(op, value, result, call.pos), value, result)
            if other is not args[-1]:
                result = c.hoist(result)
        return result

    return handle


def _limit(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    kind = _meeting(c, args, call, name)
    if kind is None:
        return zero(t.ERROR)
    low, value, high = (c.hoist(_into(c, a, kind, call.pos)) for a in args)
    upper = c.hoist(ir.Select(kind, c.operate("<", value, high, call.pos), value, high))
    return ir.Select(kind, c.operate(">", upper, low, call.pos), upper, low)


# --- strings ------------------------------------------------------------------------------------------------


def _string(c: CallChecker, e: ir.Expr, pos: int, name: str) -> bool:
    if t.is_string(e.type):
        return True
    c.error(pos, "type", f"{name} needs a text, this is {e.type.name}")
    return False


def _length(e: ir.Expr) -> int:
    return e.type.length if isinstance(e.type, t.StringType) else 80


def _string_function(shape: str) -> Handler:
    """`shape`: s for a text, i for a whole number; the result is a text, or INT for LEN and FIND."""

    def handle(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        ready: list[ir.Expr] = []
        wide: bool | None = None
        for position, (letter, e) in enumerate(
            zip(shape.ljust(len(args), shape[-1]), args, strict=False)
        ):
            if e.type is t.ERROR:
                return zero(t.ERROR)
            if letter == "s":
                if e.type in (t.CHAR, t.WCHAR):
                    e = ir.Builtin(t.string_type(1, wide=e.type is t.WCHAR), "char_to_string", [e])
                if not _string(c, e, call.pos, f"{name}'s argument {position + 1}"):
                    return zero(t.ERROR)
                this = isinstance(e.type, t.StringType) and e.type.wide
                if wide is not None and wide != this:
                    c.error(call.pos, "type", f"{name}: STRING and WSTRING do not mix")
                    return zero(t.ERROR)
                wide = this
                ready.append(e)
            else:
                whole = settle(e, codesys=c.codesys)
                if not (t.is_int(whole.type) or (c.codesys and t.is_bits(whole.type))):
                    c.error(
                        call.pos,
                        "type",
                        f"{name}'s argument {position + 1} is a whole number, this is {e.type.name}",
                    )
                    return zero(t.ERROR)
                ready.append(c.meet(whole, t.LINT, call.pos))
        if name in ("LEN", "FIND"):
            return ir.Builtin(t.INT, name.lower(), ready)
        texts = [e for e in ready if t.is_string(e.type)]
        size = (
            sum(_length(e) for e in texts)
            if name in ("CONCAT", "INSERT", "REPLACE")
            else _length(texts[0])
        )
        if name == "CONCAT" and len(ready) > 2:
            result = ready[0]
            for e in ready[1:]:
                result = ir.Builtin(
                    t.string_type(min(_length(result) + _length(e), 32767), wide=bool(wide)),
                    "concat",
                    [result, e],
                )
            return result
        return ir.Builtin(t.string_type(min(size, 32767), wide=bool(wide)), name.lower(), ready)

    return handle


# --- time ---------------------------------------------------------------------------------------------------


def _now(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    return ir.Builtin(
        t.LTIME if name == "LTIME" else t.TIME, "ltime" if name == "LTIME" else "time", []
    )


#: What the engine tells a scan about itself: the type and the name that the emitter knows.
_ENGINE = {
    "FIRST_SCAN": (t.BOOL, "first_scan"),
    "CLOCK_TRUSTED": (t.BOOL, "clock_trusted"),
    "MACHINE_PAUSED": (t.BOOL, "machine_paused"),
    "INPUTS_LIVE": (t.BOOL, "inputs_live"),
    "WALL_CLOCK": (t.LDT, "wall"),
}


def _engine(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    kind, what = _ENGINE[name]
    return ir.Builtin(kind, what, [])


def _fixed(op: str) -> Handler:
    """ADD_TIME and its relatives: the operator under an older name."""

    def handle(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        return c.operate(op, args[0], args[1], call.pos)

    return handle


def _concat_date_tod(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    date, tod = c.coerce(args[0], t.DATE, call.pos), c.coerce(args[1], t.TOD, call.pos)
    return ir.Builtin(t.DT, "concat_date_tod", [date, tod])


def conversion(
    c: CallChecker, e: ir.Expr, target: t.Type, pos: int, *, truncate: bool = False
) -> ir.Expr:
    """`e` turned into the target by name, as X_TO_Y does."""
    e = settle(e, codesys=c.codesys)
    source = t.base_of(e.type)
    if source is t.ERROR:
        return zero(target)
    if isinstance(target, t.StringType):
        if t.is_string(source):
            wide = isinstance(source, t.StringType) and source.wide
            return (
                e
                if wide == target.wide
                else ir.Builtin(
                    t.string_type(_length(e), wide=target.wide), "w_to_s" if wide else "s_to_w", [e]
                )
            )
        if source in (t.CHAR, t.WCHAR):
            return ir.Builtin(t.string_type(1, wide=target.wide), "char_to_string", [e])
        if isinstance(source, t.Elementary):
            family = source.family if source.family != "bits" else "int"
            stem = {"int": "i64" if source.signed else "u64", "real": f"f{source.bits}"}.get(
                family, family
            )
            text = ir.Builtin(t.string_type(40), f"{stem}_to_string", [e])
            return (
                ir.Builtin(t.string_type(40, wide=True), "s_to_w", [text]) if target.wide else text
            )
    elif isinstance(target, t.Elementary):
        if isinstance(source, t.StringType):
            if source.wide:
                e = ir.Builtin(t.string_type(source.length), "w_to_s", [e])
            family = "int" if target.family == "bits" else target.family
            stem = {"int": "i64" if target.signed else "u64", "real": "f64"}.get(family, family)
            kind = {"i64": t.LINT, "u64": t.ULINT, "f64": t.LREAL}.get(stem, target)
            if target.family == "char":
                return ir.Builtin(target, "string_to_char", [e])
            return fold.convert(ir.Convert(target, ir.Builtin(kind, f"string_to_{stem}", [e])))
        if isinstance(source, t.Elementary):
            return _elementary(c, e, source, target, pos, truncate=truncate)
        if isinstance(source, t.PointerType) and target.family in ("int", "bits"):
            return ir.Convert(target, e)
    c.error(pos, "type", f"{e.type.name} cannot be converted to {target.name}")
    return zero(target)


def _elementary(
    c: CallChecker,
    e: ir.Expr,
    source: t.Elementary,
    target: t.Elementary,
    pos: int,
    *,
    truncate: bool,
) -> ir.Expr:
    if e.type is not source:
        e = ir.Convert(source, e) if not isinstance(e, ir.Const) else ir.Const(source, e.value)
    if source is target:
        return e
    if target is t.BOOL:
        return fold.binary(ir.Binary(t.BOOL, "ne", e, const(source, 0)))
    pair = (source.family.removeprefix("l"), target.family.removeprefix("l"))
    splits = (("dt", "date"), ("dt", "tod"), ("date", "dt"))
    same_kind = pair[0] == pair[1] and pair[0] in t.TIME_LIKE and source.bits != target.bits
    if pair in splits or same_kind:
        return ir.Builtin(target, f"{source.family}_to_{target.family}", [e])
    if source.family == "real" and target.family != "real":
        return ir.Convert(target, e, "trunc" if truncate else "round")
    return fold.convert(ir.Convert(target, e))


def by_name(c: CallChecker, name: str) -> tuple[Handler, tuple[str, ...] | None, int, int] | None:
    """A function found by its name's pattern: X_TO_Y, TO_Y, X_TRUNC_Y, …_BCD_…"""
    if bcd := _BCD.match(name):
        target = t.ELEMENTARY[bcd[2] or bcd[4]]
        stem = "from_bcd" if bcd[2] else "to_bcd"

        def convert_bcd(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
            e = settle(args[0], codesys=c.codesys)
            return ir.Convert(
                target,
                ir.Builtin(
                    t.ULINT, stem, [ir.Convert(t.ULINT, e), ir.Const(t.DINT, target.bits // 4)]
                ),
            )

        return convert_bcd, ("IN",), 1, 1
    found = _CONVERSION.match(name)
    if found is None:
        return None
    source_name, verb, target_name = found.groups()
    target_type: t.Type | None = t.ELEMENTARY.get(target_name)
    if target_name in ("STRING", "WSTRING"):
        target_type = t.string_type(80, wide=target_name == "WSTRING")
    if target_type is None or (
        source_name is not None
        and source_name not in t.ELEMENTARY
        and source_name not in ("STRING", "WSTRING", "ENUM", "ANY")
    ):
        return None
    source = t.ELEMENTARY.get(source_name or "")
    chosen = target_type

    def convert(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
        e = args[0]
        if (kind := plain(e)) is not e.type:
            # What a register holds is cut to the type that the name says, as by an assignment.
            wide = source is not None and is_whole(source) and source.bits >= t.scalar(kind).bits
            e = ir.Convert(source, e) if source is not None and wide else narrowed(e)
        if source is not None and e.type is not t.ERROR:
            if (
                e.type in (t.LIT_INT, t.LIT_REAL)
                or (c.codesys and not t.is_string(e.type))
                or t.base_of(e.type) is source
            ):
                e = (
                    c.coerce(e, source, call.pos)
                    if e.type in (t.LIT_INT, t.LIT_REAL)
                    or (
                        isinstance(t.base_of(e.type), t.Elementary)
                        and t.base_of(e.type) is not source
                        and _fits(c, e, source)
                    )
                    else e
                )
            else:
                e = c.coerce(e, source, call.pos, name)
        elif (
            source_name in ("STRING", "WSTRING")
            and not t.is_string(e.type)
            and e.type is not t.ERROR
        ):
            c.error(call.pos, "type", f"{name} needs a text, this is {e.type.name}")
            return zero(chosen)
        return conversion(c, e, chosen, call.pos, truncate=verb == "TRUNC")

    return convert, ("IN",), 1, 1


def _fits(c: CallChecker, e: ir.Expr, source: t.Elementary) -> bool:
    from .convert import widens

    kind = t.base_of(e.type)
    return isinstance(kind, t.Elementary) and widens(kind, source, codesys=c.codesys)


def _is_valid(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    """FALSE for infinity and for what is not a number: only there x - x is not 0."""
    e = settle(args[0], codesys=c.codesys)
    if not t.is_real(e.type):
        c.error(call.pos, "type", f"IS_VALID needs a real number, this is {e.type.name}")
        return zero(t.ERROR)
    e = c.hoist(e)
    return ir.Binary(t.BOOL, "eq", ir.Binary(e.type, "sub", e, e), const(e.type, 0))


def _is_bcd(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    e = settle(args[0], codesys=c.codesys)
    if not t.is_bits(e.type):
        c.error(call.pos, "type", f"IS_VALID_BCD needs a bit string, this is {e.type.name}")
        return zero(t.ERROR)
    return ir.Builtin(t.BOOL, "is_bcd", [ir.Convert(t.ULINT, e)])


def _endian(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    """The machines this runs on are little-endian: to and from big-endian turns the bytes round."""
    e = settle(args[0], codesys=c.codesys)
    base = t.base_of(e.type)
    if not isinstance(base, t.Elementary) or base.family in ("null", "void", "real"):
        c.error(call.pos, "type", f"{name} needs a whole number or a bit string, not {e.type.name}")
        return zero(t.ERROR)
    if "LITTLE" in name or base.size == 1:
        return e
    wide = ir.Convert(t.ULINT, ir.Convert(t.UNSIGNED[(1, 2, 4, 8).index(base.size)], e))
    swapped = ir.Builtin(t.ULINT, "swap", [wide, ir.Const(t.DINT, base.size)])
    return ir.Convert(base, swapped)


def _trunc(c: CallChecker, args: list[ir.Expr], call: n.Call, name: str) -> ir.Expr:
    e = settle(args[0], codesys=c.codesys)
    if not t.is_real(e.type):
        c.error(call.pos, "type", f"TRUNC needs a real number, this is {e.type.name}")
        return zero(t.ERROR)
    if not c.codesys and c.wanted is not None and t.is_int(t.base_of(c.wanted)):
        # ANY_REAL to ANY_INT: the one that is asked for.
        return ir.Convert(t.base_of(c.wanted), e, "trunc")
    # The older tools' TRUNC gives an INT where an INT is asked for, and libraries rely on it.
    narrow = c.codesys and c.wanted in (t.SINT, t.USINT, t.INT, t.UINT, t.BYTE, t.WORD)
    return ir.Convert(t.INT if narrow else t.DINT, e, "trunc")


#: name → (handler, parameter names or None when any number is taken, least, most arguments)
TABLE: dict[str, tuple[Handler, tuple[str, ...] | None, int, int]] = {
    **dict.fromkeys(("SQRT", "LN", "LOG", "EXP", "SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN"), (_real_function, ("IN",), 1, 1)),
    "ABS": (_abs, ("IN",), 1, 1), "ATAN2": (_atan2, ("Y", "X"), 2, 2), "EXPT": (_expt, ("IN1", "IN2"), 2, 2), "TRUNC": (_trunc, ("IN",), 1, 1),
    "ADD": (_operator("+"), None, 2, 64), "MUL": (_operator("*"), None, 2, 64), "SUB": (_operator("-"), ("IN1", "IN2"), 2, 2),
    "DIV": (_operator("/"), ("IN1", "IN2"), 2, 2), "MOD": (_operator("MOD"), ("IN1", "IN2"), 2, 2), "MOVE": (_move, ("IN",), 1, 1),
    "AND": (_operator("AND"), None, 2, 64), "OR": (_operator("OR"), None, 2, 64), "XOR": (_operator("XOR"), None, 2, 64), "NOT": (_not, ("IN",), 1, 1),
    **dict.fromkeys(("SHL", "SHR", "ROL", "ROR"), (_shift, ("IN", "N"), 2, 2)),
    "SEL": (_select, ("G", "IN0", "IN1"), 3, 3), "MUX": (_mux, None, 2, 64), "LIMIT": (_limit, ("MN", "IN", "MX"), 3, 3),
    "MAX": (_extremum(">"), None, 2, 64), "MIN": (_extremum("<"), None, 2, 64),
    "GT": (_comparison(">"), None, 2, 64), "GE": (_comparison(">="), None, 2, 64), "EQ": (_comparison("="), None, 2, 64),
    "LE": (_comparison("<="), None, 2, 64), "LT": (_comparison("<"), None, 2, 64), "NE": (_comparison("<>"), ("IN1", "IN2"), 2, 2),
    "LEN": (_string_function("s"), ("IN",), 1, 1), "LEFT": (_string_function("si"), ("IN", "L"), 2, 2), "RIGHT": (_string_function("si"), ("IN", "L"), 2, 2),
    "MID": (_string_function("sii"), ("IN", "L", "P"), 3, 3), "CONCAT": (_string_function("s"), None, 2, 32), "INSERT": (_string_function("ssi"), ("IN1", "IN2", "P"), 3, 3),
    "DELETE": (_string_function("sii"), ("IN", "L", "P"), 3, 3), "REPLACE": (_string_function("ssii"), ("IN1", "IN2", "L", "P"), 4, 4),
    "FIND": (_string_function("ss"), ("IN1", "IN2"), 2, 2),
    "TIME": (_now, (), 0, 0), "LTIME": (_now, (), 0, 0), **dict.fromkeys(_ENGINE, (_engine, (), 0, 0)),
    **{name: (_fixed("+"), ("IN1", "IN2"), 2, 2) for name in ("ADD_TIME", "ADD_LTIME", "ADD_TOD_TIME", "ADD_LTOD_LTIME", "ADD_DT_TIME", "ADD_LDT_LTIME")},
    **{name: (_fixed("-"), ("IN1", "IN2"), 2, 2) for name in ("SUB_TIME", "SUB_LTIME", "SUB_DATE_DATE", "SUB_LDATE_LDATE", "SUB_TOD_TIME", "SUB_LTOD_LTIME",
       "SUB_TOD_TOD", "SUB_LTOD_LTOD", "SUB_DT_TIME", "SUB_LDT_LTIME", "SUB_DT_DT", "SUB_LDT_LDT")},
    **{name: (_fixed("*"), ("IN1", "IN2"), 2, 2) for name in ("MUL_TIME", "MUL_LTIME", "MULTIME")},
    **{name: (_fixed("/"), ("IN1", "IN2"), 2, 2) for name in ("DIV_TIME", "DIV_LTIME", "DIVTIME")},
    "IS_VALID": (_is_valid, ("IN",), 1, 1), "IS_VALID_BCD": (_is_bcd, ("IN",), 1, 1),
    **dict.fromkeys(("TO_BIG_ENDIAN", "FROM_BIG_ENDIAN", "TO_LITTLE_ENDIAN", "FROM_LITTLE_ENDIAN", "BIG_ENDIAN_TO", "LITTLE_ENDIAN_TO"), (_endian, ("IN",), 1, 1)),
    "CONCAT_DATE_TOD": (_concat_date_tod, ("DATE", "TOD"), 2, 2),
}  # fmt: skip
