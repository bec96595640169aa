"""Calls with deadlines, translation of errors, the handshake: what keeps a frozen host away."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import libvirt
import pytest
from millwright.hypervisor import (
    AccessDenied,
    AgentUnavailable,
    AlreadyExists,
    Busy,
    Conflict,
    DeadlineExceeded,
    Final,
    HostUnreachable,
    HypervisorError,
    InvalidSpec,
    NoSpace,
    NotFound,
    Retryable,
    Unsupported,
)
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor, handshake
from millwright.hypervisor.driver.calls import Calls
from millwright.hypervisor.driver.deadline import Deadline
from millwright.hypervisor.driver.handshake import check_tls
from millwright.hypervisor.driver.migration import target_xml
from millwright.hypervisor.driver.networks import filters_of
from millwright.hypervisor.driver.translate import translate


def deadline(seconds: float) -> Deadline:
    return Deadline("test", "h1", seconds)


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_results_and_errors_come_back() -> None:
    calls = Calls("h1")
    assert calls.run(deadline(10), lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        calls.run(deadline(10), lambda: 1 // 0)
    # An error that happens to be a timeout is not taken for ours.
    with pytest.raises(TimeoutError, match="inner"):
        calls.run(deadline(10), _raise_timeout)
    assert calls.abandoned == 0


def _raise_timeout() -> None:
    raise TimeoutError("inner")


def test_a_hanging_call_costs_its_deadline_and_is_bounded() -> None:
    calls = Calls("h1")
    release = threading.Event()
    with pytest.raises(DeadlineExceeded):
        calls.run(deadline(0.05), release.wait)
    assert calls.abandoned == 1
    with pytest.raises(HostUnreachable, match="an earlier call hangs"):
        calls.run(deadline(10), lambda: 1)
    assert calls.load == 1
    release.set()
    until(lambda: calls.abandoned == 0)
    assert calls.run(deadline(10), lambda: 2) == 2


def test_a_call_that_never_began_is_taken_back() -> None:
    calls = Calls("h1")
    release, began, ran = threading.Event(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(calls.run, deadline(30), lambda: (began.set(), release.wait(30)))
        until(began.is_set)
        with pytest.raises(DeadlineExceeded):
            calls.run(deadline(0.05), ran.set)
        assert calls.abandoned == 0
        release.set()
        blocker.result()
    assert calls.run(deadline(10), lambda: 1) == 1
    assert not ran.is_set()


def test_calls_never_overlap() -> None:
    """Two calls under way on one libvirt connection can end the process; see connection.py."""
    calls = Calls("h1")
    inside = threading.Lock()

    def call(number: int) -> int:
        assert inside.acquire(blocking=False)
        time.sleep(0)
        inside.release()
        return number * 2

    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda n: calls.run(deadline(30), lambda: call(n)), range(500)))
    assert results == [n * 2 for n in range(500)]


class FakeLibvirtError(libvirt.libvirtError):
    """libvirt's exception with values of our choice."""

    def __init__(self, code: int, message: str, int1: int = 0) -> None:
        Exception.__init__(self, message)
        self.err = (code, libvirt.VIR_FROM_QEMU, message, 2, "", "", "", int1, 0)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "Domain not found", NotFound),
        (libvirt.VIR_ERR_OPERATION_FAILED, "domain 'x' already exists with uuid", AlreadyExists),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", Conflict),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock", Busy),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", HostUnreachable),
        (libvirt.VIR_ERR_RPC, "whatever", HostUnreachable),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent is not responding", AgentUnavailable),
        (libvirt.VIR_ERR_XML_ERROR, "XML error: already exists", InvalidSpec),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "hugepages: not supported", Unsupported),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "cannot set up guest memory 'pc.ram'", NoSpace),
        (libvirt.VIR_ERR_AUTH_FAILED, "authentication failed", AccessDenied),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "something new", Final),
    ],
)
def test_codes_and_texts(code: int, message: str, kind: type[HypervisorError]) -> None:
    error = translate(FakeLibvirtError(code, message), host="h1", verb="start")
    assert type(error) is kind
    assert error.host == "h1"
    assert error.details["libvirt_code"] == code
    assert error.retryable == isinstance(error, Retryable)
    assert str(error).startswith("h1: start: ")


@pytest.mark.parametrize(
    ("number", "kind"), [(28, NoSpace), (12, NoSpace), (11, Busy), (111, HostUnreachable)]
)
def test_system_errors_by_number(number: int, kind: type[HypervisorError]) -> None:
    error = FakeLibvirtError(libvirt.VIR_ERR_SYSTEM_ERROR, "it failed", number)
    assert type(translate(error, host="h", verb="v")) is kind


