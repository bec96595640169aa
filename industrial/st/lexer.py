"""Characters to tokens. Keywords stay identifiers: the parser knows from the context what they are."""

from __future__ import annotations

import re
from typing import NamedTuple

from .errors import FILE_SHIFT, Sink, SourceFile


class Token(NamedTuple):
    """`kind`: id, int, real, typed (prefix#value), direct (%…), string, wstring, op, end. `up` is the upper case."""

    kind: str
    text: str
    up: str
    pos: int


_SPACE = re.compile(r"[ \t\r\n\f\v\ufeff]+")
_TOKEN = re.compile(
    r"""
    (?P<typed>(?:[A-Za-z_][A-Za-z0-9_]*)\#(?:
        (?<=[Tt]\#|[Ee]\#)-?(?:[0-9][0-9_.]*(?:d|h|ms|m|s|us|ns)_?)+(?![A-Za-z0-9#])       # T#1d2h, TIME#-1.5s
      | [0-9]+-[0-9]+-[0-9]+(?:-[0-9]+:[0-9]+(?::[0-9._]+)?)?                          # D#, DT#
      | [0-9]+:[0-9]+(?::[0-9._]+)?                                                     # TOD#
      | [0-9]+\#[0-9A-Za-z_]+
      | [+-]?[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_])
      | [A-Za-z_][A-Za-z0-9_]*
      | (?=['"])
    ))
  | (?P<id>[^\W\d]\w*)
  | (?P<based>[0-9]+\#[0-9A-Za-z_]+)
  | (?P<real>[0-9][0-9_]*\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?|[0-9][0-9_]*[eE][+-]?[0-9]+)
  | (?P<int>[0-9][0-9_]*)
  | (?P<direct>%[A-Za-z]*(?:[0-9]+(?:\.[0-9]+)*|\*))
  | (?P<op>:=|=>|\?=|<=|>=|<>|\*\*|\.\.|[-+*/&=<>()\[\],;:.^@])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_STRING = {
    "'": re.compile(r"'((?:[^'$\n]|\$[^\n])*)'"),
    '"': re.compile(r'"((?:[^"$\n]|\$[^\n])*)"'),
}
_MARK = re.compile(r"\(\*|\*\)|/\*|\*/")


def _comment_end(text: str, start: int) -> int:
    """The end of a nested comment, or -1."""
    close = "*)" if text[start] == "(" else "*/"
    opening = text[start : start + 2]
    depth, at = 0, start
    while found := _MARK.search(text, at):
        at = found.end()
        if found[0] == opening:
            depth += 1
        elif found[0] == close:
            depth -= 1
            if depth == 0:
                return at
    return -1


def tokenize(file: SourceFile, sink: Sink) -> tuple[list[Token], dict[int, str]]:
    """All tokens, an `end` token last, and the comments by the line on which they begin."""
    text, base, size = file.text, file.index << FILE_SHIFT, len(file.text)
    tokens: list[Token] = []
    comments: dict[int, str] = {}
    at = 0
    match, space, append = _TOKEN.match, _SPACE.match, tokens.append
    while True:
        if found := space(text, at):
            at = found.end()
        if at >= size:
            break
        char = text[at]
        if char in "(/" and text[at : at + 2] in ("(*", "/*"):
            end = _comment_end(text, at)
            if end < 0:
                sink.error(
                    base + at,
                    "syntax",
                    "this comment has no end",
                    hint="comments nest: each (* needs its *)",
                )
                break
            comments.setdefault(file.locate(at)[0], text[at + 2 : end - 2].strip(" *\t"))
            at = end
            continue
        if char == "/" and text.startswith("//", at):
            end = text.find("\n", at)
            end = size if end < 0 else end
            comments.setdefault(file.locate(at)[0], text[at + 2 : end].strip())
            at = end
            continue
        if char == "{":
            end = text.find("}", at)
            if end < 0:
                sink.error(base + at, "syntax", "this pragma has no end: } expected")
                break
            at = end + 1
            continue
        if char in "'\"":
            quoted = _STRING[char].match(text, at)
            if quoted is None:
                sink.error(
                    base + at,
                    "syntax",
                    f"this string has no end on its line: {char} expected",
                    hint="a quote inside is written $' ",
                )
                end = text.find("\n", at)
                at = size if end < 0 else end
                append(Token("string", "", "", base + at))
                continue
            append(Token("string" if char == "'" else "wstring", quoted[1], "", base + at))
            at = quoted.end()
            continue
        found = match(text, at)
        if found is None:
            sink.error(
                base + at, "syntax", f"a character that has no place in Structured Text: {char!r}"
            )
            at += 1
            continue
        kind, word = found.lastgroup or "op", found[0]
        append(Token("int" if kind == "based" else kind, word, word.upper(), base + at))
        at = found.end()
    append(Token("end", "", "", base + max(0, size - 1) if size else base))
    return tokens, comments
