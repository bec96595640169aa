"""The decision cores ask no clock and no chance of their own: what they are told decides what they say."""

import ast
from pathlib import Path

import millwright.core.balancing
import millwright.core.placement
import pytest

#: Without the solver below `placement`: its budget is in seconds, and it looks at the clock to end.
FOLDERS = [
    Path(str(package.__file__)).parent
    for package in (millwright.core.balancing, millwright.core.placement)
]
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_asked_of_the_outside(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {"time", "random", "os", "socket", "subprocess", "threading", "django", "libvirt"}
    assert not {name.split(".")[0] for name in imported} & outside
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"now", "utcnow", "today", "open", "read_text"}
