"""The Modbus server on real sockets: libmodbus' client, TLS with roles, limits, what clients send broken."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from industrial.modbus import AccessList, ModbusImage, ModbusServer, ModbusSettings
from industrial.modbus.hotloop import HotLoop
from industrial.modbus.secure import ROLE_OID, TlsError, role_of, server_context
from industrial.runtime import shm
from industrial.runtime.front import Front
from industrial.runtime.paths import Paths
from industrial.runtime.shm import Area, ScanSilent
from industrial.security import ensure_identity
from tests.support.libmodbus import libmodbus_peer
from tests.support.memory import PlayedScan
from tests.support.vplc import until

CLIENTS = """
[[modbus.client]]
cidr = "127.0.0.0/8"
write = [{area = "holding", first = 1024, last = 1999}, {area = "coil", first = 4096, last = 4200}]
"""
ROLES = """
[[modbus.role]]
name = "operator"
write = [{area = "holding", first = 1024, last = 1024}]
[[modbus.role]]
name = "viewer"
functions = [3]
"""
READ = bytes.fromhex("03 0400 0001")
WRITE = bytes.fromhex("06 0400 1267")


class Serving:
    """A server in a thread, on a played scan."""

    def __init__(self, folder: Path, security: str = CLIENTS) -> None:
        self.scan = PlayedScan(folder / "shm")
        self.settings = ModbusSettings()
        self.access = AccessList.parse(security)
        self._image = ModbusImage(self.scan.shm)
        self.server = ModbusServer(lambda: self._image, lambda: self.access, lambda: self.settings)
        self.port = self.tls_port = 0
        self._loop: asyncio.AbstractEventLoop = HotLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self.scan.start()
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(
            self.server.start("127.0.0.1", 0), self._loop
        ).result(30)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.tls_port = asyncio.run_coroutine_threadsafe(
            self.server.start_tls("127.0.0.1", 0, context, role_of), self._loop
        ).result(30)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
        self.scan.stop()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    made.start()
    yield made
    made.stop()


def frame(request: bytes, transaction: int = 1) -> bytes:
    """A request as it goes over the wire."""
    return struct.pack(">HHHB", transaction, 0, len(request) + 1, 1) + request


def receive(link: socket.socket) -> tuple[int, bytes]:
    """Transaction and PDU of the next answer.

    Raises:
        EOFError: the server has ended the connection.
    """

    def exactly(size: int) -> bytes:
        found = b""
        while len(found) < size:
            try:
                more = link.recv(size - len(found))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            found += more
        return found

    transaction, _, length, _ = struct.unpack(">HHHB", exactly(7))
    return transaction, exactly(length - 1)


def ask(link: socket.socket, request: bytes) -> str:
    """The answer's PDU in hexadecimal digits."""
    link.sendall(frame(request))
    return receive(link)[1].hex(" ")


def ended(link: socket.socket) -> bool:
    """Whether the server ends the connection, sooner or later."""
    try:
        receive(link)
    except EOFError:
        return True
    return False


