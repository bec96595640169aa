"""What the compiler says of a source: positions, diagnostics, and the exceptions of this package."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

#: A position is one number: the file's index in the high bits, the character's offset below.
FILE_SHIFT = 32
OFFSET_MASK = (1 << FILE_SHIFT) - 1


class StError(Exception):
    """Anything this package refuses; the text is for people."""


class BuildError(StError):
    """The C compiler is missing or refused what was emitted; its words are in the text."""


class SourceFile:
    """One source text and its line starts."""

    def __init__(self, path: str, text: str, index: int = 0, *, library: bool = False) -> None:
        self.path, self.text, self.index, self.library = path, text, index, library
        self._starts = [0]
        find, at = text.find, 0
        while (at := find("\n", at) + 1) > 0:
            self._starts.append(at)

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line, without its end."""
        start = self._starts[line - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else None].rstrip("\r")


def decode_source(data: bytes) -> str:
    """UTF-8, or the 8-bit text of older tools (Windows-1252, unknown bytes kept as they are)."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return data.decode("latin-1").replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `line` and `column` count from 1; `code` is a stable slug for programs."""

    severity: str
    code: str
    message: str
    file: str
    line: int
    column: int
    source: str = ""
    length: int = 1
    hint: str = ""
    pou: str = ""

    def as_dict(self) -> dict[str, object]:
        """As in the JSON reports."""
        row: dict[str, object] = {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
        }
        if self.hint:
            row["hint"] = self.hint
        if self.pou:
            row["pou"] = self.pou
        return row

    def render(self) -> str:
        """For a terminal: place, text, the line and a caret below it."""
        head = (
            f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message} [{self.code}]"
        )
        if not self.source:
            return head + (f"\n  hint: {self.hint}" if self.hint else "")
        # Tabs are kept, so that the caret stands below the character it means.
        lead = "".join("\t" if char == "\t" else " " for char in self.source[: self.column - 1])
        width = max(1, min(self.length, len(self.source) - self.column + 1))
        return f"{head}\n    {self.source}\n    {lead}{'^' * width}" + (
            f"\n  hint: {self.hint}" if self.hint else ""
        )


@dataclass(slots=True)
class Sink:
    """Collects diagnostics; at most one per place, so that one slip is told once."""

    files: list[SourceFile]
    items: list[Diagnostic] = field(default_factory=list)
    pou: str = ""
    _seen: set[tuple[int, str]] = field(default_factory=set)

    def error(self, pos: int, code: str, message: str, *, hint: str = "", length: int = 1) -> None:
        """Record an error at a position."""
        self._add("error", pos, code, message, hint, length)

    def warning(
        self, pos: int, code: str, message: str, *, hint: str = "", length: int = 1
    ) -> None:
        """Record a warning at a position."""
        self._add("warning", pos, code, message, hint, length)

    def _add(
        self, severity: str, pos: int, code: str, message: str, hint: str, length: int
    ) -> None:
        if (pos, code) in self._seen:
            return
        self._seen.add((pos, code))
        file = self.files[pos >> FILE_SHIFT]
        line, column = file.locate(pos & OFFSET_MASK)
        self.items.append(
            Diagnostic(
                severity,
                code,
                message,
                file.path,
                line,
                column,
                file.line_text(line),
                length,
                hint,
                self.pou,
            )
        )

    @property
    def failed(self) -> bool:
        """Whether any error was recorded."""
        return any(item.severity == "error" for item in self.items)
