"""Mappings as workbooks: our own come back the same, those of spreadsheets are read, hostile ones are refused."""

from __future__ import annotations

import io
import zipfile
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from millwright.environments.models import Machine
from millwright.shopfloor import actions
from millwright.shopfloor.mapping_csv import MOST_BYTES
from millwright.shopfloor.mapping_xlsx import TYPE, from_xlsx, to_xlsx
from millwright.shopfloor.models import Device, TagMapping

from tests.integration.shopfloor.test_mappings_as_tables import pair
from tests.support.plant import Plant, signed_in

__all__ = ["pair"]

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
HEAD = ("tag", "area", "register", "direction")


def _book(cells: str, strings: tuple[str, ...] = HEAD, shared: str | bytes | None = None) -> bytes:
    """A workbook as spreadsheets write it: shared strings, a sheet that has another name, gaps between cells."""
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    texts = "".join(f"<si><t>{text}</t></si>" for text in strings)
    head = "".join(
        f'<c r="{letter}1" t="s"><v>{number}</v></c>'
        for number, letter in enumerate("ABCD"[: len(strings)])
    )
    for letter, name in (("E", "data_type"), ("F", "scale")):
        head += f'<c r="{letter}1" t="inlineStr"><is><t>{name}</t></is></c>'
    parts: dict[str, str | bytes] = {
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{R}"><sheets>'
        '<sheet name="Punkte" sheetId="3" r:id="rId7"/><sheet name="old" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        '<Relationship Id="rId1" Type="x" Target="worksheets/sheet1.xml"/>'
        '<Relationship Id="rId7" Type="x" Target="/xl/worksheets/sheet3.xml"/></Relationships>',
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{texts}<si><r><t>Main</t></r><r><t>.level</t></r>'
        '<rPh sb="0" eb="1"><t>no</t></rPh></si></sst>',
        "xl/worksheets/sheet3.xml": f'<worksheet xmlns="{MAIN}"><sheetData><row r="1">{head}</row>'
        f"{cells}</sheetData></worksheet>",
    }
    if shared is not None:
        parts["xl/sharedStrings.xml"] = shared
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return file.getvalue()


def test_what_goes_out_comes_back_the_same(plant: Plant, pair: tuple[Machine, Device]) -> None:
    machine, device = pair
    points: list[dict[str, Any]] = [
        {"tag": "Main.level", "area": "input", "register": "3", "direction": "in", "data_type": "UINT", "scale": -0.5, "offset": 1.25, "fail": "zero"},
        {"tag": "Main.speed", "area": "holding", "register": "9", "direction": "out", "data_type": "INT"},
    ]  # fmt: skip
    actions.set_mappings(plant.engineer, machine, device, points)
    before = list(machine.mappings.order_by("tag").values_list("tag", "register", "scale", "fail"))
    data = to_xlsx(machine.mappings.order_by("tag"))
    actions.set_mappings(plant.engineer, machine, device, from_xlsx(data))
    assert list(machine.mappings.order_by("tag").values_list("tag", "register", "scale", "fail")) == before  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        for name in book.namelist():
            ET.fromstring(book.read(name))  # noqa: S314 - written a line above


def test_text_stays_text_and_never_becomes_a_formula() -> None:
    row = TagMapping(
        tag="=cmd()|'x'!A1", area="node", register='ns=2;s=A<B&"C"\x01', direction="in"
    )
    data = to_xlsx([row])
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        sheet = book.read("xl/worksheets/sheet1.xml")
    assert b"<f" not in sheet
    (found,) = from_xlsx(data)
    assert (found["tag"], found["register"]) == ("=cmd()|'x'!A1", 'ns=2;s=A<B&"C"')


def test_a_spreadsheets_own_file_is_read() -> None:
    cells = (
        '<row r="4"><c r="A4" t="s"><v>4</v></c><c r="B4" t="str"><v>input</v></c><c r="C4"><v>7.0</v></c>'
        '<c r="D4" t="inlineStr"><is><t>in</t></is></c><c r="F4"><v>0.1</v></c></row>'
        '<row r="5"><c r="A5"/><c r="F5" t="inlineStr"><is><t> </t></is></c></row>'
    )
    (found,) = from_xlsx(_book(cells))
    assert found == {
        "tag": "Main.level",
        "area": "input",
        "register": "7",
        "direction": "in",
        "data_type": "INT",
        "scale": 0.1,
        "offset": 0.0,
        "fail": "hold",
        "substitute": 0.0,
    }, "runs of a string are one, a gap is the default, an empty row is none"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04 nothing more", "no workbook"),
        (b"PK\x03\x04" + b"x" * MOST_BYTES, "at most 512 KiB"),
        (_book("", strings=("tag",)), "misses area, register, direction"),
        (_book('<row><c t="s"><v>99</v></c></row>'), "no workbook"),
        (_book('<row><c r="A2" t="e"><v>#REF!</v></c></row>'), "cell A2: #REF!"),
        (_book('<row><c r="F2" t="inlineStr"><is><t>much</t></is></c></row>'), "row 1: scale: 'much' is not a number"),
        (_book('<row><c r="G2"><v>1</v></c></row>'), "more cells than the first row"),
        (_book("<row><c><v>1</v></c></row>" * 2002), "at most 2000"),
        (_book("", shared="x"), "no workbook"),
        (_book(" " * (9 * 2**20)), "at most 8192 KiB"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_none_is_refused_with_the_rule(data: bytes, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        from_xlsx(data)
    assert words in str(refused.value.message_dict["mappings"])


@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_entities_are_not_even_looked_at(coding: str) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><sst><si><t>&b;</t></si></sst>'
    data = _book("", shared=bomb.encode(coding))
    with pytest.raises(ValidationError, match="no workbook"):
        from_xlsx(data)


def test_the_page_gives_and_takes_a_workbook(plant: Plant, pair: tuple[Machine, Device]) -> None:
    machine, device = pair
    erin = signed_in(plant.engineer)
    url = reverse("portal:mappings_csv", kwargs={"name": machine.environment.name})
    about = {"machine": str(machine.pk), "device": str(device.pk)}
    cells = '<row><c t="s"><v>4</v></c><c t="str"><v>input</v></c><c><v>7</v></c><c t="str"><v>in</v></c></row>'

    def send(data: bytes) -> str:
        file = SimpleUploadedFile("points.xlsx", data, TYPE)
        return erin.post(url, {**about, "file": file}, follow=True).content.decode()

    assert "Main.level" in send(_book(cells))
    taken = erin.get(url, {**about, "as": "xlsx"})
    assert taken["Content-Type"] == TYPE
    assert taken["Content-Disposition"] == 'attachment; filename="filling-line-1-station.xlsx"'
    (row,) = from_xlsx(taken.content)
    assert (row["tag"], row["register"]) == ("Main.level", "7")
    assert "no workbook" in send(b"PK\x03\x04")
    assert "XLSX" in send(b"\xff\xfe\x00"), "neither of both"
    assert machine.mappings.count() == 1
    # Whoever only sees the project takes it away and does not bring one.
    theirs = signed_in(plant.approver)
    file = SimpleUploadedFile("points.xlsx", _book(cells), TYPE)
    theirs.post(url, {**about, "file": file})
    assert theirs.get(url, {**about, "as": "xlsx"}).status_code == 200
    assert machine.mappings.get().register == "7"