def tree(base: type[HypervisorError]) -> set[type[HypervisorError]]:
    found = set(base.__subclasses__())
    return found.union(*(tree(kind) for kind in found)) if found else found


def test_every_error_is_either_retryable_or_final_and_has_its_code() -> None:
    kinds = tree(HypervisorError)
    assert all(issubclass(kind, Retryable) != issubclass(kind, Final) for kind in kinds)
    assert all(kind.retryable is issubclass(kind, Retryable) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.fixture
def silent_port() -> object:
    """A listener that accepts and says nothing: a frozen daemon."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def pki(folder: Path) -> Path:
    """A certificate that is good enough to begin a handshake with."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    for file in ("cacert.pem", "clientcert.pem"):
        (folder / file).write_bytes(pem)
    (folder / "clientkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


def address(port: int, folder: Path) -> HostAddress:
    uri = f"qemu+tls://127.0.0.1:{port}/system?pkipath={folder}"
    return HostAddress(name="h1", uri=uri)


def shake(host: HostAddress, timeout_s: float) -> None:
    check_tls(host.name, host.uri, timeout_s)


def test_a_silent_daemon_costs_the_deadline(silent_port: int, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="no TLS handshake"):
        shake(address(silent_port, pki(tmp_path)), 0.2)


def test_nobody_listening_is_unreachable(silent_port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(HostUnreachable, match="refused"):
        shake(address(free, pki(tmp_path)), 5.0)


def test_missing_certificates_are_named(silent_port: int, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="certificate files"):
        shake(address(silent_port, tmp_path), 5.0)


def test_only_tls_is_shaken_hands_with() -> None:
    check_tls("h", "qemu:///system", 0.1)
    check_tls("h", "test:///default", 0.1)


def test_a_host_that_cannot_be_reached_fails_at_once_the_second_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    host = LibvirtHypervisor(address(free, pki(tmp_path)), site="mw0")
    try:
        for _ in range(3):
            with pytest.raises(HostUnreachable):
                host.bulk_state(deadline_s=20)
        assert not host.connected
    finally:
        host.close()
    with pytest.raises(HostUnreachable, match="closed here"):
        host.bulk_state()


def test_migration_data_goes_to_the_destination_s_address() -> None:
    given = HostAddress(name="h", uri="qemu+tls://h2/system?pkipath=/home/x")
    assert given.data_uri == "tcp://h2"
    assert HostAddress(name="h", uri="qemu+tls://[fd00::1]/system").data_uri == "tcp://[fd00::1]"
    assert HostAddress(name="h", uri="qemu:///system").data_uri is None
    assert HostAddress(name="h", uri="qemu:///system", data_host="h9").data_uri == "tcp://h9"


def test_a_migrating_guest_takes_the_destination_s_pins_and_mark() -> None:
    from dataclasses import replace
    from xml.etree import ElementTree as ET

    from millwright.hypervisor import VcpuRole, VcpuSpec, render_domain
    from millwright.hypervisor.domain.parse import parse_metadata, parse_pins

    from tests.unit.hypervisor.specs import BASE

    live = render_domain(BASE).replace(
        "</disk>", "<address type='pci' domain='0x0000' bus='0x05' slot='0x00'/></disk>"
    )
    target = replace(
        BASE,
        metadata=replace(BASE.metadata, generation=4),
        vcpus=(
            VcpuSpec(cpus=frozenset({2})),
            VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({6})),
            VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({7})),
        ),
        emulator_cpus=frozenset({2}),
        title="",
    )
    xml = target_xml(live, target)
    pins = parse_pins(xml, all_cpus=frozenset(range(8)))
    assert pins.vcpus == {0: {2}, 1: {6}, 2: {7}}
    assert pins.emulator == {2}
    assert parse_metadata(xml) == target.metadata
    root = ET.fromstring(xml)  # noqa: S314 - our own text
    assert root.find("devices/disk/address") is not None
    assert root.find("title") is None
    bare = target_xml("<domain><uuid>u</uuid><vcpu>3</vcpu></domain>", target)
    assert parse_metadata(bare) == target.metadata
    assert parse_pins(bare, all_cpus=frozenset(range(8))).vcpus[1] == {6}


def test_a_migration_is_encrypted_and_slows_nobody_down_unless_told() -> None:
    import libvirt
    from millwright.hypervisor import MigrationSpec
    from millwright.hypervisor.driver.migration import _arguments
    from millwright.hypervisor.driver.passages import ways

    flags, parameters = _arguments(MigrationSpec(), "<domain/>", "mw-line-vplc")
    # Without relays QEMU encrypts, straight to the destination.
    assert ways(None, parameters, "tcp://h2", tls=True) == libvirt.VIR_MIGRATE_TLS
    assert parameters[libvirt.VIR_MIGRATE_PARAM_URI] == "tcp://h2"
    assert libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS not in parameters
    assert flags & libvirt.VIR_MIGRATE_LIVE
    assert not flags & (libvirt.VIR_MIGRATE_AUTO_CONVERGE | libvirt.VIR_MIGRATE_POSTCOPY)
    flags, parameters = _arguments(
        MigrationSpec(auto_converge=True, copy_storage=True, bandwidth_bytes_s=2**21), "", "n"
    )
    assert flags & libvirt.VIR_MIGRATE_AUTO_CONVERGE
    assert flags & libvirt.VIR_MIGRATE_NON_SHARED_INC
    assert parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] == 2


