"""The tables of cases: what is given to a block, and what must come out.

A file of `cases/` is a list of these:

    - block: HYPOT                    # a function or function block; several cases may have one
      in: {X: [3, -1.5], Y: [4, 2]}   # rows of inputs, each with the block new; one value stands for all rows
      is: hypot(x, y)                 # a function's value: Python (`expected.py`), or a list of values
      out: {Q: "x > 0"}               # outputs, and variables of `vars`, in the same way
      within: 1.0e-6                  # for REAL: relative, and absolute below 1; from 1 on: milliseconds of TIME and TOD
    - block: TP_1
      scans:                          # milliseconds, inputs that change, outputs after the scan
      - [0, {IN: 1, PT: 100}, {Q: 1}]
    - block: FT_PT1
      model: pt1                      # a class of `models`, run beside the block
      every: 10                       # milliseconds from scan to scan
      count: 300                      # scans
      set: {0: {IN: 1, T: 500}, 150: {IN: 0}}
      random: {IN: {from: -5, to: 5}} # a new value for each scan; of a list one

`vars` declares variables (name: type) for a `call` in Structured Text where the block wants pointers or arrays;
`note` says what is remarkable, `defect` where the library does not do what it says and the table holds what its
source computes. Values are written as people do: TIME in milliseconds, DATE 2024-02-29, DT 2024-02-29 12:00:00,
TOD "12:30:00".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent / "cases"
_KEYS = frozenset(
    [
        "block",
        "in",
        "is",
        "out",
        "within",
        "vars",
        "call",
        "scans",
        "model",
        "every",
        "count",
        "set",
        "random",
        "note",
        "defect",
        "fault",
        "start",
    ]
)


class CaseError(ValueError):
    """A case that breaks a rule of the tables."""


class _Loader(yaml.SafeLoader):
    """Blocks have inputs ON and OFF, which are names here and no booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Case:
    """One case as the tables have it."""

    block: str
    chapter: str
    inputs: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    outputs: dict[str, Any] = field(default_factory=dict)
    scans: tuple[tuple[int, dict[str, Any], dict[str, Any]], ...] = ()
    model: str = ""
    every_ms: int = 10
    count: int = 0
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    random: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    call: str = ""
    within: float = 2e-6
    fault: str = ""
    start_ms: int = 0
    note: str = ""
    defect: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `in`; one without inputs where there are none."""
        columns = {name: v for name, v in self.inputs.items() if isinstance(v, list)}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise CaseError(f"{self.block}: in: lists of {sorted(lengths)} values: all as long")
        return [
            {name: v[n] if name in columns else v for name, v in self.inputs.items()}
            for n in range(lengths.pop() if lengths else 1)
        ]


def _case(entry: Any, chapter: str) -> Case:
    if not isinstance(entry, dict) or not isinstance(entry.get("block"), str):
        raise CaseError(f"{chapter}: {entry!r}: a case is a table with a block")
    name = entry["block"]
    if unknown := sorted(entry.keys() - _KEYS):
        raise CaseError(f"{chapter}: {name}: {unknown[0]}: one of {', '.join(sorted(_KEYS))}")
    ways = [way for way in ("scans", "model") if way in entry]
    if "is" in entry or "out" in entry:
        ways.append("is or out")
    if len(ways) != 1 and "fault" not in entry:
        raise CaseError(f"{chapter}: {name}: one of scans, model, or is and out; here {ways}")
    if "call" in entry and "vars" not in entry:
        raise CaseError(f"{chapter}: {name}: call: its variables stand in vars")
    case = Case(
        block=name,
        chapter=chapter,
        inputs=entry.get("in", {}),
        result=entry.get("is"),
        outputs=entry.get("out", {}),
        scans=tuple((at, given, wanted) for at, given, wanted in entry.get("scans", ())),
        model=entry.get("model", ""),
        every_ms=entry.get("every", 10),
        count=entry.get("count", 0),
        changes=entry.get("set", {}),
        random=entry.get("random", {}),
        variables=entry.get("vars", {}),
        call=entry.get("call", ""),
        within=float(entry.get("within", 2e-6)),
        fault=entry.get("fault", ""),
        start_ms=entry.get("start", 0),
        note=entry.get("note", ""),
        defect=entry.get("defect", ""),
    )
    rows = case.rows()
    for values in (case.result, *case.outputs.values()):
        if isinstance(values, list) and len(values) != len(rows):
            raise CaseError(
                f"{chapter}: {name}: {len(values)} values for {len(rows)} rows: as many"
            )
    return case


def load(folder: Path = HERE) -> list[Case]:
    """All cases, in the order of their files.

    Raises:
        CaseError: file, block, key and rule.
    """
    found: list[Case] = []
    for path in sorted(folder.glob("*.yaml")):
        entries = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
        if not isinstance(entries, list):
            raise CaseError(f"{path.name}: a list of cases")
        found += [_case(entry, path.stem) for entry in entries]
    return found
