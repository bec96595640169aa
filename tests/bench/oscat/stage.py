"""Cases made programs: one source for all, a task for each case, built by either compiler."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Mapping
from typing import Any

from industrial.st import Compiled, Config, TaskConfig, compile_project
from tests.support.st_harness import Plc

from .cases import Case, CaseError
from .interface import Interface

EPOCH = dt.datetime(1970, 1, 1)  # the controller's DATE and DT know no zone
#: Structured values that formulas know as one: members in their order.
SHAPES = {
    "COMPLEX": ("RE", "IM"),
    "VECTOR_3": ("X", "Y", "Z"),
    "REAL2": ("RX", "R1"),
    "FRACTION": ("NUMERATOR", "DENOMINATOR"),
}


def source(cases: list[Case], known: Mapping[str, Interface]) -> str:
    """Our own programs around the blocks."""
    return "\n".join(
        _program(f"Case{number}", case, known[case.block.upper()])
        for number, case in enumerate(cases)
    )


def _program(name: str, case: Case, block: Interface) -> str:
    variables = dict(case.variables)
    own = {variable.upper(): variable for variable in variables}
    lent = {n: own.get(n, f"x_{n}") for n in block.shared}
    variables |= {lent[n]: kind for n, kind in block.shared.items() if n not in own}
    if block.kind == "FUNCTION_BLOCK":
        variables["b"] = block.name
    if case.call:
        body = case.call
    elif block.kind == "FUNCTION":
        given = [n for n in block.inputs if any(k.split(".")[0].upper() == n for k in case.inputs)]
        variables |= {f"x_{n}": block.inputs[n] for n in given} | {"r": block.returns}
        passed = ", ".join(
            [*(f"{n} := x_{n}" for n in given), *(f"{n} := {v}" for n, v in lent.items())]
        )
        body = f"r := {block.name}({passed});"
    else:
        body = f"b({', '.join(f'{n} := {v}' for n, v in lent.items())});"
    if empty := [n for n, kind in variables.items() if not kind]:
        raise CaseError(f"{case.block}: {empty[0]}: its type is not a name: vars and call")
    lines = "".join(f"    {n} : {kind};\n" for n, kind in variables.items())
    return f"PROGRAM {name}\nVAR\n{lines}END_VAR\n{body}\nEND_PROGRAM\n"


def build(
    cases: list[Case], sources: Mapping[str, bytes], known: Mapping[str, Interface]
) -> Compiled:
    """Compile the libraries with the programs."""
    tasks = tuple(
        TaskConfig(f"T{number}", 10_000, 1, 0, (f"Case{number}",)) for number in range(len(cases))
    )
    texts: dict[str, str | bytes] = {**sources, "cases.st": source(cases, known)}
    return compile_project(texts, Config(dialect="codesys23", tasks=tasks, only_reachable=True))


def as_raw(value: Any, kind: str) -> Any:
    """A value of the tables in the form that the memory has."""
    if kind == "REAL":
        return single(float(value))
    if kind == "BOOL":
        return bool(value)
    if kind in ("DATE", "DT"):
        if isinstance(value, dt.datetime):
            return int((value - EPOCH).total_seconds())
        if isinstance(value, dt.date):
            return (value - EPOCH.date()).days * 86400
        return int(value)
    if kind in ("TOD", "TIME"):
        if isinstance(value, str):
            hours, minutes, seconds = value.split(":")
            return round((int(hours) * 60 + int(minutes)) * 60_000 + float(seconds) * 1000)
        return round(value)
    if kind == "STRING":
        if not isinstance(value, str):
            raise CaseError(f"{value!r}: a text")
        return value
    return int(value)


def single(value: float) -> float:
    """The nearest binary32."""
    if math.isnan(value) or math.isinf(value):
        return value
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


class Instance:
    """A case in one compiler's program: variables by the tables' names."""

    def __init__(self, plc: Plc, number: int, case: Case, block: Interface) -> None:
        self.plc, self.task, self.case, self.block = plc, number, case, block
        self._top = f"Case{number}".upper()

    def new(self, now_ms: int) -> None:
        """Everything at its initial value, the clock at a time."""
        self.plc.init(warm=False)
        self.plc.now_us = now_ms * 1000

    def scan(self, now_ms: int) -> str:
        """A scan at a time; the name of a fault, or nothing."""
        self.plc.now_us = now_ms * 1000
        return self.plc.scan(task=self.task)

    def path(self, name: str) -> str:
        """Where a name of the tables lies in memory."""
        head, dot, rest = name.upper().partition(".")
        stem, bracket, index = head.partition("[")
        after = bracket + index + dot + rest
        top = {n.upper() for n in self.case.variables}
        if stem in top or (stem == "R" and self.block.kind == "FUNCTION"):
            return f"{self._top}.{stem}{after}"
        if stem in self.block.shared or (
            self.block.kind == "FUNCTION" and stem in self.block.inputs
        ):
            return f"{self._top}.X_{stem}{after}"
        return f"{self._top}.B.{stem}{after}"

    def kind(self, name: str) -> str:
        """The type of an elementary variable; "" where the name is of a structure or an array."""
        path = self.path(name)
        row = self.plc.symbols.get(path)
        if row is None and path.endswith("]"):
            row = self.plc.symbols.get(path.rpartition("[")[0])
            return str(row["type"]) if row else ""
        return "" if row is None or row["dims"] else str(row["type"])

    def leaves(self, name: str, value: Any) -> list[tuple[str, str, Any]]:
        """A value as names, types and raw values of elementary variables."""
        kind = self.kind(name)
        if kind:
            return [(name, kind, as_raw(value, kind))]
        if isinstance(value, complex):
            value = (value.real, value.imag)
        if isinstance(value, dict):
            return [
                leaf for key, part in value.items() for leaf in self.leaves(f"{name}.{key}", part)
            ]
        if not isinstance(value, (tuple, list)):
            raise CaseError(f"{self.case.block}: {name} = {value!r}: there is no such variable")
        row = self.plc.symbols.get(self.path(name))
        if row is not None:
            low = row["dims"][0][0]
            names = [f"{name}[{low + n}]" for n in range(len(value))]
        else:
            names = [f"{name}.{part}" for part in self._members(name, len(value))]
        return [
            leaf for one, part in zip(names, value, strict=True) for leaf in self.leaves(one, part)
        ]

    def _members(self, name: str, count: int) -> tuple[str, ...]:
        for members in SHAPES.values():
            if len(members) == count and self.kind(f"{name}.{members[0]}"):
                return members
        raise CaseError(f"{self.case.block}: {name}: no structure that the tables know")

    def set(self, name: str, value: Any) -> None:
        """Give a value."""
        for leaf, _, raw in self.leaves(name, value):
            self.plc.set(self.path(leaf), raw)

    def get(self, name: str) -> Any:
        """Read an elementary variable."""
        return self.plc.get(self.path(name))
