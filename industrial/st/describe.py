"""What a project is made of, and what differs between two of them."""

from __future__ import annotations

import re
from typing import Any

from .compiler import Compiled, compile_project
from .errors import Sink, SourceFile
from .parser import parse
from .project import Folder

_POSITION = re.compile(r"""\b(?:pos|end)=\d+|\bcomment=(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
#: What may not change while a program runs: the value could not be carried over.
_FIXED = ("type", "dims", "string_len")


def declarations(folder: Folder) -> dict[str, tuple[str, str]]:
    """By name: the kind, and the declaration as parsed; comments and layout of the text are not in it."""
    codesys = folder.config.dialect == "codesys23"
    files = [SourceFile(path, text, n) for n, (path, text) in enumerate(folder.sources.items())]
    sink = Sink(files)
    found: dict[str, tuple[str, str]] = {}
    for file in files:
        unit = parse(file, sink, codesys=codesys)
        for pou in unit.pous:
            found[pou.name] = pou.kind, _POSITION.sub("", repr(pou))
        for declared in unit.types:
            found[declared.name] = "TYPE", _POSITION.sub("", repr(declared))
    return found


def describe(folder: Folder) -> dict[str, Any]:
    """Tasks, POUs, the process image and sizes of a project; `diagnostics` when it has errors."""
    compiled = compile_project(folder.sources, folder.config)
    rows = compiled.symbols.get("symbols", [])
    located = [
        {
            "path": row["path"],
            "type": row["type"],
            "address": row["located"],
            "comment": row["comment"],
            "driven": row["driven"],
        }
        for row in rows
        if row["located"]
    ]
    return {
        "format": 1,
        "name": folder.config.name,
        "version": folder.config.version,
        "dialect": folder.config.dialect,
        "ok": compiled.ok,
        "tasks": compiled.symbols.get("tasks", []),
        "pous": [
            {"pou": name, "kind": kind} for name, (kind, _) in sorted(declarations(folder).items())
        ],
        "located": sorted(located, key=lambda row: str(row["address"])),
        "retain_bytes": sum(row["size"] for row in rows if row["retain"]),
        "variables": len(rows),
        "layout_hash": compiled.symbols.get("layout_hash", ""),
        "diagnostics": [item.as_dict() for item in compiled.diagnostics],
    }


def _variables(compiled: Compiled) -> dict[str, dict[str, Any]]:
    return {row["path"].upper(): row for row in compiled.symbols.get("symbols", [])}


def diff(old: Folder, new: Folder) -> dict[str, Any]:
    """What changed from one project to another, and whether a running program could take it over.

    `online` is FALSE when a variable that both have cannot keep its value, or when the tasks differ; `reasons` says which.
    """
    before, after = declarations(old), declarations(new)
    a = compile_project(old.sources, old.config)
    b = compile_project(new.sources, new.config)
    va, vb = _variables(a), _variables(b)
    retyped = [
        {"path": vb[key]["path"], "old": _spelled(va[key]), "new": _spelled(vb[key])}
        for key in va
        if key in vb and any(va[key][name] != vb[key][name] for name in _FIXED)
    ]
    moved = [
        {"path": vb[key]["path"], "old": va[key]["located"], "new": vb[key]["located"]}
        for key in va
        if key in vb and va[key]["located"] != vb[key]["located"]
    ]
    tasks = a.symbols.get("tasks", []) != b.symbols.get("tasks", [])
    reasons = [f"{row['path']} was {row['old']}, is {row['new']}" for row in retyped]
    reasons += ["the tasks differ"] if tasks and a.ok and b.ok else []
    reasons += [
        f"the {word} project has errors" for word, one in (("old", a), ("new", b)) if not one.ok
    ]
    return {
        "format": 1,
        "same": before == after and not tasks and not moved,
        "online": not reasons,
        "reasons": reasons,
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(name for name in before if name in after and before[name] != after[name]),
        "variables": {
            "added": [vb[key]["path"] for key in vb if key not in va],
            "removed": [va[key]["path"] for key in va if key not in vb],
            "retyped": retyped,
            "moved": moved,
        },
        "tasks_changed": tasks,
    }


def _spelled(row: dict[str, Any]) -> str:
    kind = str(row["type"])
    if row["string_len"]:
        kind += f"[{row['string_len']}]"
    if row["dims"]:
        bounds = ", ".join(f"{low}..{high}" for low, high in row["dims"])
        kind = f"ARRAY[{bounds}] OF {kind}"
    return kind
