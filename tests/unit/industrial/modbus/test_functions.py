"""Requests and answers of the Modbus server by the byte, after the Application Protocol Specification V1.1b3."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from industrial.modbus import AccessList, ModbusImage, ModbusSettings, Peer, SettingsError
from industrial.modbus.access import AccessError
from industrial.modbus.functions import Functions
from industrial.runtime.shm import JOURNAL, Area
from tests.support.memory import PlayedScan

SECURITY = """
[[modbus.client]]
cidr = "10.0.0.0/24"
write = [{area = "holding", first = 0, last = 99}, {area = "holding", first = 1024, last = 5000},
         {area = "coil", first = 320, last = 3200}, {area = "coil", first = 32767, last = 65535}]
[[modbus.client]]
cidr = "10.0.1.0/24"
write = [{area = "holding", first = 1024, last = 1030, functions = [6]}]
[modbus.tls]
authorities = "-----BEGIN CERTIFICATE-----"
[[modbus.role]]
name = "operator"
write = [{area = "coil", first = 320, last = 330}]
[[modbus.role]]
name = "viewer"
functions = [4]
"""
SYMBOLS = [
    {"path": "a", "area": "Q", "offset": 10, "size": 2, "bit": None, "driven": True},
    {"path": "b", "area": "Q", "offset": 50, "size": 1, "bit": 3, "driven": True},
    {"path": "c", "area": "Q", "offset": 20, "size": 2, "bit": None},
]
ENGINEER, STRANGER = Peer("10.0.0.5"), Peer("192.0.2.1")
IDENTITY = {0: "Millwright", 1: "vPLC", 2: "1", 4: "Millwright vPLC", 6: "filling"}


class Bench:
    """Functions on a played scan."""

    def __init__(self, path: Path, *, high_first: bool = False) -> None:
        self.scan = PlayedScan(path)
        image = ModbusImage(self.scan.shm, SYMBOLS, high_first=high_first)
        access = AccessList.parse(SECURITY)
        self.functions = Functions(lambda: image, lambda: access, lambda: IDENTITY)

    def ask(self, request: str, peer: Peer = ENGINEER) -> str:
        answer = self.functions.answer(bytes.fromhex(request), peer)
        self.scan.scan()
        return answer.hex(" ")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path / "shm")


def test_reads_are_big_endian_and_of_the_right_tables(bench: Bench) -> None:
    bench.scan.put(Area.OUT, 0, struct.pack("<3H", 1, 0x1234, 3))
    bench.scan.put(Area.MEM, 0, struct.pack("<I", 0xAABBCCDD))
    assert bench.ask("03 0000 0003") == "03 06 00 01 12 34 00 03"
    assert bench.ask("01 0010 000a") == "01 02 34 02", "coils 16 to 25 are those of %QW1"
    assert bench.ask("03 03ff 0002") == "03 04 00 00 cc dd", "the last %QW and the first %MW"
    assert bench.ask("03 0800 0002") == "03 04 cc dd aa bb", "%MD0, low word first"
    assert bench.ask("03 1000 0004") == "03 08 cc dd aa bb 00 00 00 00", "%ML0"
    assert bench.ask("03 07ff 0002") == "03 04 00 00 cc dd", "the last %MW and the first of %MD0"
    bench.scan.shm.stage_inputs([(0, b"\x01\x02")])
    bench.scan.scan()
    assert bench.ask("04 0000 0001") == "04 02 02 01"
    assert bench.ask("02 0000 0010") == "02 02 01 02"


def test_the_words_of_a_value_can_be_the_other_way_round(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "shm", high_first=True)
    bench.scan.put(Area.MEM, 0, struct.pack("<Q", 0x1122334455667788))
    assert bench.ask("03 0400 0002") == "03 04 77 88 55 66", "%MW have one word"
    assert bench.ask("03 0800 0004") == "03 08 55 66 77 88 11 22 33 44"
    assert bench.ask("03 1000 0004") == "03 08 11 22 33 44 55 66 77 88"
    assert bench.ask("03 1001 0002") == "03 04 33 44 55 66", "the middle of a value"
    assert bench.ask("03 0801 0002") == "03 04 77 88 11 22"
    # What is written in one order is read in it, register by register too.
    assert bench.ask("10 0800 0002 04 deadbeef") == "10 08 00 00 02"
    assert bench.scan.get(Area.MEM, 0, 4) == bytes.fromhex("efbeadde")
    assert bench.ask("06 1003 0102") == "06 10 03 01 02"
    assert bench.scan.get(Area.MEM, 0, 2) == bytes.fromhex("0201")
    assert bench.ask("03 1000 0004") == "03 08 11 22 33 44 de ad 01 02"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("03 0000 0000", "83 03"),
        ("03 0000 007e", "83 03"),
        ("03 0000", "83 03"),
        ("03 0000 0001 00", "83 03"),
        ("03 8fff 0001", "03 02 00 00"),
        ("03 9000 0001", "83 02"),
        ("03 8fff 0002", "83 02"),
        ("03 ffff 007d", "83 02"),
        ("04 07ff 0001", "04 02 00 00"),
        ("04 0800 0001", "84 02"),
        ("01 0000 07d1", "81 03"),
        ("01 7fff 0002", "81 02"),
        ("02 7ff8 0008", "02 01 00"),
        ("05 0140 1234", "85 03"),
        ("05 8000 ff00", "85 02"),
        ("0f 0140 0009 01 ff", "8f 03"),
        ("0f 0140 0000 00", "8f 03"),
        ("10 0400 0001 02 00", "90 03"),
        ("10 0400 007c f8 " + "00" * 248, "90 03"),
        ("10 9000 0001 02 0000", "90 02"),
        ("16 0400 00ff", "96 03"),
        ("17 0000 0001 0400 0001 02 00", "97 03"),
        ("07", "87 01"),
        ("08 0000 0000", "88 01"),
        ("2b 0d 0000", "ab 01"),
        ("2b 0e 05 00", "ab 03"),
        ("2b 0e 04 09", "ab 02"),
        ("2b 0e", "ab 03"),
        ("63", "e3 01"),
    ],
)
def test_what_is_wrong_is_an_exception_with_the_right_number(
    bench: Bench, request_: str, answer: str
) -> None:
    assert bench.ask(request_) == answer


def test_writes_echo_and_enter_with_the_next_scan(bench: Bench) -> None:
    assert bench.functions.answer(bytes.fromhex("060000abcd"), ENGINEER).hex() == "060000abcd"
    assert bench.scan.get(Area.OUT, 0, 2) == b"\0\0", "not before the boundary"
    bench.scan.scan()
    assert bench.ask("03 0000 0001") == "03 02 ab cd"
    assert bench.ask("10 0001 0002 04 00010002") == "10 00 01 00 02"
    assert bench.ask("03 0001 0002") == "03 04 00 01 00 02"
    assert bench.ask("05 0142 ff00") == "05 01 42 ff 00"
    assert bench.ask("0f 0144 000a 02 ff03") == "0f 01 44 00 0a"
    assert bench.ask("01 0140 0010") == "01 02 f4 3f"
    assert bench.ask("05 0142 0000") == "05 01 42 00 00"
    assert bench.ask("01 0140 0008") == "01 01 f0"


def test_a_mask_keeps_what_else_is_written_meanwhile(bench: Bench) -> None:
    bench.ask("06 0400 0012")
    # The specification's example: 0x12 with and-mask 0xF2 and or-mask 0x25 is 0x17.
    assert bench.ask("16 0400 00f2 0025") == "16 04 00 00 f2 00 25"
    assert bench.ask("03 0400 0001") == "03 02 00 17"
    bench.functions.answer(bytes.fromhex("160400ff00 0011".replace(" ", "")), ENGINEER)
    bench.functions.answer(bytes.fromhex("16040000ff2200"), ENGINEER)
    bench.scan.scan()
    assert bench.ask("03 0400 0001") == "03 02 22 11", "both masks, in one boundary"


def test_a_request_that_writes_and_reads_shows_what_it_wrote(bench: Bench) -> None:
    bench.ask("10 0400 0003 06 000100020003")
    answer = bench.functions.answer(
        bytes.fromhex("17 0400 0004 0402 0002 04 00aa00bb".replace(" ", "")), ENGINEER
    )
    assert answer.hex(" ") == "17 08 00 01 00 02 00 aa 00 bb"


def test_only_the_allow_list_writes(bench: Bench) -> None:
    assert bench.ask("06 0000 0001", STRANGER) == "86 01"
    assert bench.ask("06 0064 0001") == "86 02", "beyond the range"
    assert bench.ask("10 0063 0002 04 00000000") == "90 02", "half of it beyond"
    assert bench.ask("06 0005 0001") == "86 02", "%QW5 is driven by the program"
    assert bench.ask("06 0019 0001") == "86 02", "a bit of %QW25 is"
    assert bench.ask("05 0193 ff00") == "85 02", "that bit"
    assert bench.ask("05 0194 ff00") == "05 01 94 ff 00", "the next one is free"
    other = Peer("10.0.1.9")
    assert bench.ask("06 0400 0001", other) == "06 04 00 00 01"
    assert bench.ask("10 0400 0001 02 0001", other) == "90 01", "another function"
    assert bench.ask("06 0300 0001", other) == "86 02"
    assert bench.functions.denied == 8, "each refusal above"
    assert bench.ask("03 0400 0001", STRANGER) == "03 02 00 01", "reading is open"


def test_over_tls_the_role_decides(bench: Bench) -> None:
    operator, viewer, nobody = (Peer("10.0.0.5", role) for role in ("operator", "viewer", ""))
    assert bench.ask("05 0140 ff00", operator) == "05 01 40 ff 00"
    assert bench.ask("05 0500 ff00", operator) == "85 02"
    assert bench.ask("06 0000 0001", operator) == "86 01", "the address's grants are not the role's"
    assert bench.ask("04 0000 0001", viewer) == "04 02 00 00"
    assert bench.ask("03 0000 0001", viewer) == "83 01"
    assert bench.ask("04 0000 0001", nobody) == "84 01"
    assert bench.ask("2b 0e 01 00", nobody) == "ab 01"


def test_identity_in_pieces_and_alone(bench: Bench) -> None:
    def texts(answer: bytes) -> dict[int, str]:
        found, at = {}, 7
        for _ in range(answer[6]):
            number, size = answer[at], answer[at + 1]
            found[number] = answer[at + 2 : at + 2 + size].decode()
            at += 2 + size
        assert at == len(answer)
        return found

    def ask(kind: int, start: int) -> bytes:
        return bench.functions.answer(bytes((43, 14, kind, start)), STRANGER)

    assert texts(ask(1, 0)) == {0: "Millwright", 1: "vPLC", 2: "1"}
    assert texts(ask(2, 0)) == IDENTITY
    assert texts(ask(2, 1)) == {n: text for n, text in IDENTITY.items() if n}
    assert texts(ask(4, 6)) == {6: "filling"}
    assert texts(ask(2, 9)) == IDENTITY, "an unknown start of a stream begins anew"
    IDENTITY.update({n: f"{n}" * 64 for n in (2, 3, 5, 6)})
    try:
        first = ask(2, 0)
        assert (first[4], len(first) <= 253) == (0xFF, True)
        both = {**texts(first), **texts(ask(2, first[5]))}
        assert {n: both[n] for n in IDENTITY} == {n: text[:64] for n, text in IDENTITY.items()}
    finally:
        del IDENTITY[3], IDENTITY[5]
        IDENTITY.update({2: "1", 6: "filling"})


def test_a_full_journal_is_told_and_nothing_of_the_request_enters(bench: Bench) -> None:
    wide = bytes.fromhex("10 0400 007b f6".replace(" ", "")) + bytes(246)
    answers = [bench.functions.answer(wide, ENGINEER)[0] for _ in range(JOURNAL // 123 + 1)]
    assert answers == [0x10] * (JOURNAL // 123) + [0x90]
    assert bench.functions.answer(wide, ENGINEER).hex() == "9006"
    bench.scan.scan()
    assert bench.functions.answer(wide, ENGINEER)[0] == 0x10


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(min_size=1, max_size=253))
def test_any_request_has_one_answer_that_fits(bench: Bench, request_: bytes) -> None:
    for peer in (ENGINEER, STRANGER, Peer("10.0.0.5", "operator")):
        answer = bench.functions.answer(request_, peer)
        assert 2 <= len(answer) <= 253
        assert answer[0] in (request_[0], request_[0] | 0x80)
        if answer[0] & 0x80 and request_[0] < 0x80:
            assert answer[1] in (1, 2, 3, 6)
    bench.scan.scan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[modbus.client]]\ncidr = "x"', r"client\[1\].cidr = 'x'"),
        ('[[modbus.client]]\ncidr = "::1"\nwrite = [{area = "input"}]', "area = 'input'"),
        ('[[modbus.client]]\ncidr = "::1"\nwrite = [{area = "coil", first = 2, last = 1}]', "first = 2"),
        ('[[modbus.client]]\ncidr = "::1"\nwrite = [{area = "coil", first = 1, last = 1, functions = [6]}]', "of 5, 15"),
        ('[[modbus.role]]\nname = "a"', "wants modbus.tls.authorities"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_are_refused(text: str, words: str) -> None:
    with pytest.raises(AccessError, match=words):
        AccessList.parse(text)


def test_settings_are_checked_by_name() -> None:
    assert ModbusSettings.parse({"modbus": {"word_order": "high_first", "idle_s": 5}}).idle_s == 5
    for table, words in (
        ({"word_order": "abcd"}, "word_order = 'abcd'"),
        ({"connections": 0}, "connections = 0: 1 to 1000"),
        ({"conections": 1}, "conections: not known"),
        ({"plain": 1}, "plain = 1: true or false"),
    ):
        with pytest.raises(SettingsError, match=words):
            ModbusSettings.parse({"modbus": table})
