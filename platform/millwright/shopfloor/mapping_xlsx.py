"""Mappings as a workbook (XLSX, ISO/IEC 29500), both ways: the first sheet, a head and a row for each point.

A workbook is a ZIP of XML. It comes from people, so that sizes are bounded before anything is unpacked, and
documents with a type declaration, in which entities could be defined, are refused.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from .mapping_csv import COLUMNS, MOST_BYTES, MOST_ROWS, rows_of, wrong
from .models import TagMapping

TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: How every ZIP that is not empty begins.
MAGIC = b"PK\x03\x04"
#: Bytes of one part of a workbook, unpacked, and columns that are looked at.
_MOST_PART, _MOST_COLUMNS = 8 * 2**20, 64
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_CELL = re.compile(r"([A-Z]{1,3})[0-9]+")
#: What XML cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def to_xlsx(rows: Iterable[TagMapping]) -> bytes:
    """The mappings as a workbook, which `from_xlsx` reads again. Text is text: nothing becomes a formula."""
    table = [COLUMNS, *([getattr(row, name) for name in COLUMNS] for row in rows)]
    lines = "".join(
        f'<row r="{number}">{"".join(_cell(column, number, value) for column, value in enumerate(cells))}</row>'
        for number, cells in enumerate(table, 1)
    )
    content = f"{_PACKAGE}/content-types"
    relations = f"{_PACKAGE}/relationships"
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{content}"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{sheet}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{sheet}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" Type="{_RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATION}"><sheets><sheet name="mappings" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" Type="{_RELATION}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>',
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, _HEAD + text)
    return file.getvalue()


def _cell(column: int, row: int, value: Any) -> str:
    place = f"{chr(ord('A') + column)}{row}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<c r="{place}"><v>{value!r}</v></c>'
    text = escape(_FORBIDDEN.sub("", str(value)))
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def from_xlsx(data: bytes) -> list[dict[str, Any]]:
    """Rows of the first sheet as `set_mappings` takes them.

    Raises:
        ValidationError: names row, column and rule.
    """
    if len(data) > MOST_BYTES:
        raise wrong("XLSX", _("at most %(most)s KiB") % {"most": MOST_BYTES // 1024})
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            table = _table(book)
    except (
        zipfile.BadZipFile,
        ET.ParseError,
        KeyError,
        RuntimeError,
        OSError,
        NotImplementedError,
    ):
        raise wrong("XLSX", _("this is no workbook, or a damaged or encrypted one")) from None
    return rows_of(table, "XLSX", decimal=".")


def _part(book: zipfile.ZipFile, name: str) -> ET.Element:
    with book.open(name) as file:
        text = file.read(_MOST_PART + 1)
    if len(text) > _MOST_PART:
        raise wrong("XLSX", _("at most %(most)s KiB") % {"most": _MOST_PART // 1024})
    # In whatever encoding: a declaration has this word, and a workbook has none.
    if b"DOCTYPE" in text.replace(b"\0", b""):
        raise wrong("XLSX", _("this is no workbook, or a damaged or encrypted one"))
    return ET.fromstring(text)  # noqa: S314 - without a type declaration there are no entities


def _sheet(book: zipfile.ZipFile) -> ET.Element:
    """The first sheet, wherever the workbook keeps it."""
    first = _part(book, "xl/workbook.xml").find(f"{{{_MAIN}}}sheets/{{{_MAIN}}}sheet")
    if first is None:
        raise KeyError("a workbook without sheets")
    wanted = first.get(f"{{{_RELATION}}}id")
    for row in _part(book, "xl/_rels/workbook.xml.rels"):
        if row.get("Id") == wanted:
            target = row.get("Target", "")
            path = target if target.startswith("/") else f"/xl/{target}"
            return _part(book, posixpath.normpath(path).lstrip("/"))
    raise KeyError("a sheet without a part")


def _table(book: zipfile.ZipFile) -> list[list[str]]:
    shared = []
    if "xl/sharedStrings.xml" in book.namelist():
        shared = [_text(item) for item in _part(book, "xl/sharedStrings.xml")]
    table = []
    for row in _sheet(book).iterfind(f"{{{_MAIN}}}sheetData/{{{_MAIN}}}row"):
        cells: list[str] = []
        for number, cell in enumerate(row.iterfind(f"{{{_MAIN}}}c")):
            column = _column(cell.get("r", ""), number)
            if column >= _MOST_COLUMNS:
                break
            cells += [""] * (column + 1 - len(cells))
            cells[column] = _value(cell, shared)
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            table.append(cells)
        if len(table) > MOST_ROWS + 1:
            raise wrong(
                "XLSX", _("%(n)s rows; at most %(most)s") % {"n": len(table) - 1, "most": MOST_ROWS}
            )
    return table


def _text(item: ET.Element) -> str:
    """A string with its runs of different dress, without the reading aids of East Asian text."""
    found = [item.find(f"{{{_MAIN}}}t"), *item.findall(f"{{{_MAIN}}}r/{{{_MAIN}}}t")]
    return "".join(run.text or "" for run in found if run is not None)


def _column(place: str, number: int) -> int:
    """A is 0; a cell that does not say where it is follows the one before."""
    match = _CELL.fullmatch(place)
    if match is None:
        return number
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column - 1


def _value(cell: ET.Element, shared: list[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inner = cell.find(f"{{{_MAIN}}}is")
        return "" if inner is None else _text(inner)
    value = cell.findtext(f"{{{_MAIN}}}v") or ""
    if kind == "s":
        if not value.isdecimal() or int(value) >= len(shared):
            raise KeyError("a text that the workbook does not have")
        return shared[int(value)]
    if kind == "e":
        raise ValidationError(
            {"mappings": [_("XLSX: cell %(place)s: %(value)s") % {"place": cell.get("r", ""), "value": value}]}
        )  # fmt: skip
    if kind == "n" and value:
        try:
            number = float(value)
        except ValueError:
            return value
        # A register is 3, and not 3.0.
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else value
    return value
