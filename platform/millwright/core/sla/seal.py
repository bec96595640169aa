"""A month's inputs as a hash chain, and its check away from the database that wrote them.

Each row is hashed with the digest of the row before it; the seal is the hash of the seal before, the
environment, the month, and every part's last digest with the figures. A file of a sealed month holds all of
it, a row on each line with the digest up to it, so that a changed byte is told with its row.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Of the file; a reader refuses others.
FORMAT = 1
_MARK = "millwright-seal"
#: Characters of a row's digest that a seal keeps: to find it, not to prove it.
LINK = 16


def plain(value: Any) -> Any:
    """A value as JSON has it, the same each time: moments in UTC with microseconds."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, str | int | float | bool | dict | list | None):
        return value
    return str(value)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def link(digest: str, row: Iterable[Any]) -> str:
    """The digest up to a row, from the digest before it."""
    text = _text([plain(value) for value in row])
    return hashlib.sha256(f"{digest}\n{text}".encode()).hexdigest()


def chain(rows: Iterable[Iterable[Any]]) -> dict[str, Any]:
    """Count and digest of rows, each hashed with the digest of those before it; and the begin of each one's.

    The last digest proves all rows; the begins tell which one was changed.
    """
    digest, links = "", []
    for row in rows:
        digest = link(digest, row)
        links.append(digest[:LINK])
    return {"count": len(links), "digest": digest, "links": links}


def first_changed(sealed: Sequence[str], now: Sequence[str]) -> int | None:
    """The number, from 0, of the first row that is not the sealed one, is more, or is missing."""
    for number, (one, two) in enumerate(zip(sealed, now, strict=False)):
        if one != two:
            return number
    return None if len(sealed) == len(now) else min(len(sealed), len(now))


def seal_digest(previous: str, environment: str, month: str, inputs: Mapping[str, Any]) -> str:
    """The seal itself; `month` as YYYY-MM."""
    head = f"{previous}\n{environment}\n{month}\n"
    return hashlib.sha256(f"{head}{_text(inputs)}".encode()).hexdigest()


def write_file(
    head: Mapping[str, Any],
    parts: Mapping[str, Iterable[Iterable[Any]]],
    seal: Mapping[str, Any],
) -> Iterator[str]:
    """Lines of a sealed month's file. `head` names environment, id, month and number."""
    whole = hashlib.sha256()

    def line(value: Mapping[str, Any]) -> str:
        text = _text(value) + "\n"
        whole.update(text.encode())
        return text

    yield line({_MARK: FORMAT, **head})
    for part, rows in parts.items():
        digest = ""
        for row in rows:
            values = [plain(value) for value in row]
            digest = link(digest, values)
            yield line({"part": part, "row": values, "digest": digest})
    yield line({"seal": dict(seal)})
    yield _text({"file": whole.hexdigest()}) + "\n"


@dataclass(slots=True)
class Finding:
    """What a file of a sealed month says, and what is wrong with it, each with line and row."""

    head: dict[str, Any] = field(default_factory=dict)
    seal: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.wrong


def read_file(lines: Iterable[bytes]) -> Finding:
    """Check a file by itself: every row's digest, every part's count, the seal, and the bytes of the whole."""
    found = Finding()
    whole = hashlib.sha256()
    chains: dict[str, list[tuple[int, Any, str]]] = {}
    said = ""
    for number, raw in enumerate(lines, 1):
        try:
            value = json.loads(raw)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            found.wrong.append(f"line {number}: cannot be read; it was changed or cut")
            whole.update(raw)
            continue
        if "file" in value:
            said = str(value["file"])
            continue
        whole.update(raw)
        if number == 1:
            found.head = value
            if value.get(_MARK) != FORMAT:
                found.wrong.append(f"line 1: not a file of a sealed month of format {FORMAT}")
        elif "seal" in value and isinstance(value["seal"], dict):
            found.seal = value["seal"]
        else:
            _row(found, number, value, chains)
    if not said:
        found.wrong.append("the last line is missing: the file was cut")
    elif said != whole.hexdigest() and not found.wrong:
        found.wrong.append("bytes were changed that belong to no row: the first or the last lines")
    _sums(found, chains)
    return found


def _row(
    found: Finding,
    number: int,
    value: Mapping[str, Any],
    chains: dict[str, list[tuple[int, Any, str]]],
) -> None:
    part, row = str(value.get("part", "")), value.get("row")
    before = chains.setdefault(part, [])
    found.rows += 1
    key = row[0] if isinstance(row, list) and row else "?"
    if not isinstance(row, list) or link(before[-1][2] if before else "", row) != value.get(
        "digest"
    ):
        found.wrong.append(_told(number, part, len(before), key))
    # Goes on from what the row says, so that one changed row is told once.
    before.append((number, key, str(value.get("digest", ""))))


def _told(line: int, part: str, number: int, key: Any) -> str:
    return f"line {line}: {part or 'a row'}, row {number + 1} (key {key}) is not what was sealed"


def _sums(found: Finding, chains: Mapping[str, list[tuple[int, Any, str]]]) -> None:
    inputs = found.seal.get("inputs")
    if not isinstance(inputs, dict):
        found.wrong.append("there is no seal in it")
        return
    for part, sealed in inputs.items():
        if not isinstance(sealed, dict) or "digest" not in sealed:
            continue
        rows = chains.get(part, [])
        links = [digest[:LINK] for _line, _key, digest in rows]
        at = first_changed(sealed.get("links") or links, links)
        if at is not None and at < len(rows):
            told = _told(rows[at][0], part, at, rows[at][1])
            if told not in found.wrong:
                found.wrong.append(told)
        if len(rows) != sealed.get("count"):
            found.wrong.append(
                f"{part}: {len(rows)} rows are here, {sealed.get('count')} were sealed"
            )
        elif at is None and (rows[-1][2] if rows else "") != sealed["digest"]:
            found.wrong.append(f"{part}: the last digest is not the sealed one")
    if more := sorted(set(chains) - set(inputs)):
        found.wrong.append(f"{more[0]}: was not sealed")
    expected = seal_digest(
        str(found.seal.get("previous", "")),
        str(found.head.get("id", "")),
        str(found.head.get("month", "")),
        inputs,
    )
    if expected != found.seal.get("digest"):
        found.wrong.append("the seal is not that of these inputs, environment and month")


def follows(before: Finding, after: Finding) -> bool:
    """Whether one seal was made upon the other."""
    return bool(after.seal.get("previous") == before.seal.get("digest"))
