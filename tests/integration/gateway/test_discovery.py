"""Who is there: real servers, and ones that answer badly, behind a real gateway."""

from __future__ import annotations

import asyncio
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from millwright.gateway import GatewayClient, GatewayError, OutsideCells, TargetFailed
from millwright.gateway.discovery import crc
from millwright.gateway.errors import BadRequest

from industrial.security import ensure_identity
from tests.support.tags import LiveRegisters, free_port, open_gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@contextmanager
def in_a_thread(serve: Callable[[asyncio.Event], Any]) -> Iterator[None]:
    """Run `serve(ready)` in a loop of its own until the end."""
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        ready = asyncio.Event()
        task = asyncio.ensure_future(serve(ready))
        await ready.wait()
        started.set()
        await task

    main: list[Any] = []

    def work() -> None:
        asyncio.set_event_loop(loop)
        main.append(loop.create_task(run()))
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(main[0])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(main[0].cancel)
        thread.join(20)


@contextmanager
def answering(answer: Callable[[int, int], bytes | None]) -> Iterator[int]:
    """A server that answers each request with what `answer(transaction, unit)` says; None is silence."""
    port = free_port()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(7)
                transaction, _protocol, length, unit = struct.unpack(">HHHB", head)
                await reader.readexactly(length - 1)
                if (data := answer(transaction, unit)) is not None:
                    writer.write(data)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def serve(ready: asyncio.Event) -> None:
        async with await asyncio.start_server(client, "127.0.0.1", port):
            ready.set()
            await asyncio.Event().wait()

    with in_a_thread(serve):
        yield port


def frame(transaction: int, unit: int, body: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body


def identification(
    objects: list[tuple[int, bytes]], more: bool = False, following: int = 0
) -> bytes:
    body = bytes([43, 14, 2, 0x82, 0xFF if more else 0, following, len(objects)])
    return body + b"".join(bytes([number, len(text)]) + text for number, text in objects)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayClient]:
    with open_gateway(tmp_path_factory.mktemp("gw"), 1) as path, GatewayClient(path) as client:
        yield client


def test_a_real_server_identifies_itself(gateway: GatewayClient) -> None:
    with LiveRegisters([1]) as registers:
        found = gateway.modbus_units("127.0.0.1", registers.port, 1, 1)
    assert found[0]["unit"] == 1
    assert found[0]["identification"]["vendor"] == "Sample Works"
    assert found[0]["identification"]["product_code"] == "FS-1"


def test_rtu_frames_over_tcp_are_read_written_probed_and_identified(gateway: GatewayClient) -> None:
    with LiveRegisters([7, 8], rtu=True) as registers:
        place = {"port": registers.port, "framing": "rtu"}
        assert gateway.modbus_read("127.0.0.1", "holding", 0, 2, **place) == [7, 8]
        gateway.modbus_write("127.0.0.1", "holding", 1, [99], **place)
        assert gateway.modbus_read("127.0.0.1", "holding", 1, 1, **place) == [99]
        assert "is 7" in gateway.probe("modbus", "127.0.0.1", registers.port, framing="rtu")
        found = gateway.modbus_units("127.0.0.1", registers.port, 1, 1, "rtu")
        assert [row["unit"] for row in found] == [1]
        assert found[0]["identification"]["vendor"] == "Sample Works"
        # Whoever asks in TCP's frames gets no answer, and whoever names others is told which there are.
        with pytest.raises(GatewayError):
            gateway.modbus_read("127.0.0.1", "holding", 0, 1, port=registers.port)
    with pytest.raises(BadRequest, match="framing"):
        gateway.modbus_read("127.0.0.1", "holding", 0, 1, port=502, framing="ascii")


