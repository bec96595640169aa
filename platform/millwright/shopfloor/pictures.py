"""Process pictures: picture.toml of a program says which symbol shows which tag, and where.

format = 1
title = "Filling line"

[[element]]
kind = "tank"          # tank, valve, conveyor, motor, lamp or value
tag = "Main.level"
label = "Tank"
x = 0                  # column and row of the grid, from 0
y = 0
low = 0                # of tank: the values of empty and full
high = 10000
scale = 0.01           # of the number that is shown
unit = "%"

[[pipe]]
from = [0, 0]
to = [1, 0]
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models.fields.json import KeyTransform
from django.utils.translation import gettext as _

from millwright.environments.models import Machine

PICTURE = "picture.toml"
KINDS = ("tank", "valve", "conveyor", "motor", "lamp", "value")
#: Cells of the grid, and the side of one in the drawing's units.
COLUMNS, ROWS, SIDE = 8, 6, 160
MOST_ELEMENTS = 48


@dataclass(frozen=True, slots=True)
class Element:
    """A symbol bound to a tag; `left` and `top` are its cell's corner in the drawing."""

    kind: str
    tag: str
    label: str
    left: int
    top: int
    low: float
    high: float
    scale: float
    unit: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of `width` × `height` units. `pipes`: lines (x1, y1, x2, y2) beneath the symbols."""

    title: str
    width: int
    height: int
    elements: tuple[Element, ...]
    pipes: tuple[tuple[int, int, int, int], ...]


def _wrong(where: str, rule: str) -> ValidationError:
    return ValidationError({"files": f"{PICTURE}: {where}: {rule}"})


def _text(row: dict[str, Any], name: str, where: str, most: int, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise _wrong(f"{where}.{name}", _("text of at most %(most)s characters") % {"most": most})
    return value


def _number(row: dict[str, Any], name: str, where: str, default: float) -> float:
    value = row.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(f"{where}.{name}", _("a number"))
    return float(value)


def _cell(x: Any, y: Any, where: str) -> tuple[int, int]:
    if type(x) is not int or type(y) is not int or not (0 <= x < COLUMNS and 0 <= y < ROWS):
        raise _wrong(
            where,
            _("column from 0 to %(columns)s and row from 0 to %(rows)s")
            % {"columns": COLUMNS - 1, "rows": ROWS - 1},
        )
    return x * SIDE, y * SIDE


def _rows(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = data.get(name, [])
    if not isinstance(rows, list) or len(rows) > MOST_ELEMENTS:
        raise _wrong(name, _("at most %(most)s of them") % {"most": MOST_ELEMENTS})
    return [row if isinstance(row, dict) else {} for row in rows]


def parse_picture(text: str) -> Picture:
    """Read picture.toml.

    Raises:
        ValidationError: names field and rule.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValidationError({"files": f"{PICTURE}: {error}"}) from None
    if data.get("format") != 1:
        raise _wrong("format", "1")
    elements = []
    for number, row in enumerate(_rows(data, "element")):
        where = f"element[{number}]"
        kind = row.get("kind")
        if kind not in KINDS:
            raise _wrong(f"{where}.kind", ", ".join(KINDS))
        left, top = _cell(row.get("x"), row.get("y"), f"{where}.x, y")
        tag = _text(row, "tag", where, 200)
        low, high = _number(row, "low", where, 0), _number(row, "high", where, 100)
        if low >= high:
            raise _wrong(f"{where}.high", _("above low"))
        elements.append(
            Element(
                kind,
                tag,
                _text(row, "label", where, 24, tag),
                left,
                top,
                low,
                high,
                _number(row, "scale", where, 1),
                _text(row, "unit", where, 16, ""),
            )
        )
    if not elements:
        raise _wrong("element", _("at least one"))
    pipes = []
    for number, row in enumerate(_rows(data, "pipe")):
        ends = []
        for name in ("from", "to"):
            place = row.get(name)
            x, y = place if isinstance(place, list) and len(place) == 2 else (None, None)
            ends += [value + SIDE // 2 for value in _cell(x, y, f"pipe[{number}].{name}")]
        pipes.append((ends[0], ends[1], ends[2], ends[3]))
    width = max(element.left for element in elements) + SIDE
    height = max(element.top for element in elements) + SIDE
    return Picture(
        _text(data, "title", "picture", 80, ""), width, height, tuple(elements), tuple(pipes)
    )


def picture_of(machine: Machine) -> Picture | None:
    """The picture of the program that runs; None if it has none."""
    text = (
        machine.deployments.filter(state="active")
        .annotate(picture=KeyTransform(PICTURE, "program_version__files"))
        .values_list("picture", flat=True)
        .first()
    )
    if not text:
        return None
    try:
        return parse_picture(text)
    except ValidationError:
        # It was checked when it came; rules that became stricter since must not take the page away.
        return None
