"""Mappings as CSV, both ways: for people who have their register lists in a spreadsheet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from .models import TagMapping

COLUMNS = (
    "tag",
    "area",
    "register",
    "data_type",
    "direction",
    "scale",
    "offset",
    "fail",
    "substitute",
)
_NEEDED = ("tag", "area", "register", "direction")
_DEFAULTS: dict[str, Any] = {
    "data_type": "INT",
    "scale": 1.0,
    "offset": 0.0,
    "fail": "hold",
    "substitute": 0.0,
}
_NUMBERS = ("scale", "offset", "substitute")
MOST_ROWS, MOST_BYTES = 2000, 512 * 1024


def to_csv(rows: Iterable[TagMapping]) -> str:
    """The mappings as a table with a head, which `from_csv` reads again."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        values = [getattr(row, name) for name in COLUMNS]
        # Text that a spreadsheet would take for a formula is marked as text; numbers stay numbers.
        writer.writerow(
            [
                f"'{value}" if str(value)[:1] in "=+-@" and isinstance(value, str) else value
                for value in values
            ]
        )
    return file.getvalue()


def from_csv(text: str) -> list[dict[str, Any]]:
    """Rows as `set_mappings` takes them. Semicolons with decimal commas are read, too.

    Raises:
        ValidationError: names row, column and rule.
    """
    if len(text.encode()) > MOST_BYTES:
        raise wrong("CSV", _("at most %(most)s KiB") % {"most": MOST_BYTES // 1024})
    lines = text.removeprefix("\ufeff").lstrip("\r\n")
    head, _line, _rest = lines.partition("\n")
    separator = max(";", "\t", ",", key=head.count)
    try:
        table = [row for row in csv.reader(io.StringIO(lines), delimiter=separator) if any(row)]
    except csv.Error as error:
        raise wrong("CSV", str(error)) from None
    return rows_of(table, "CSV", decimal="." if separator == "," else ",")


def rows_of(table: Sequence[Sequence[str]], kind: str, *, decimal: str) -> list[dict[str, Any]]:
    """A table with a head as `set_mappings` takes it. `kind` is what messages call it, `decimal` the mark in numbers.

    Raises:
        ValidationError: names row, column and rule.
    """

    def _wrong(rule: str) -> ValidationError:
        return wrong(kind, rule)

    if not table:
        raise _wrong(_("there is no row"))
    names = [name.strip().lower() for name in table[0]]
    if missing := [name for name in _NEEDED if name not in names]:
        raise _wrong(_("the first row misses %(columns)s") % {"columns": ", ".join(missing)})
    if unknown := sorted({name for name in names if name not in COLUMNS}):
        raise _wrong(
            _("%(columns)s: unknown; there are %(known)s")
            % {"columns": ", ".join(unknown), "known": ", ".join(COLUMNS)}
        )
    if len(set(names)) < len(names):
        raise _wrong(_("a column stands twice in the first row"))
    if len(table) - 1 > MOST_ROWS:
        raise _wrong(_("%(n)s rows; at most %(most)s") % {"n": len(table) - 1, "most": MOST_ROWS})
    rows, errors = [], []
    for number, cells in enumerate(table[1:], 1):
        if len(cells) > len(names):
            errors.append(_("row %(n)s: more cells than the first row") % {"n": number})
            continue
        row = dict(_DEFAULTS)
        for name, cell in zip(names, cells, strict=False):
            value = cell.strip().removeprefix("'")
            if name not in _NUMBERS:
                row[name] = value or row.get(name, "")
            elif value:
                row[name] = _number(value, decimal)
                if row[name] is None:
                    errors.append(
                        _("row %(n)s: %(column)s: %(value)r is not a number")
                        % {"n": number, "column": name, "value": value}
                    )
        rows.append({"tag": "", "area": "", "register": "", "direction": "", **row})
    if errors:
        raise ValidationError({"mappings": errors})
    return rows


def wrong(kind: str, rule: str) -> ValidationError:
    """A table of this kind that cannot be read at all, with the rule that it breaks."""
    return ValidationError({"mappings": [f"{kind}: {rule}"]})


def _number(text: str, decimal: str) -> float | None:
    try:
        value = float(text.replace(decimal, "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
