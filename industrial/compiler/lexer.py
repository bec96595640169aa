"""Text to tokens. Keywords are contextual: the parser decides what a word means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .diagnostics import Diagnostic, Place

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>//[^\n]*|\{[^}]*\})
    |(?P<block>\(\*)
    |(?P<located>%[IQM][XBWDL]?\d+(\.\d+)?)
    |(?P<typed>[A-Za-z_]\w*\#[-+\w.]+)
    |(?P<based>\d+\#[0-9A-Fa-f_]+)
    |(?P<real>\d[\d_]*\.\d[\d_]*([eE][-+]?\d+)?)
    |(?P<integer>\d[\d_]*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<string>'(?:\$.|[^'$\n])*')
    |(?P<sign>:=|=>|<>|<=|>=|\*\*|\.\.|[-+*/=<>()\[\],;:.&])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` as written, `key` in upper case."""

    kind: str
    text: str
    key: str
    place: Place


def tokens_of(file: str, source: str) -> tuple[list[Token], list[Diagnostic]]:
    """All tokens, ended by one of kind "end", and what could not be read."""
    found: list[Token] = []
    errors: list[Diagnostic] = []
    at, line, begin = 0, 1, 0
    while at < len(source):
        place = Place(file, line, at - begin + 1)
        match = _TOKEN.match(source, at)
        if match is None:
            errors.append(
                Diagnostic(place, "E001", f"the character {source[at]!r} has no meaning here")
            )
            at += 1
            continue
        kind, text = match.lastgroup or "", match.group()
        if kind == "block":
            end = _comment_end(source, at)
            if end < 0:
                errors.append(
                    Diagnostic(
                        place, "E002", "this comment is never closed", "comments end with *)"
                    )
                )
                end = len(source)
            text = source[at:end]
        elif kind not in ("space", "comment"):
            found.append(Token(kind, text, text.upper(), place))
        newlines = text.count("\n")
        if newlines:
            line += newlines
            begin = at + text.rfind("\n") + 1
        at += len(text)
    found.append(Token("end", "", "", Place(file, line, at - begin + 1)))
    return found, errors


def _comment_end(source: str, at: int) -> int:
    """Comments nest."""
    depth = 0
    while at < len(source):
        if source.startswith("(*", at):
            depth += 1
            at += 2
        elif source.startswith("*)", at):
            depth -= 1
            at += 2
            if depth == 0:
                return at
        else:
            at += 1
    return -1
