"""Expressions over tags, written as in Structured Text: `Main.valve AND NOT Main.estop`, `Main.level > 80.0`.

They are read into a tree and walked; nothing of a suite is ever executed as code.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from industrial.st.literals import duration_ns

from .errors import SuiteError

_TOKEN = re.compile(
    r"'[^']*'|\b(?:L?T|L?TIME)#[0-9A-Za-z_.]+|[A-Za-z_][A-Za-z0-9_]*|<>|:=|<=|>=|[=]+|%[IQM][XBWDL]?\d+(?:\.\d)?|.",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = {"AND": "and", "OR": "or", "NOT": "not", "XOR": "!=", "MOD": "%", "TRUE": "True", "FALSE": "False"}  # fmt: skip
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: math.fmod, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ABS": abs,
    "MIN": min,
    "MAX": max,
    "LIMIT": lambda low, value, high: max(low, min(value, high)),
    "SEL": lambda chosen, if_false, if_true: if_true if chosen else if_false,
    "SQRT": math.sqrt,
    "EXP": math.exp,
    "SIN": math.sin,
    "TRUNC": math.trunc,
}


def milliseconds(text: str) -> float:
    """T#1s500ms to 1500.0."""
    return duration_ns(text.partition("#")[2]) / 1e6


def _to_python(text: str) -> str:
    parts = []
    for part in _TOKEN.findall(text):
        upper = part.upper()
        if upper in _WORDS:
            parts.append(f" {_WORDS[upper]} ")
        elif part == "<>":
            parts.append("!=")
        elif part == "=":
            parts.append("==")
        elif "#" in part and part[0] != "'":
            parts.append(repr(milliseconds(part)))
        elif part.startswith("%") and len(part) > 1:
            parts.append(f"_address({part!r})")
        else:
            parts.append(part)
    return "".join(parts).strip()


class Expression:
    """One expression; `tags` are the variables it reads, as written."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        try:
            self._tree = ast.parse(_to_python(text), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise SuiteError(f"{where}: {text!r}: not an expression ({error})") from None
        self.tags: list[str] = []
        self._collect(self._tree)

    def _collect(self, node: ast.AST) -> None:
        if (path := _path(node)) is not None:
            if path not in self.tags:
                self.tags.append(path)
            return
        match node:
            case ast.Constant(value=bool() | int() | float() | str()):
                return
            case ast.BoolOp(values=values):
                children: list[ast.AST] = list(values)
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=inner):
                children = [inner]
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                children = [left, right]
            case ast.Compare(left=left, comparators=rest):
                children = [left, *rest]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
                name.upper() in _FUNCTIONS
            ):
                children = list(arguments)
            case _:
                raise SuiteError(
                    f"{self.where}: {self.text!r}: {type(node).__name__} is not known here; there are "
                    f"tags, numbers, AND OR XOR NOT, = <> < <= > >=, + - * / MOD, {', '.join(_FUNCTIONS)}"
                )
        for child in children:
            self._collect(child)

    def value(self, read: Callable[[str], Any]) -> Any:
        """Evaluate; `read` gives a tag's value.

        Raises:
            SuiteError: it has no value (a division by zero, a text compared with a number).
        """
        try:
            return _evaluate(self._tree, read)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise SuiteError(f"{self.where}: {self.text!r}: {error}") from None


def _path(node: ast.AST) -> str | None:
    """`Main.a[1].b` as text; None if the node is no tag."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="_address"), args=[ast.Constant(value=str(address))]):
            return address
        case ast.Attribute(value=inner, attr=name):
            base = _path(inner)
            return None if base is None else f"{base}.{name}"
        case ast.Subscript(value=inner, slice=index):
            base = _path(inner)
            return None if base is None else f"{base}[{ast.unparse(index).strip('()').replace(' ', '')}]"  # fmt: skip
    return None


def _evaluate(node: ast.AST, read: Callable[[str], Any]) -> Any:
    if (path := _path(node)) is not None:
        return read(path)
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BoolOp(op=sign, values=values):
            every = all if isinstance(sign, ast.And) else any
            return every(bool(_evaluate(value, read)) for value in values)
        case ast.UnaryOp(op=sign, operand=inner):
            value = _evaluate(inner, read)
            return not value if isinstance(sign, ast.Not) else -value if isinstance(sign, ast.USub) else value  # fmt: skip
        case ast.BinOp(left=left, op=sign, right=right):
            return _BINARY[type(sign)](_evaluate(left, read), _evaluate(right, read))
        case ast.Compare(left=left, ops=comparisons, comparators=rest):
            before = _evaluate(left, read)
            for comparison, child in zip(comparisons, rest, strict=True):
                after = _evaluate(child, read)
                if not _COMPARE[type(comparison)](before, after):
                    return False
                before = after
            return True
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name.upper()](*(_evaluate(child, read) for child in arguments))
    raise TypeError(f"{type(node).__name__} has no value")


class Assignment:
    """`name := expression`, of a plant model."""

    def __init__(self, text: str, where: str, known: Mapping[str, Any]) -> None:
        name, sign, value = text.partition(":=")
        self.name = name.strip()
        if not sign or self.name not in known:
            raise SuiteError(
                f"{where}: {text!r}: written as `name := expression`, with a name of "
                f"plant.variables ({', '.join(known) or 'there are none'})"
            )
        self.expression = Expression(value.strip(), where)
