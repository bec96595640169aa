"""What the compiler says: file, line, column, code, what was expected, and a hint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a source; lines and columns from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error."""

    place: Place
    code: str
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, object]:
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class StopError(Exception):
    """Thrown where going on makes no sense; the parser or checker takes up again at the next statement."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """For people: the message, the line, and a caret under the place."""
    place = diagnostic.place
    lines = sources.get(place.file, "").splitlines()
    text = f"{place.file}:{place.line}:{place.column}: {diagnostic.code}: {diagnostic.message}"
    if place.line == len(lines) + 1 and place.column == 1:
        lines.append("")  # the end of the file
    if 1 <= place.line <= len(lines):
        source = lines[place.line - 1].replace("\t", " ")
        text += f"\n    {source}\n    {' ' * (place.column - 1)}^"
    if diagnostic.hint:
        text += f"\n    hint: {diagnostic.hint}"
    return text