def test_rtu_units_are_known_by_their_number_and_a_wrong_checksum_is_told(
    gateway: GatewayClient,
) -> None:
    """1 answers for itself behind a late answer of another, 2 is silent, 3 has no such function, 4's checksum is wrong."""
    answers = {
        1: _rtu(9, identification([(0, b"Late")])) + _rtu(1, identification([(0, b"Own"), (4, b"Pump")])),
        3: _rtu(3, bytes([0xAB, 1])),
    }  # fmt: skip
    with answering_rtu(lambda unit: answers.get(unit)) as port:
        found = gateway.modbus_units("127.0.0.1", port, 1, 3, "rtu")
    assert [(row["unit"], row["identification"]) for row in found] == [
        (1, {"vendor": "Own", "product_name": "Pump"}), (3, {}),
    ]  # fmt: skip
    for data, words in (
        (_rtu(1, identification([]))[:-1] + b"?", "checksum"),
        (b"HTTP/1.1 400", "no Modbus RTU"),
    ):
        with (
            answering_rtu(lambda _unit, data=data: data) as port,
            pytest.raises(TargetFailed, match=words),
        ):
            gateway.modbus_units("127.0.0.1", port, 1, 1, "rtu")


def _rtu(unit: int, body: bytes) -> bytes:
    data = bytes([unit]) + body
    return data + crc(data).to_bytes(2, "little")


@contextmanager
def answering_rtu(answer: Callable[[int], bytes | None]) -> Iterator[int]:
    """A server of RTU frames that asks `answer(unit)`; a question whose checksum is wrong has none."""
    port = free_port()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readexactly(7)
                assert crc(asked) == 0, "a frame with its own checksum has none left"
                if (data := answer(asked[0])) is not None:
                    writer.write(data)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def serve(ready: asyncio.Event) -> None:
        async with await asyncio.start_server(client, "127.0.0.1", port):
            ready.set()
            await asyncio.Event().wait()

    with in_a_thread(serve):
        yield port


def test_silent_units_are_left_out_and_late_or_odd_ones_told(gateway: GatewayClient) -> None:
    """1 identifies itself in two parts, 2 is silent, 3 knows no such function, 4 is not behind the bridge."""
    asked: list[int] = []

    def answer(transaction: int, unit: int) -> bytes | None:
        asked.append(unit)
        if unit == 1:
            first = asked.count(1) == 1
            text = (0, b"Acme\x07") if first else (4, "Füller".encode())
            return frame(transaction, unit, identification([text], more=first, following=4))
        return {
            3: frame(transaction, unit, b"\xab\x01"),
            4: frame(transaction, unit, b"\xab\x0b"),
        }.get(unit)

    with answering(answer) as port:
        found = gateway.modbus_units("127.0.0.1", port, 1, 4)
    assert [row["unit"] for row in found] == [1, 3]
    assert found[0]["identification"] == {"vendor": "Acme?", "product_name": "Füller"}
    assert found[1] == {
        "unit": 3,
        "identification": {},
        "note": "answers, and does not identify itself",
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks no Modbus"),
        (None, "cut off"),
    ],
)
def test_what_is_no_modbus_is_said(gateway: GatewayClient, body: bytes | None, words: str) -> None:
    def answer(transaction: int, unit: int) -> bytes:
        if body is not None:
            return body
        return frame(transaction, unit, bytes([43, 14, 2, 0x82, 0, 0, 1, 0, 200]) + b"short")

    with answering(answer) as port, pytest.raises(TargetFailed, match=words):
        gateway.modbus_units("127.0.0.1", port, 1, 1)


def test_limits_of_a_search(gateway: GatewayClient) -> None:
    with pytest.raises(BadRequest, match="at most 32"):
        gateway.modbus_units("127.0.0.1", 1502, 1, 40)
    with pytest.raises(OutsideCells):
        gateway.modbus_units("192.0.2.1", 502, 1, 1)
    with pytest.raises(OutsideCells):
        gateway.opcua_children("opc.tcp://192.0.2.1:4840", "i=85")
    with pytest.raises(GatewayError):
        gateway.modbus_units("127.0.0.1", free_port(), 1, 1)


