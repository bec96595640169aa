"""The table of what shows each promise names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs/subsystems/vplc-shown.md"
FOLDERS = {"U": "tests/unit/industrial", "I": "tests/integration/industrial"}
_NAMED = re.compile(r"\$([UI])/([\w/]+\.py)(?:::(\w+))?")


def test_every_test_that_is_named_is_there() -> None:
    text = TABLE.read_text(encoding="utf-8")
    named = set(_NAMED.findall(text))
    assert len(named) > 100
    for folder, file, name in named:
        path = ROOT / FOLDERS[folder] / file
        assert path.is_file(), path
        if name:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found = {row.name for row in tree.body if isinstance(row, ast.FunctionDef | ast.AsyncFunctionDef)}  # fmt: skip
            assert name in found, f"{file}::{name}"


def test_every_row_says_what_shows_it() -> None:
    section, rows = "", 0
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line
        elif line.startswith("| ") and "---" not in line and not line.startswith("| promise"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert cells[0] and cells[1], line
            assert len(cells) == (2 if section.startswith("## Not kept") else 3), line
            rows += 1
    assert rows > 100
