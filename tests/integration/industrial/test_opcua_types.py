"""Every elementary type as an OPC UA client meets it: what it is, what it holds, and what is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from industrial.runtime.local import LocalController
from tests.integration.industrial.test_opcua import Site, _eventually, _with

VT = ua.VariantType
#: type → initial value as written, what it is called, what is read, what is written then.
ROWS: dict[str, tuple[str, VT, Any, Any]] = {
    "BOOL": ("TRUE", VT.Boolean, True, False),
    "BYTE": ("16#F0", VT.Byte, 240, 15),
    "WORD": ("16#F00F", VT.UInt16, 0xF00F, 1),
    "DWORD": ("16#F000_000F", VT.UInt32, 0xF000000F, 2),
    "LWORD": ("16#F000_0000_0000_000F", VT.UInt64, 0xF00000000000000F, 2**64 - 1),
    "SINT": ("-128", VT.SByte, -128, 127),
    "INT": ("-32768", VT.Int16, -32768, 32767),
    "DINT": ("-2147483648", VT.Int32, -(2**31), 2**31 - 1),
    "LINT": ("-9223372036854775808", VT.Int64, -(2**63), 2**63 - 1),
    "USINT": ("255", VT.Byte, 255, 0),
    "UINT": ("65535", VT.UInt16, 65535, 0),
    "UDINT": ("4294967295", VT.UInt32, 2**32 - 1, 0),
    "ULINT": ("18446744073709551615", VT.UInt64, 2**64 - 1, 0),
    "REAL": ("0.5", VT.Float, 0.5, -1.5),
    "LREAL": ("0.1", VT.Double, 0.1, 1e300),
    "TIME": ("T#1h", VT.UInt32, 3_600_000, 1),
    "LTIME": ("LT#1s", VT.Int64, 10**9, -5),
    "DATE": ("D#2026-11-27", VT.UInt32, 1795737600, 86400),
    "LDATE": ("LDATE#1970-01-02", VT.Int64, 86400 * 10**9, 0),
    "TOD": ("TOD#00:00:01", VT.UInt32, 1000, 0),
    "LTOD": ("LTOD#00:00:01", VT.Int64, 10**9, 1),
    "DT": ("DT#1970-01-01-00:00:09", VT.UInt32, 9, 2**32 - 1),
    "LDT": ("LDT#1970-01-01-00:00:09", VT.Int64, 9 * 10**9, -1),
    "STRING": ("'NaN'", VT.String, "NaN", "Infinity"),
    "WSTRING": ('"€"', VT.String, "€", "ä€"),
    "CHAR": ("CHAR#'A'", VT.String, "A", "ä"),
    "WCHAR": ('WCHAR#"€"', VT.String, "€", "Ω"),
}
SOURCE = (
    "PROGRAM Main\nVAR\n"
    + "".join(f"v{kind} : {kind} := {row[0]};\n" for kind, row in ROWS.items())
    + "endless : ARRAY[1..2] OF REAL; words : ARRAY[1..2] OF WSTRING[4] := [\"ab\", \"NaN\"]; zero : REAL; big : LREAL := 1.0E308;\n"
    "END_VAR\nVAR n : INT; END_VAR\nn := n + 1; endless[1] := LREAL_TO_REAL(big * 10.0);\nEND_PROGRAM\n"
)  # fmt: skip


def test_every_elementary_type_is_read_and_written(tmp_path: Path) -> None:
    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(user="eng") as client:
            for column in (2, 3):
                for kind, row in ROWS.items():
                    node = client.get_node(f"ns=2;s=Main.v{kind}")
                    if column == 3:
                        await node.write_value(ua.DataValue(ua.Variant(row[3], row[1])))

                    async def there(node: Any = node, wanted: Any = row[column]) -> bool:
                        return bool(await node.read_value() == wanted)

                    await _eventually(there)
                    assert await node.read_data_type_as_variant_type() is row[1], kind
            assert await client.get_node("ns=2;s=Main.words").read_value() == ["ab", "NaN"]
            (first, second) = await client.get_node("ns=2;s=Main.endless").read_value()
            assert (math.isinf(first), second) == (True, 0.0)

    _with(tmp_path, test, source=SOURCE)


def test_variables_beyond_the_limit_are_not_shown_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("industrial.opcua.server.MAX_NODES", 3)

    async def test(site: Site, controller: LocalController) -> None:
        async with site.client(user="eng") as client:
            assert await client.get_node("ns=2;s=Main.vBOOL").read_value() is True
            with pytest.raises(ua.UaStatusCodeError):
                await client.get_node("ns=2;s=Main.vLREAL").read_value()

    _with(tmp_path, test, source=SOURCE)
    assert f"OPC UA shows 3 of {len(ROWS) + 5} variables" in caplog.text
