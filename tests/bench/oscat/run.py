"""A case run by both compilers and held against what the table expects."""

from __future__ import annotations

import keyword
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.st_harness import Plc

from . import expected
from .cases import Case, CaseError
from .interface import Interface
from .models import MODELS
from .stage import Instance, as_raw, single

#: After so many differences a case is told and left.
ENOUGH = 3


@dataclass(slots=True)
class Verdict:
    """What came of a case."""

    case: Case
    checks: int = 0
    differences: list[str] = field(default_factory=list)


def run(
    case: Case, number: int, plcs: Mapping[str, Plc], known: Mapping[str, Interface]
) -> Verdict:
    """Run a case scan by scan, by each compiler."""
    verdict = Verdict(case)
    block = known[case.block.upper()]
    for compiler, plc in plcs.items():
        instance = Instance(plc, number, case, block)
        try:
            for place, wanted in _played(case, instance):
                _hold(verdict, instance, f"{compiler}: {place}", wanted)
                if len(verdict.differences) >= ENOUGH:
                    break
        except Exception as error:  # told as a difference; the others go on
            verdict.differences.append(f"{compiler}: {type(error).__name__}: {error}")
    return verdict


def _played(case: Case, instance: Instance) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scan after scan: where we are, and what must be read now."""
    if case.scans:
        yield from _by_hand(case, instance)
    elif case.model:
        yield from _beside_a_model(case, instance)
    else:
        yield from _rows(case, instance)


def _scanned(instance: Instance, now_ms: int) -> None:
    fault = instance.scan(now_ms)
    if fault != instance.case.fault:
        raise CaseError(
            f"at {now_ms} ms: fault {fault!r} in line {instance.plc.line}, wanted {instance.case.fault!r}"
        )


def _rows(case: Case, instance: Instance) -> Iterator[tuple[str, dict[str, Any]]]:
    for n, row in enumerate(case.rows()):
        instance.new(case.start_ms)
        names = {}
        for name, value in row.items():
            instance.set(name, value)
            names[_spoken(name)] = _seen(instance, name, value)
        _scanned(instance, case.start_ms)
        wanted = dict(case.outputs)
        if case.result is not None:
            wanted["r"] = case.result
        place = ", ".join(f"{k} = {v}" for k, v in row.items())
        yield place, {name: _value(instance, name, v, n, names) for name, v in wanted.items()}


def _spoken(name: str) -> str:
    """An input's name in formulas: in lower case, `in_` for IN, which Python has for itself."""
    plain = name.lower().replace(".", "_")
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _seen(instance: Instance, name: str, value: Any) -> Any:
    """An input as formulas see it: REAL as the block gets it, times in milliseconds."""
    kind = instance.kind(name)
    if kind == "REAL":
        return single(float(value))
    if kind in ("TOD", "TIME"):
        return as_raw(value, kind)
    if kind == "":
        if isinstance(value, list) and all(isinstance(part, (int, float)) for part in value):
            return [single(float(part)) for part in value]
        return value
    return bool(value) if kind == "BOOL" else value


def _value(instance: Instance, name: str, value: Any, row: int, names: dict[str, Any]) -> Any:
    """A list has one for each row; a text is a formula, but where a text is wanted and in quotes."""
    if isinstance(value, list):
        value = value[row]
        if instance.kind(name) == "STRING" and isinstance(value, str):
            return value
    if isinstance(value, str) and instance.kind(name) not in ("TOD",):
        return expected.evaluate(value, names)
    if isinstance(value, str):
        return value if value[:1].isdigit() else expected.evaluate(value, names)
    return value


def _by_hand(case: Case, instance: Instance) -> Iterator[tuple[str, dict[str, Any]]]:
    instance.new(case.start_ms)
    for now_ms, given, wanted in case.scans:
        for name, value in given.items():
            instance.set(name, value)
        _scanned(instance, case.start_ms + now_ms)
        yield f"at {now_ms} ms", wanted


def _beside_a_model(case: Case, instance: Instance) -> Iterator[tuple[str, dict[str, Any]]]:
    model = MODELS[case.model]()
    dice = random.Random(1)  # noqa: S311  # the same inputs in every run
    instance.new(case.start_ms)
    current: dict[str, Any] = {}
    for scan in range(case.count):
        changed = dict(case.changes.get(scan, {}))
        for name, choice in case.random.items():
            value = (
                dice.uniform(choice["from"], choice["to"])
                if isinstance(choice, dict)
                else dice.choice(choice)
            )
            changed[name] = single(value) if isinstance(value, float) else value
        for name, value in changed.items():
            instance.set(name, value)
            current[name.lower()] = _seen(instance, name, value)
        now_ms = case.start_ms + scan * case.every_ms
        _scanned(instance, now_ms)
        yield f"at {now_ms} ms", model.scan(now_ms - case.start_ms, current)


def _hold(verdict: Verdict, instance: Instance, place: str, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        for leaf, kind, raw in instance.leaves(name, value):
            verdict.checks += 1
            found = instance.get(leaf)
            if not _same(found, raw, kind, verdict.case.within):
                verdict.differences.append(f"{place}: {leaf} = {found!r}, wanted {raw!r}")


def _same(found: Any, wanted: Any, kind: str, within: float) -> bool:
    if kind in ("TIME", "TOD") and within >= 1:
        return bool(abs(found - wanted) <= within)
    if kind != "REAL" or not math.isfinite(wanted) or not math.isfinite(found):
        return bool(found == wanted)
    return abs(found - wanted) <= within * max(1.0, abs(wanted))