def test_endpoints_and_nodes_of_an_opcua_server(gateway: GatewayClient) -> None:
    port = free_port()

    async def serve(ready: asyncio.Event) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        index = await server.register_namespace("urn:test")
        station = await server.nodes.objects.add_object(f"ns={index};s=Station", "Station")
        await station.add_variable(f"ns={index};s=Station.level", "level", 42.5)
        async with server:
            ready.set()
            await asyncio.Event().wait()

    url = f"opc.tcp://127.0.0.1:{port}"
    with in_a_thread(serve):
        offered = gateway.opcua_endpoints(url)
        assert offered and set(offered[0]) == {
            "url",
            "mode",
            "policy",
            "users",
            "fingerprint",
            "certificate",
        }
        assert "None" in {row["mode"] for row in offered}
        top = {row["name"]: row for row in gateway.opcua_children(url, "i=85")["nodes"]}
        assert top["Station"]["kind"] == "object"
        below = gateway.opcua_children(url, top["Station"]["node"])
        assert below == {
            "nodes": [
                {
                    "node": "ns=2;s=Station.level",
                    "name": "level",
                    "kind": "variable",
                    "type": "Double",
                    "value": 42.5,
                }
            ],
            "more": False,
        }
        with pytest.raises(BadRequest, match="node"):
            gateway.opcua_children(url, "nonsense")
    with pytest.raises(GatewayError):
        gateway.opcua_endpoints(url)


def test_a_server_that_only_talks_encrypted_is_read_by_its_fingerprint_alone(
    gateway: GatewayClient, tmp_path: Path
) -> None:
    port, known = free_port(), set[str]()

    async def admit(certificate: x509.Certificate, _application: Any) -> None:
        if certificate.fingerprint(hashes.SHA256()).hex() not in known:
            raise ua.uaerrors.BadCertificateUntrusted

    async def serve(ready: asyncio.Event) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
        own = ensure_identity(tmp_path / "station", "station")
        await server.load_certificate(str(own.certificate))
        await server.load_private_key(str(own.key))
        await server.set_application_uri(own.uri)
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_certificate_validator(admit)
        index = await server.register_namespace("urn:test")
        await server.nodes.objects.add_variable(f"ns={index};s=level", "level", 42.5)
        async with server:
            ready.set()
            await asyncio.Event().wait()

    url = f"opc.tcp://127.0.0.1:{port}/"
    with in_a_thread(serve):
        (shown,) = {row["fingerprint"] for row in gateway.opcua_endpoints(url)}
        with pytest.raises(TargetFailed, match=f"name the certificate.*{shown}"):
            gateway.opcua_children(url, "i=85")
        with pytest.raises(TargetFailed, match=f"is not what it shows now.*{shown}"):
            gateway.opcua_children(url, "i=85", "ab" * 32)
        # As a person copies it from a display.
        with pytest.raises(TargetFailed, match="refused the gateway's certificate") as refused:
            gateway.opcua_children(url, "i=85", shown.upper())
        mine = re.search(r"SHA-256 ([0-9a-f]{64})", str(refused.value))
        assert mine is not None
        known.add(mine.group(1))
        top = {row["name"]: row for row in gateway.opcua_children(url, "i=85", shown)["nodes"]}
        assert top["level"]["value"] == 42.5
        (row,) = gateway.opcua_read(url, [top["level"]["node"]], shown)
        assert row["good"] and row["value"] == 42.5
        assert "only talks encrypted" in gateway.probe("opcua", "127.0.0.1", port)


def test_a_named_certificate_counts_whatever_else_a_server_offers(
    gateway: GatewayClient, tmp_path: Path
) -> None:
    port = free_port()
    url = f"opc.tcp://127.0.0.1:{port}/"

    async def serve(ready: asyncio.Event) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(url)
        own = ensure_identity(tmp_path / "station", "station")
        await server.load_certificate(str(own.certificate))
        await server.load_private_key(str(own.key))
        await server.set_application_uri(own.uri)
        server.set_security_policy(
            [
                ua.SecurityPolicyType.NoSecurity,
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ]
        )
        async with server:
            ready.set()
            await asyncio.Event().wait()

    with in_a_thread(serve):
        shown = next(row["fingerprint"] for row in gateway.opcua_endpoints(url) if row["policy"])
        assert gateway.opcua_children(url, "i=85")["nodes"]
        assert gateway.opcua_children(url, "i=85", shown)["nodes"]
        # A stand-in that talks in the open is not believed for the one that was trusted.
        with pytest.raises(TargetFailed, match="is not what it shows now"):
            gateway.opcua_children(url, "i=85", "ab" * 32)
