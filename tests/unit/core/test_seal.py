"""A sealed month's file: whole as it was written, and every changed byte told, with its row."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from millwright.core.sla.seal import chain, follows, read_file, seal_digest, write_file

ROWS = {
    "intervals": [
        (1, "a", dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC), "unknown"),
        (2, "a", dt.datetime(2026, 6, 11, 12, tzinfo=dt.UTC), "Überlauf"),
        (7, "a", None, 0.999),
    ],
    "windows": [],
    "contracts": [(3, {"shifts": []}, True)],
}
HEAD = {"environment": "filling-line-1", "id": "e1", "month": "2026-06", "number": 1}


def file_of(previous: str = "", **head: object) -> list[bytes]:
    inputs = {
        "at": "2026-07-02T00:00:00+00:00",
        **{part: {"last": 9, **chain(rows)} for part, rows in ROWS.items()},
        "figures": {"down_us": 4},
    }
    top = {**HEAD, **head}
    digest = seal_digest(previous, "e1", "2026-06", inputs)
    seal = {"inputs": inputs, "previous": previous, "digest": digest}
    return [line.encode() for line in write_file(top, ROWS, seal)]


def test_a_file_is_whole_as_it_was_written() -> None:
    found = read_file(file_of())
    assert found.wrong == []
    assert found.rows == 4
    assert found.head["environment"] == "filling-line-1"


@pytest.mark.parametrize("change", [b"x", b"7", b'"', b"\n"])
def test_no_byte_can_be_changed(change: bytes) -> None:
    whole = b"".join(file_of())
    for place in range(len(whole)):
        if whole[place : place + 1] == change:
            continue
        changed = whole[:place] + change + whole[place + 1 :]
        assert not read_file(changed.splitlines(keepends=True)).intact, place


def test_a_changed_row_is_told_once_and_by_name() -> None:
    lines = file_of()
    lines[2] = lines[2].replace(b"berlauf", b"berfall")
    (told, *more) = read_file(lines).wrong
    assert told == "line 3: intervals, row 2 (key 2) is not what was sealed"
    assert more == []


def test_a_row_left_out_added_or_exchanged_is_told() -> None:
    lines = file_of()
    without = read_file(lines[:2] + lines[3:]).wrong
    assert any("intervals: 2 rows are here, 3 were sealed" in line for line in without)
    twice = read_file(lines[:2] + lines[1:]).wrong
    assert any("4 rows are here, 3 were sealed" in line for line in twice)
    turned = read_file([lines[0], lines[2], lines[1], *lines[3:]]).wrong
    assert any("row 1 (key 2)" in line for line in turned)
    strange = lines[1].replace(b'"intervals"', b'"rumours"')
    assert any("rumours" in line for line in read_file([lines[0], strange, *lines[1:]]).wrong)
    assert any("cut" in line for line in read_file(lines[:-1]).wrong)
    assert not read_file([]).intact
    assert not read_file([b"[]\n", b"\xff\n"]).intact


def test_a_rewritten_file_is_another_seal() -> None:
    """Whoever writes all of it anew gets a file that is whole, and whose digest is not the one on paper."""
    honest = read_file(file_of())
    lines = [json.loads(line) for line in file_of()]
    inputs = lines[-2]["seal"]["inputs"]
    inputs["figures"]["down_us"] = 0
    seal = {
        "inputs": inputs,
        "previous": "",
        "digest": seal_digest("", "e1", "2026-06", inputs),
    }
    forged = read_file([line.encode() for line in write_file(HEAD, ROWS, seal)])
    assert forged.intact
    assert forged.seal["digest"] != honest.seal["digest"]


def test_seals_stand_upon_one_another() -> None:
    one = read_file(file_of())
    two = read_file(file_of(one.seal["digest"], number=2))
    assert two.intact
    assert follows(one, two)
    assert not follows(one, read_file(file_of("0" * 64, number=2)))
