"""Programs that are still being written: checked and rehearsed in the same limited worker that compiles them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millwright.desk import Refused

from .builder import run_confined

#: A check is done while somebody types, a rehearsal while somebody waits.
CHECK_S, REHEARSE_S = 30.0, 90.0
MOST_FILES, MOST_BYTES = 500, 4 * 2**20


def check(words: Mapping[str, Any]) -> dict[str, Any]:
    """What the compiler says of a project's files, and the names that it knows.

    Returns `{"ok", "error", "diagnostics": [...], "symbols": [{"path", "type", "located"}]}`.
    """
    with tempfile.TemporaryDirectory(prefix="mw-check-") as scratch:
        folder = Path(scratch)
        project, out = _lay_out(folder, words)
        done = _run(
            ["build", str(project), "--output", str(out), "--compiler", "tcc", "--format", "json"],
            folder,
            out,
            CHECK_S,
        )
        report = _report(done)
        symbols = []
        if report.get("ok"):
            known = json.loads((out / "symbols.json").read_text(encoding="utf-8"))["symbols"]
            symbols = [
                {"path": row["path"], "type": row["type"], "located": row.get("located", "")}
                for row in known[:2000]
            ]
    return {
        "ok": bool(report.get("ok")),
        "error": str(report.get("error", "")),
        "diagnostics": list(report.get("diagnostics", ()))[:200],
        "symbols": symbols,
    }


def rehearse(words: Mapping[str, Any]) -> dict[str, Any]:
    """Run the suites of a project in virtual time, with a trace of each test.

    Returns `{"ok", "error", "suites": [...]}` as `vplc test` reports them.
    """
    with tempfile.TemporaryDirectory(prefix="mw-rehearse-") as scratch:
        folder = Path(scratch)
        project, out = _lay_out(folder, words)
        if not any((project / "tests").glob("*.y*ml")):
            raise Refused("the project has no scenario: a file tests/….yaml")
        done = _run(
            ["test", str(project), "--trace", "auto", "--format", "json"], folder, out, REHEARSE_S
        )
        if done.returncode not in (0, 1):
            return {"ok": False, "error": _without(done.stderr, project), "suites": []}
        report = _report(done)
    return {"ok": done.returncode == 0, "error": "", "suites": list(report.get("suites", ()))}


def compare(words: Mapping[str, Any]) -> dict[str, Any]:
    """What changed between two projects, and whether a running controller could take the new one over."""
    with tempfile.TemporaryDirectory(prefix="mw-compare-") as scratch:
        folder = Path(scratch)
        old, out = _lay_out(folder, words, "old")
        new, _ = _lay_out(folder, words, "new")
        done = _run(["diff", str(old), str(new), "--format", "json"], folder, out, CHECK_S)
        if done.returncode not in (0, 1) or not done.stdout.strip():
            text = _without(_without(done.stderr, old), new)
            raise Refused(text or "the versions cannot be compared")
        return _report(done)


def _lay_out(folder: Path, words: Mapping[str, Any], key: str = "files") -> tuple[Path, Path]:
    files = words.get(key)
    if not isinstance(files, dict) or not files or len(files) > MOST_FILES:
        raise Refused(f"{key}: 1 to {MOST_FILES} are expected")
    if sum(len(str(text)) for text in files.values()) > MOST_BYTES:
        raise Refused(f"{key}: more than {MOST_BYTES} characters")
    project, out = folder / (key if key != "files" else "project"), folder / "out"
    for path, text in files.items():
        place = project / path
        if not place.resolve().is_relative_to(project.resolve()):
            raise Refused(f"{path}: leads out of the project")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(text), encoding="utf-8")
    out.mkdir(exist_ok=True)
    return project, out


def _run(
    words: list[str], folder: Path, out: Path, wall_s: float
) -> subprocess.CompletedProcess[str]:
    try:
        return run_confined(
            [sys.executable, "-m", "industrial.cli", *words], folder, out, wall_s=wall_s
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"it took longer than {wall_s:g} s") from None


def _report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Refused(f"the worker ended with {done.returncode}: {last[:300]}") from None


def _without(text: str, project: Path) -> str:
    return text.replace(f"{project}/", "").strip()[:4000]


#: What the orchestrator's desk offers of this.
WORKS = {"check": check, "rehearse": rehearse, "compare": compare}
