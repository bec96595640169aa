"""Which statements ran: the places where the emitted C notes its line are counted."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"^c->line = (\d+);$")
_FILE = re.compile(r"c->file = (\d+)u;")
_HEAD = re.compile(r"^static .*\) \{$")


@dataclass(slots=True)
class Coverage:
    """Statement lines of the project's own files: file → lines there are, and lines that ran."""

    lines: dict[str, set[int]] = field(default_factory=dict)
    ran: dict[str, set[int]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Share of the lines that ran; 1.0 when there are none."""
        count = sum(len(lines) for lines in self.lines.values())
        return sum(len(lines) for lines in self.ran.values()) / count if count else 1.0

    def missing(self) -> dict[str, list[int]]:
        """File → lines that did not run."""
        return {
            file: missing
            for file, lines in sorted(self.lines.items())
            if (missing := sorted(lines - self.ran.get(file, set())))
        }

    def as_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"ratio": round(self.ratio, 4), "missing": self.missing()}


def instrument(c_source: str, files: Sequence[str]) -> tuple[str, list[tuple[str, int]]]:
    """C that marks each statement as it runs, and the (file, line) of each mark; only of the files given."""
    sites: list[tuple[str, int]] = []
    out: list[str] = []
    file = 0
    for line in c_source.split("\n"):
        if _HEAD.match(line):
            file = 0
        if found := _FILE.search(line):
            file = int(found[1])
        if (found := _LINE.match(line)) and file < len(files):
            out.append(f"{line} vplc_ran[{len(sites)}] = 1;")
            sites.append((files[file], int(found[1])))
        else:
            out.append(line)
    # Before the first function, and visible to whoever loads the object.
    marks = f'__attribute__((visibility("default"))) unsigned char vplc_ran[{max(1, len(sites))}];'
    return "\n".join([marks, *out]), sites


def collect(library: str, sites: Sequence[tuple[str, int]], into: Coverage) -> None:
    """Add what ran in a loaded program."""
    marks = (ctypes.c_uint8 * max(1, len(sites))).in_dll(ctypes.CDLL(library), "vplc_ran")
    for (file, line), ran in zip(sites, marks, strict=False):
        into.lines.setdefault(file, set()).add(line)
        if ran:
            into.ran.setdefault(file, set()).add(line)


def merge(reports: Mapping[str, Coverage]) -> Coverage:
    """Several suites' coverage as one."""
    whole = Coverage()
    for report in reports.values():
        for mine, theirs in ((whole.lines, report.lines), (whole.ran, report.ran)):
            for file, lines in theirs.items():
                mine.setdefault(file, set()).update(lines)
    return whole