def test_libmodbus_client(serving: Serving) -> None:
    done = subprocess.run(
        [str(libmodbus_peer()), "exercise", "127.0.0.1", str(serving.port)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == {
        "write_register": "1:",
        "read_back": "1: 4711",
        "mask": "1:",
        "masked": "1: 21863",
        "write_registers": "3:",
        "write_and_read": "3: 11 11 33",
        "write_bit": "1:",
        "write_bits": "9:",
        "read_bits": "12: 0 1 1 1 1 1 1 1 1 1 1 0",
        "read_input_bits": "8:",
        "read_input_registers": "125:",
        "last": "1:",
        "beyond": "Illegal data address",
        "not_granted": "Illegal data address",
    }


def test_requests_in_pieces_and_many_at_once_are_answered_in_order(serving: Serving) -> None:
    with serving.connect() as link:
        for byte in frame(READ, 7):
            link.sendall(bytes((byte,)))
        assert receive(link) == (7, bytes.fromhex("03 02 0000"))
        requests = [WRITE, READ] * 30
        link.sendall(b"".join(frame(request, n) for n, request in enumerate(requests)))
        answers = [receive(link) for _ in requests]
    assert [transaction for transaction, _ in answers] == list(range(60))
    # A write is answered when a scan has it: what is read afterwards is the new value.
    assert {answer for _, answer in answers[1::2]} == {bytes.fromhex("03 02 1267")}


@pytest.mark.parametrize(
    "broken",
    [
        bytes.fromhex("0001 0001 0006 01 03 0000 0001"),
        bytes.fromhex("0001 0000 0001 01 03 0000 0001"),
        bytes.fromhex("0001 0000 00ff 01 03 0000 0001"),
    ],
    ids=["another protocol", "too short", "too long"],
)
def test_what_is_not_modbus_ends_its_connection_alone(serving: Serving, broken: bytes) -> None:
    with serving.connect() as good, serving.connect() as bad:
        bad.sendall(frame(READ) + broken)
        assert receive(bad)[1][0] == 3, "what came whole before it is answered"
        assert ended(bad)
        assert ask(good, READ) == "03 02 00 00"
    until(lambda: serving.server.connections == 0, "no connection")


def test_connections_of_an_address_and_of_all_are_limited(serving: Serving) -> None:
    serving.access = AccessList()
    serving.settings = ModbusSettings(connections=3, connections_per_client=2)
    first, second = serving.connect(), serving.connect()
    with first, second:
        assert [ask(one, READ)[:2] for one in (first, second)] == ["03", "03"]
        with serving.connect() as third:
            assert ended(third), "two of an address"
        assert serving.server.refused == 1
    until(lambda: serving.server.connections == 0, "no connection")
    with serving.connect() as again:
        assert ask(again, READ)[:2] == "03"


def test_a_silent_connection_and_half_a_request_end(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.settings = ModbusSettings(idle_s=1.0)
    with serving.connect() as silent:
        assert ended(silent)
    monkeypatch.setattr("industrial.modbus.server.REQUEST_S", 0.3)
    serving.settings = ModbusSettings(idle_s=600.0)
    with serving.connect() as half:
        half.sendall(frame(READ)[:9])
        assert ended(half)


def test_who_asks_too_fast_waits_and_loses_nothing(serving: Serving) -> None:
    serving.settings = ModbusSettings(requests_per_s=100)
    with serving.connect() as link:
        link.sendall(b"".join(frame(READ, n) for n in range(120)))
        seen = set()
        for n in range(120):
            assert receive(link)[0] == n
            seen |= {session.stopped for session in list(serving.server._sessions)}
    assert "rate" in seen


# --- Modbus/TCP Security ----------------------------------------------------------------------------------------


class Authority:
    """Makes clients' certificates, with a role or none."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = (
            folder,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        )
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._made = self._sign(self._name, self._key.public_key(), ca=True)
        self.pem = self._made.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool, role: bytes = b""
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if role:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(ROLE_OID, role), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())

    def client(self, role: bytes = b"") -> ssl.SSLContext:
        """A context of a client; `role` is the extension's DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
        made = self._sign(name, key.public_key(), ca=False, role=role)
        file = self._folder / f"{made.serial_number}.pem"
        file.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_cert_chain(file)
        return context


def utf8(text: str) -> bytes:
    """DER of a UTF8String."""
    return bytes((0x0C, len(text.encode()))) + text.encode()


@pytest.fixture
def secure(
    tmp_path: Path,
) -> Iterator[tuple[Serving, Authority, Callable[[ssl.SSLContext], ssl.SSLSocket]]]:
    authority = Authority(tmp_path, "plant")
    made = Serving(tmp_path, f"{CLIENTS}{ROLES}[modbus.tls]\nauthorities = '''{authority.pem}'''\n")
    made.start()
    own = ensure_identity(tmp_path / "keys", "m1")
    made.start_tls(server_context(own.certificate, own.key, authority.pem))
    server = own.certificate.read_bytes()

    def connect(context: ssl.SSLContext) -> ssl.SSLSocket:
        context.load_verify_locations(cadata=server)
        plain = socket.create_connection(("127.0.0.1", made.tls_port), 30)
        try:
            return context.wrap_socket(plain)
        except OSError:
            plain.close()
            raise

    yield made, authority, connect
    made.stop()


Secure = tuple[Serving, Authority, Callable[[ssl.SSLContext], ssl.SSLSocket]]


def test_over_tls_the_certificate_s_role_decides(secure: Secure) -> None:
    serving, authority, connect = secure
    with connect(authority.client(utf8("operator"))) as operator:
        assert ask(operator, WRITE) == WRITE.hex(" ")
        assert ask(operator, READ) == "03 02 12 67"
        assert ask(operator, bytes.fromhex("06 0401 0001")) == "86 02", "his range ends before"
        assert ask(operator, bytes.fromhex("10 0400 0001 02 0001")) == "10 04 00 00 01"
        assert ask(operator, bytes.fromhex("05 1000 ff00")) == "85 01", "no coil is his"
        assert serving.server.secure_connections == 1
    with connect(authority.client(utf8("viewer"))) as viewer:
        assert ask(viewer, READ)[:2] == "03"
        assert ask(viewer, bytes.fromhex("04 0000 0001")) == "84 01"
        assert ask(viewer, WRITE) == "86 01", "what his address may without TLS does not count"
    for role in (b"", utf8("nobody"), b"\x04\x08operator", b"\x0c\x09operator"):
        with connect(authority.client(role)) as unknown:
            assert ask(unknown, READ) == "83 01", role


def test_without_a_certificate_of_the_plant_nothing_is_answered(
    secure: Secure, tmp_path: Path
) -> None:
    serving, _, connect = secure
    stranger = Authority(tmp_path, "elsewhere").client(utf8("operator"))
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    old = Authority(tmp_path, "old").client()
    for context in (stranger, bare, old):
        # With TLS 1.3 a client learns of it at its first read.
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)), connect(context) as link:
            ask(link, READ)
    until(lambda: serving.server.failed_handshakes == 3, "three failed handshakes")
    with serving.connect() as plain:
        assert ask(plain, READ)[:2] == "03"


def test_certificates_that_do_not_do_are_told(tmp_path: Path) -> None:
    own = ensure_identity(tmp_path / "keys", "m1")
    with pytest.raises(TlsError, match="Modbus over TLS"):
        server_context(own.certificate, own.key, "-----BEGIN CERTIFICATE-----\nAA\n")


def test_a_scan_process_that_is_silent_is_an_error_and_no_old_value(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    scan = PlayedScan(paths.shm)
    scan.put(Area.OUT, 0, b"\x01\x00")
    front = Front(paths)
    assert front.image().registers("holding", 0, 1) == b"\x00\x01"
    struct.pack_into("<Q", scan._map, shm._HEARTBEAT, time.monotonic_ns() - 60_000_000_000)
    front._looked_at = 0.0
    with pytest.raises(ScanSilent, match="silent for"):
        front.image()
