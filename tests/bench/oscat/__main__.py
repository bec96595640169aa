"""What the blocks of OSCAT compute: `python -m tests.bench.oscat DIR [--with FILE] [--only BLOCK]`.

DIR holds the CoDeSys 2.3 exports of OSCAT basic and building, one POU a file or all in one; they are not part of this repository.
FILE declares the globals that exports of single POUs lack (`oscat_globals.st` beside DIR is found). Each case of `cases/` runs in virtual time, compiled by tcc and by gcc -O1:
a line for each, JSON at the end, exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from industrial.st.compiler import find_sources
from tests.support.st_harness import Plc

from .cases import Case, load
from .interface import Interface, interfaces
from .run import Verdict, run
from .stage import build

COMPILERS = ("tcc", "gcc")


def measured(cases: list[Case], sources: dict[str, bytes]) -> tuple[list[Verdict], list[str]]:
    """Run the cases whose block is among the sources; the verdicts, and the blocks that are not there.

    Raises:
        SystemExit: what is reached by the cases does not compile.
    """
    known: dict[str, Interface] = interfaces(sources)
    here = [case for case in cases if case.block.upper() in known]
    absent = sorted({case.block for case in cases if case.block.upper() not in known})
    if not here:
        return [], absent
    compiled = build(here, sources, known)
    if not compiled.ok:
        sys.exit("\n".join(d.render() for d in compiled.diagnostics if d.severity == "error"))
    plcs = {name: Plc(compiled, name) for name in COMPILERS}
    return [run(case, number, plcs, known) for number, case in enumerate(here)], absent


def summary(verdicts: list[Verdict], absent: list[str], known: dict[str, str]) -> dict[str, Any]:
    """The counts of a run."""
    blocks = {v.case.block.upper() for v in verdicts}
    kinds = Counter(known[block] for block in blocks)
    wrong = sorted({v.case.block for v in verdicts if v.differences})
    return {
        "functions": kinds["FUNCTION"],
        "function_blocks": kinds["FUNCTION_BLOCK"],
        "cases": len(verdicts),
        "values": sum(v.checks for v in verdicts),
        "compilers": list(COMPILERS),
        "agree": sum(not v.differences for v in verdicts),
        "differ": wrong,
        "absent": absent,
        "without_cases": sorted(
            name
            for name, kind in known.items()
            if kind.startswith("FUNCTION") and name not in blocks
        ),
        "library_defects": {v.case.block: v.case.defect for v in verdicts if v.case.defect},
        "blocks_by_table": dict(
            sorted(
                Counter({v.case.block.upper(): v.case.chapter for v in verdicts}.values()).items()
            )
        ),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.oscat", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with", dest="extra", action="append", default=[], type=Path)
    parser.add_argument("--only", help="the cases of one block")
    asked = parser.parse_args()
    beside = asked.folder.resolve().parent / "oscat_globals.st"
    extra = asked.extra or ([beside] if beside.exists() else [])
    sources = {str(path): path.read_bytes() for path in [*find_sources([asked.folder]), *extra]}
    cases = [c for c in load() if not asked.only or c.block.upper() == asked.only.upper()]
    begun = time.monotonic()
    verdicts, absent = measured(cases, sources)
    for verdict in verdicts:
        told = "; ".join(verdict.differences) or "agrees"
        print(f"{verdict.case.chapter}: {verdict.case.block}: {verdict.checks} values: {told}")
    kinds = {name: block.kind for name, block in interfaces(sources).items()}
    rows = summary(verdicts, absent, kinds)
    rows["seconds"] = round(time.monotonic() - begun, 1)
    print(json.dumps(rows))
    sys.exit(1 if rows["differ"] or not verdicts else 0)


if __name__ == "__main__":
    main()
