"""The table of what shows each promise names tests and scenarios that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
TABLE = ROOT / "docs/subsystems/balancer-shown.md"
FOLDERS = {
    "B": "tests/unit/core/balancing",
    "E": "tests/integration/environments",
    "O": "tests/contract/operations",
    "T": "tests",
}
_NAMED = re.compile(r"\$([BEOT])/([\w/]+\.py)(?:::(\w+))?")


def test_every_test_and_scenario_that_is_named_is_there() -> None:
    text = TABLE.read_text(encoding="utf-8")
    named = set(_NAMED.findall(text))
    assert len(named) > 100
    for folder, file, name in named:
        path = ROOT / FOLDERS[folder] / file
        assert path.is_file(), path
        if name:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert name in {row.name for row in tree.body if isinstance(row, ast.FunctionDef)}, name
    for line in text.splitlines():
        if line.startswith("|"):
            for names in re.findall(r"scenarios? ((?:`[\w-]+`(?:, )?)+)", line):
                for name in re.findall(r"`([\w-]+)`", names):
                    assert (ROOT / FOLDERS["B"] / "scenarios" / name).is_dir(), name


def test_every_row_says_what_shows_it() -> None:
    section, rows = "", 0
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line
        elif line.startswith("| ") and "---" not in line and not line.startswith("| promise"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == (2 if section == "## Not kept" else 3), line
            assert all(cells), line
            rows += 1
    assert rows > 100