@pytest.mark.parametrize(("times", "expected"), [(1, HostUnreachable), (2, AccessDenied)])
def test_a_host_that_hangs_up_is_asked_once_more(
    times: int, expected: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "_SECOND_TRY_S", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def hang_up() -> None:
        for _ in range(times):
            connection, _peer = listener.accept()
            connection.recv(1)
            # Closed at once with a reset, as by a process that was killed.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if times == 1:
                listener.close()
            connection.close()

    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    with pytest.raises(expected):
        shake(address(port, pki(tmp_path)), 20.0)
    thread.join(10)
    listener.close()


def test_a_domain_that_goes_while_it_is_looked_at_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine may arrive elsewhere between the look-up and the questions: that is no error."""
    driver = LibvirtHypervisor(HostAddress(name="h1", uri="test:///default"), site="s")
    there = libvirt.open("test:///default")
    uuid = UUID(there.lookupByName("test").UUIDString())
    there.close()
    assert driver.domain(uuid) is not None
    found = LibvirtHypervisor._find

    def found_then_gone(
        self: LibvirtHypervisor, conn: libvirt.virConnect, wanted: UUID
    ) -> libvirt.virDomain | None:
        domain = found(self, conn, wanted)
        assert domain is not None
        domain.destroy()
        domain.undefine()
        return domain

    monkeypatch.setattr(LibvirtHypervisor, "_find", found_then_gone)
    assert driver.domain(uuid) is None
    driver.close()


def test_a_domain_that_goes_while_it_is_looked_at_names_no_filter() -> None:
    connection = libvirt.open("test:///default")
    try:
        domain = connection.createXML(
            "<domain type='test'><name>mw-passing</name><memory>1024</memory><os><type>hvm</type></os>"
            "<devices><interface type='network'><source network='default'/>"
            "<filterref filter='mw-line'/></interface></devices></domain>"
        )
        assert filters_of(domain) == {"mw-line"}
        domain.destroy()
        assert filters_of(domain) == frozenset()
    finally:
        connection.close()


class SuspendConn:
    """What a connection is asked, and what it answers: no machine is put to sleep here."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.asked: list[tuple[int, int]] = []

    def suspendForDuration(self, target: int, duration: int) -> int:
        self.asked.append((target, duration))
        if self.error:
            raise libvirt.libvirtError(self.error)
        return 0


def test_a_host_is_told_to_sleep_in_memory_with_its_alarm_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conn, busy, wrong = (
        SuspendConn(),
        SuspendConn("Suspend operation already in progress"),
        SuspendConn("no S3"),
    )
    host = LibvirtHypervisor(HostAddress(name="h1", uri="test:///default"), site="plant")
    monkeypatch.setattr(host, "_call", lambda verb, deadline_s, order: order(conn, deadline(10)))
    host.suspend(wake_after_s=3600)
    assert conn.asked == [(libvirt.VIR_NODE_SUSPEND_TARGET_MEM, 3600)]
    with pytest.raises(InvalidSpec, match="at least 60"):
        host.suspend(wake_after_s=59)
    # It waits some seconds before it lets go: told twice is told.
    monkeypatch.setattr(host, "_call", lambda verb, deadline_s, order: order(busy, deadline(10)))
    host.suspend(wake_after_s=3600)
    monkeypatch.setattr(host, "_call", lambda verb, deadline_s, order: order(wrong, deadline(10)))
    with pytest.raises(libvirt.libvirtError, match="no S3"):
        host.suspend(wake_after_s=3600)
    host.close()
