"""Where the gateway may go; how tags become requests and registers become values."""

import asyncio
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millwright.gateway import OutsideCells, TargetTimeout, TooBusy
from millwright.gateway.errors import BadRequest
from millwright.gateway.limits import Cells, Slots, in_time, write_cells
from millwright.gateway.modbus import MOST
from millwright.gateway.opcua import split_url
from millwright.gateway.requests import ModbusRead, Probe, parse
from millwright.gateway.tags import Tag, batches, decode


def test_only_registered_cells_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    cells = Cells(path)
    with pytest.raises(OutsideCells, match="cells: none"):
        cells.check("10.90.1.100")
    write_cells(path, ["10.90.1.0/24"])
    assert cells.check("10.90.1.100") == "10.90.1.100"
    with pytest.raises(OutsideCells, match=r"10\.77\.0\.1 is in no registered cell"):
        cells.check("10.77.0.1")
    with pytest.raises(BadRequest, match=r"'plc\.example' is not an IP address"):
        cells.check("plc.example")


def test_a_broken_file_opens_nothing_and_keeps_what_was_known(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    write_cells(path, ["10.90.1.0/24"])
    cells = Cells(path)
    assert cells.check("10.90.1.1")
    path.write_text('["0.0.0.0/0", "nonsense"]')
    assert cells.check("10.90.1.1")
    with pytest.raises(OutsideCells):
        cells.check("192.0.2.1")


def test_a_cell_list_with_an_unreadable_network_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        write_cells(tmp_path / "cells.json", ["nowhere"])
    assert list(tmp_path.iterdir()) == []


def test_a_target_gets_so_many_requests_at_once_and_slots_come_back() -> None:
    async def scenario() -> None:
        slots = Slots(total=10, per_target=1, wait_s=0.01)
        async with slots.slot("a"):
            async with slots.slot("b"):
                pass
            with pytest.raises(TooBusy, match="a: too many"):
                async with slots.slot("a"):
                    pass
        async with slots.slot("a"):
            pass
        assert slots._targets == {}

    asyncio.run(scenario())


def test_a_deadline_names_target_and_limit() -> None:
    async def scenario() -> None:
        with pytest.raises(TargetTimeout, match=r"10\.0\.0\.1:502: no answer within 0.01 s"):
            await in_time(asyncio.Event().wait(), "10.0.0.1:502", 0.01)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{}", "host: Field required"),
        (b'{"host":"a","area":"holding","address":65536}', "address: .*65535.*got '65536'"),
        (b'{"host":"a","area":"tank","address":1}', "area: "),
        (b'{"host":"a","area":"coil","address":1,"colour":1}', "colour: "),
        (b"not json", "body: "),
    ],
)
def test_a_bad_body_names_field_value_and_rule(raw: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(ModbusRead, raw)


def test_a_probe_path_cannot_carry_a_header() -> None:
    with pytest.raises(BadRequest, match="path"):
        parse(Probe, b'{"kind":"http","host":"a","port":80,"path":"/x\\r\\nHost: y"}')


@pytest.mark.parametrize("url", ["http://10.0.0.1", "opc.tcp://", "opc.tcp://h:99999"])
def test_an_opcua_address_is_checked(url: str) -> None:
    with pytest.raises(BadRequest):
        split_url(url)
    assert split_url("opc.tcp://10.0.0.1") == ("10.0.0.1", 4840)


AREAS = st.sampled_from(["holding", "input", "coil", "discrete"])
TYPES = st.sampled_from(["INT", "BOOL", "DINT", "LREAL"])


@given(
    st.lists(st.builds(Tag, st.text(max_size=3), AREAS, st.integers(0, 4000), TYPES), max_size=60)
)
def test_batches_cover_every_tag_within_the_protocols_limits(tags: list[Tag]) -> None:
    found = batches(tags)
    for area, first, count in found:
        assert 1 <= count <= MOST[area]
        assert first + count <= 65536
    for tag in tags:
        assert any(
            area == tag.area and first <= tag.address and tag.address + tag.width <= first + count
            for area, first, count in found
        )


def test_neighbours_share_a_request() -> None:
    tags = [Tag(str(n), "holding", n) for n in (0, 1, 3, 12)]
    assert batches(tags) == [("holding", 0, 13)]


@pytest.mark.parametrize(
    ("kind", "packing", "value"),
    [
        ("INT", "<h", -2),
        ("UINT", "<H", 65535),
        ("DINT", "<i", -70000),
        ("UDINT", "<I", 4_000_000_000),
        ("LINT", "<q", -(2**40)),
        ("ULINT", "<Q", 2**63 + 1),
        ("REAL", "<f", 1.5),
        ("LREAL", "<d", 0.1),
    ],
)
def test_registers_become_values_low_word_first(kind: str, packing: str, value: float) -> None:
    data = struct.pack(packing, value)
    words = [int.from_bytes(data[n : n + 2], "little") for n in range(0, len(data), 2)]
    assert decode(Tag("t", "holding", 0, kind), words) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_value(value: float) -> None:
    words = list(struct.unpack("<HH", struct.pack("<f", value)))
    assert decode(Tag("t", "holding", 0, "REAL"), words) is None


def test_a_real_is_shown_with_the_digits_that_it_has() -> None:
    words = list(struct.unpack("<HH", struct.pack("<f", 0.1)))
    assert decode(Tag("t", "holding", 0, "REAL"), words) == 0.1


def test_a_coil_becomes_a_bool() -> None:
    assert decode(Tag("t", "coil", 0, "BOOL"), [True]) is True
