"""Programs that are being written: what the compiler says, how they behave in virtual time, what differs.

Nothing is compiled here: the orchestrator's desk has it done in the unprivileged worker.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

from millwright.accounts.permissions import require
from millwright.desk import ask
from millwright.settings import get_settings

from .actions import complete_files, validate_files
from .models import ProgramVersion

#: A project for people who begin: a PROGRAM that does something, and a scenario that shows it.
STARTER = {
    "src/main.st": """PROGRAM Main
VAR
    start   AT %IX0.0 : BOOL;          // a push button
    stop    AT %IX0.1 : BOOL;          // opens the circuit
    motor   AT %QX0.0 : BOOL;
    starts  AT %QW1   : UINT;          // how often it was started
END_VAR
VAR
    began : R_TRIG;
END_VAR

motor := (motor OR start) AND NOT stop;
began(CLK := motor);
IF began.Q THEN
    starts := starts + 1;
END_IF;
END_PROGRAM
""",
    "tests/main.yaml": """format: 1
name: main
tests:
  - name: the motor keeps running until stop
    steps:
      - set: {Main.start: true}
      - scan: 2
      - set: {Main.start: false}
      - hold: 2s
        expect: {Main.motor: true, Main.starts: 1}
      - set: {Main.stop: true}
      - scan: 2
      - expect: {Main.motor: false}
""",
}


def _whole(files: dict[str, str]) -> dict[str, str]:
    validate_files(files)
    return complete_files(files, "draft", 1)


def check(actor: Any, project: Any, files: dict[str, str]) -> dict[str, Any]:
    """What the compiler says of files that are not saved yet.

    Raises:
        ValidationError: they are no project.
        DeskError: no orchestrator does it now.
    """
    require(actor, "engineer", project)
    try:
        whole = _whole(files)
    except ValidationError as error:
        # While one types, a project that is not one yet is a finding like others.
        texts = [text for texts in error.message_dict.values() for text in texts]
        return {"ok": False, "error": "; ".join(texts), "diagnostics": [], "symbols": []}
    return ask(get_settings().desk_socket, "check", timeout_s=60.0, files=whole)


def rehearse(actor: Any, project: Any, files: dict[str, str]) -> dict[str, Any]:
    """Run the project's scenarios in virtual time; each with the trace of its variables.

    Raises:
        ValidationError: they are no project.
        DeskError: there is no scenario, it took too long, or no orchestrator does it now.
    """
    require(actor, "engineer", project)
    return ask(get_settings().desk_socket, "rehearse", timeout_s=120.0, files=_whole(files))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a comparison: `kind` is same, added, removed or skip; numbers count from 1."""

    kind: str
    old: int | None
    new: int | None
    text: str


def file_differences(old: ProgramVersion, new: ProgramVersion) -> list[tuple[str, list[Line]]]:
    """File by file, the lines that differ with three lines around them; equal files are left out."""
    found = []
    for path in sorted({*old.files, *new.files}):
        before, after = old.files.get(path, ""), new.files.get(path, "")
        if before != after:
            found.append((path, _lines(before.splitlines(), after.splitlines())))
    return found


def _lines(before: list[str], after: list[str]) -> list[Line]:
    rows: list[Line] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for number, group in enumerate(matcher.get_grouped_opcodes(3)):
        if number or group[0][1] > 0:
            rows.append(Line("skip", None, None, "…"))
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                rows += [Line("same", a + 1, b1 + a - a1 + 1, before[a]) for a in range(a1, a2)]
                continue
            rows += [Line("removed", a + 1, None, before[a]) for a in range(a1, a2)]
            rows += [Line("added", None, b + 1, after[b]) for b in range(b1, b2)]
    return rows


def online_verdict(old: ProgramVersion, new: ProgramVersion) -> dict[str, Any]:
    """Whether a controller that runs `old` could take `new` over, as the compiler sees it.

    Returns `{"same", "online", "reasons", "added", "removed", "changed", "variables"}`.

    Raises:
        DeskError: one of them does not compile, or no orchestrator does it now.
    """
    return ask(get_settings().desk_socket, "compare", timeout_s=60.0, old=old.files, new=new.files)
