"""Two relays on this machine: what goes through comes out, and nobody else gets in."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from millwright.lab.relay import TUNABLES
from millwright.pki import Authority, write_host
from millwright.relay import PORT, Passage, Relay, RelayError, open_passage, owner, service
from millwright.relay.client import TRIES, Door
from millwright.relay.owner import user_of
from millwright.relay.protocol import MAX_COUNT, PASSAGES, Order, parse
from millwright.relay.service import MAX_CONNECTIONS, Certificates
from millwright.relay.wire import PIECE_BYTES, Wire

ORCHESTRATOR = "orchestrator"
ANSWER_S = 20.0


def pair(authority: Authority, folder: Path, name: str) -> Certificates:
    # One machine is both hosts here: its addresses are good for all of them.
    write_host(authority, folder, name, ["127.0.0.1", "127.0.0.2"])
    qemu = folder / "qemu"
    return Certificates(qemu / "ca-cert.pem", qemu / "server-cert.pem", qemu / "server-key.pem")


@dataclass
class Plant:
    """Two hosts' relays and who may speak with them."""

    folder: Path
    authority: Authority
    source: Relay
    destination: Relay

    def context(self, name: str, authority: Authority | None = None) -> ssl.SSLContext:
        issuer = authority or self.authority
        return pair(issuer, self.folder / name, name).context(server=False)

    def door(self, relay: Relay, name: str = ORCHESTRATOR) -> Door:
        return Door(relay.address, self.context(name), relay.port)

    def passage(self, count: int = 1, name: str = ORCHESTRATOR) -> Passage:
        doors = self.door(self.source, name), self.door(self.destination, name)
        return open_passage(*doors, data_host="127.0.0.2", count=count, timeout_s=ANSWER_S)

    def wire(self, relay: Relay, name: str, authority: Authority | None = None) -> Wire:
        raw = socket.create_connection((relay.address, relay.port), ANSWER_S)
        wire = Wire(raw, self.context(name, authority), server=False, name=relay.address)
        wire.shake(ANSWER_S)
        return wire


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    authority = Authority(tmp_path / "ca")
    authority.ensure()
    # Each with a loopback of its own, as two hosts have: the same ports are free at both.
    relays = [
        Relay(
            address=f"127.0.0.{number}",
            port=0,
            certificates=pair(authority, tmp_path / f"h{number}", f"h{number}"),
            orchestrators=frozenset({ORCHESTRATOR}),
            users=frozenset({os.getuid()}),
            loopback=f"127.0.1.{number}",
        )
        for number in (1, 2)
    ]
    for relay in relays:
        relay.listen()
        threading.Thread(target=relay.serve, daemon=True).start()
    yield Plant(tmp_path, authority, *relays)
    for relay in relays:
        relay.stop()
    # The next test's relays have the same addresses: nothing of these still listens at the ports of passages.
    for relay in relays:
        until(lambda relay=relay: relay._places._value == MAX_CONNECTIONS)


class Qemu:
    """What listens at the destination: takes what comes and says it back at the end, reversed."""

    def __init__(self, plant: Plant, port: int, *, breaks: bool = False) -> None:
        self.listener = socket.create_server((plant.destination.loopback, port))
        self.got = bytearray()
        self.ended: Exception | None = None
        self._breaks = breaks
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with closing(self.listener), closing(self.listener.accept()[0]) as wire:
            try:
                while data := wire.recv(65536):
                    self.got += data
                    if self._breaks:
                        linger = struct.pack("ii", 1, 0)
                        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                wire.sendall(bytes(reversed(self.got)))
            except OSError as error:
                self.ended = error


def speak(plant: Plant, port: int) -> socket.socket:
    wire = socket.create_connection((plant.source.loopback, port), ANSWER_S)
    wire.settimeout(ANSWER_S)
    return wire


def everything(wire: socket.socket) -> bytes:
    return b"".join(iter(lambda: wire.recv(65536), b""))


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, PIECE_BYTES, 3 * PIECE_BYTES + 4097])
def test_what_goes_in_comes_out_both_ways_and_the_end_is_told(plant: Plant, size: int) -> None:
    data = os.urandom(size)
    with closing(plant.passage()) as passage:
        qemu = Qemu(plant, passage.ports[0])
        with closing(speak(plant, passage.ports[0])) as wire:
            wire.sendall(data)
            wire.shutdown(socket.SHUT_WR)
            assert everything(wire) == data[::-1]
        qemu.thread.join(ANSWER_S)
        assert (bytes(qemu.got), qemu.ended) == (data, None)


def test_memory_and_disks_go_by_ports_of_their_own(plant: Plant) -> None:
    with closing(plant.passage(2)) as passage:
        assert len(set(passage.ports)) == 2
        assert set(passage.ports) <= set(PASSAGES)
        for number, port in enumerate(passage.ports):
            qemu = Qemu(plant, port)
            with closing(speak(plant, port)) as wire:
                wire.sendall(b"%d" % number)
                wire.shutdown(socket.SHUT_WR)
                assert everything(wire) == b"%d" % number
            qemu.thread.join(ANSWER_S)


def test_nothing_on_the_way_can_be_read(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = bytearray()
    tapped = socket.create_server(("127.0.0.2", 0))
    behind = plant.destination.port

    def tap() -> None:
        while True:
            try:
                near = tapped.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.2", behind))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def pump(one: socket.socket, other: socket.socket) -> None:
        while data := one.recv(65536):
            seen.extend(data)
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)

    threading.Thread(target=tap, daemon=True).start()
    doors = plant.door(plant.source), plant.door(plant.destination)
    doors = doors[0], Door(doors[1].host, doors[1].context, tapped.getsockname()[1])
    secret = b"the recipe of the plant" * 50
    with closing(open_passage(*doors, data_host="127.0.0.2", count=1, timeout_s=ANSWER_S)) as way:
        Qemu(plant, way.ports[0])
        with closing(speak(plant, way.ports[0])) as wire:
            wire.sendall(secret)
            wire.shutdown(socket.SHUT_WR)
            assert everything(wire) == secret[::-1]
    tapped.close()
    assert len(seen) > len(secret)
    assert secret[:23] not in seen


@pytest.mark.parametrize("who", ["h1", "portal"])
def test_only_the_orchestrator_has_passages_made(plant: Plant, who: str) -> None:
    with pytest.raises(RelayError):
        plant.passage(name=who)
    for relay in (plant.source, plant.destination):
        for line in ("keep 1", f"open 127.0.0.2 1 x {PASSAGES[0]}"):
            with closing(plant.wire(relay, who)) as wire, pytest.raises(RelayError):
                wire.ask(line, ANSWER_S)
    assert plant.destination._kept == {}


def test_a_certificate_of_another_authority_is_refused(plant: Plant, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.ensure()
    context = pair(other, tmp_path / "stranger", ORCHESTRATOR).context(server=False)
    # He believes the plant's authority, and has no certificate of it.
    context.load_verify_locations(cafile=str(plant.source.certificates.authority))
    raw = socket.create_connection((plant.source.address, plant.source.port), ANSWER_S)
    wire = Wire(raw, context, server=False, name="127.0.0.1")
    with closing(wire), pytest.raises(RelayError):
        # TLS 1.3 tells with the first answer.
        wire.shake(ANSWER_S)
        wire.ask("keep 1", ANSWER_S)
    with pytest.raises(RelayError):
        plant.wire(plant.source, "stranger2", other)


@pytest.mark.parametrize("line", ["join {wrong} {port}", "join {token} {other}", "look {wrong}"])
def test_without_the_word_nobody_joins(plant: Plant, line: str) -> None:
    with closing(plant.wire(plant.destination, ORCHESTRATOR)) as kept:
        _, token, port = kept.ask("keep 1", ANSWER_S).split(" ")
        other = next(number for number in PASSAGES if number != int(port))
        asked = line.format(wrong="0" * 32, token=token, port=port, other=other)
        with closing(plant.wire(plant.destination, "h1")) as wire:
            if line.startswith("look"):
                assert wire.ask(asked, ANSWER_S) == "unknown"
            else:
                with pytest.raises(RelayError):
                    wire.ask(asked, ANSWER_S)


def test_when_the_orchestrator_leaves_nobody_joins_any_more_and_who_has_goes_on(
    plant: Plant,
) -> None:
    passage = plant.passage()
    (port,) = passage.ports
    qemu = Qemu(plant, port)
    with closing(speak(plant, port)) as wire:
        wire.sendall(b"first")
        until(lambda: bytes(qemu.got) == b"first")
        passage.close()
        until(lambda: plant.destination._kept == {})
        until(lambda: refused(plant, port))
        wire.sendall(b" and last")
        wire.shutdown(socket.SHUT_WR)
        assert everything(wire) == b"first and last"[::-1]


def until(check: Callable[[], bool]) -> None:
    for _ in range(2000):
        if check():
            return
        threading.Event().wait(0.01)
    raise AssertionError("never")


def refused(plant: Plant, port: int) -> bool:
    try:
        speak(plant, port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # Closed just now, with this one in its queue.
        return False
    return False


def test_a_broken_destination_is_a_broken_connection_at_the_source(plant: Plant) -> None:
    with closing(plant.passage()) as passage:
        Qemu(plant, passage.ports[0], breaks=True)
        with closing(speak(plant, passage.ports[0])) as wire, pytest.raises(OSError):
            while True:
                wire.sendall(bytes(65536))


def test_a_stream_that_is_cut_on_its_way_is_no_orderly_end(plant: Plant) -> None:
    with closing(plant.wire(plant.destination, ORCHESTRATOR)) as kept:
        _, token, port = kept.ask("keep 1", ANSWER_S).split(" ")
        qemu = Qemu(plant, int(port))
        wire = plant.wire(plant.destination, "h1")
        assert wire.ask(f"join {token} {port}", ANSWER_S) == "ok"
        wire.say("half of the memory")
        until(lambda: bool(qemu.got))
        wire.close()
        qemu.thread.join(ANSWER_S)
    assert isinstance(qemu.ended, ConnectionResetError)


def test_another_user_of_the_host_does_not_speak_into_a_passage(plant: Plant) -> None:
    plant.source.users = frozenset({os.getuid() + 1})
    with closing(plant.passage()) as passage:
        qemu = Qemu(plant, passage.ports[0])
        with closing(speak(plant, passage.ports[0])) as wire:
            try:
                wire.sendall(b"let me in")
                assert everything(wire) == b""
            except ConnectionError:
                pass
        assert qemu.got == b""


@pytest.mark.parametrize("ask", [user_of, owner._looked_up, owner._in_table])
def test_whose_connection_it_is_is_read_from_the_kernel(
    ask: Callable[[socket.socket], int | None],
) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = stack.enter_context(socket.create_connection(listener.getsockname()))
        plain = stack.enter_context(listener.accept()[0])
        assert ask(plain) == os.getuid()
        near.shutdown(socket.SHUT_WR)
        assert ask(plain) == os.getuid()
        # The kernel calls a closed end root's, who may speak into every passage.
        near.close()
        with suppress(OSError):
            assert ask(plain) is None


def test_without_the_kernels_own_search_its_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_plain: socket.socket) -> int | None:
        raise PermissionError("address family")

    monkeypatch.setattr(owner, "_looked_up", refused)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(listener.getsockname()))
        assert user_of(stack.enter_context(listener.accept()[0])) == os.getuid()


#: Connects, speaks and closes, ten times: as somebody else where the test's own user is root.
HIT_AND_RUN = """
import socket, sys
for _ in range(10):
    wire = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    wire.sendall(b"memory of another machine")
    wire.close()
"""


def test_who_leaves_at_once_does_not_speak_into_a_passage(plant: Plant) -> None:
    # The kernel calls what he has left root's, and root may.
    nobody = 65534 if os.getuid() == 0 else os.getuid()
    plant.source.users = frozenset({0})
    with closing(plant.passage()) as passage:
        qemu = Qemu(plant, passage.ports[0])
        words = [plant.source.loopback, str(passage.ports[0])]
        python = os.path.realpath(sys.executable)
        subprocess.run([python, "-I", "-c", HIT_AND_RUN, *words], user=nobody, cwd="/", check=True)
        until(lambda: plant.source._places._value == MAX_CONNECTIONS - 1)
        assert qemu.got == b""
        # Nobody's words have used up what root's will go by.
        if os.getuid() == 0:
            with closing(speak(plant, passage.ports[0])) as wire:
                wire.sendall(b"memory")
                wire.shutdown(socket.SHUT_WR)
                assert everything(wire) == b"yromem"


def test_an_earlier_relay_that_hangs_up_after_a_look_is_asked_again(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(self: Relay, wire: Wire, order: Order) -> None:
        wire.say("ok" if order.token in self._kept.values() else "unknown")

    monkeypatch.setattr(Relay, "_look", look)
    with closing(plant.passage()) as passage:
        qemu = Qemu(plant, passage.ports[0])
        with closing(speak(plant, passage.ports[0])) as wire:
            wire.sendall(b"memory")
            wire.shutdown(socket.SHUT_WR)
            assert everything(wire) == b"yromem"
        assert qemu.got == b"memory"


def test_one_that_answers_late_is_not_joined_twice(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Order] = []

    def late(self: Relay, wire: Wire, order: Order) -> None:
        asked.append(order)
        threading.Event().wait(1.0)
        wire.say("ok")

    with closing(plant.passage()) as passage:
        monkeypatch.setattr(service, "ANSWER_S", 0.3)
        monkeypatch.setattr(Relay, "_join", late)
        with closing(speak(plant, passage.ports[0])) as wire, suppress(ConnectionError):
            wire.sendall(b"memory")
            assert everything(wire) == b""
    until(lambda: plant.destination._places._value == MAX_CONNECTIONS)
    assert len(asked) == 1


def test_what_was_made_ahead_lasts_no_longer_than_its_passage(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AHEAD_S", 0.05)
    with ExitStack() as stack:
        with closing(plant.wire(plant.destination, ORCHESTRATOR)) as kept:
            _, token, port = kept.ask("keep 1", ANSWER_S).split(" ")
            waiting = [
                stack.enter_context(closing(plant.wire(plant.destination, "h1")))
                for _ in range(MAX_COUNT + 1)
            ]
            said = [wire.ask(f"look {token}", ANSWER_S) for wire in waiting]
            # No more than a passage has ports: a source cannot take all places of another host.
            assert said == ["ok"] * MAX_COUNT + ["unknown"]
            waiting[0].close()
            until(lambda: plant.destination._ahead[token] == MAX_COUNT - 1)
            again = stack.enter_context(closing(plant.wire(plant.destination, "h1")))
            assert again.ask(f"look {token}", ANSWER_S) == "ok"
        # They say nothing and stay connected: the passage is gone, and so are they.
        until(lambda: plant.destination._places._value == MAX_CONNECTIONS)
        assert plant.destination._ahead == {}
        with pytest.raises(RelayError):
            again.ask(f"join {token} {port}", ANSWER_S)


def test_each_disk_has_a_connection_of_its_own_on_one_port(plant: Plant) -> None:
    with closing(plant.passage(2)) as passage:
        port = passage.ports[1]
        with socket.create_server((plant.destination.loopback, port)) as listener:
            for number in range(3):
                with closing(speak(plant, port)) as wire, closing(listener.accept()[0]) as disk:
                    wire.sendall(b"%d" % number)
                    assert disk.recv(1) == b"%d" % number
                    disk.sendall(b"ok")
                    assert wire.recv(2) == b"ok"


def test_what_was_made_ahead_and_not_used_is_given_back(plant: Plant) -> None:
    with closing(plant.passage(4)):
        assert plant.destination._places._value == MAX_CONNECTIONS - 5
    for relay in (plant.source, plant.destination):
        until(lambda relay=relay: relay._places._value == MAX_CONNECTIONS)


def test_a_renewed_certificate_is_shown_without_a_stop(plant: Plant) -> None:
    with closing(plant.wire(plant.source, "h9")) as wire:
        assert wire.peer == "h1"
    pair(plant.authority, plant.folder / "new", "renewed")
    for name in ("certificate", "key"):
        old = getattr(plant.source.certificates, name)
        new = plant.folder / "new/qemu" / old.name
        old.write_bytes(new.read_bytes())
        os.utime(old, ns=(0, 1))
    with closing(plant.wire(plant.source, "h9")) as wire:
        assert wire.peer == "renewed"


def test_ports_that_something_else_has_are_gone_round(plant: Plant) -> None:
    # All but two of the source's are taken by others: found after a few tries, or said.
    plant.destination.passages = PASSAGES[:2]
    with closing(plant.passage()) as first, closing(plant.passage()) as second:
        assert set(first.ports) | set(second.ports) == set(PASSAGES[:2])
        with pytest.raises(RelayError):
            plant.passage()
    # One for each try: that of the try before may not be given back yet.
    some = PASSAGES[:TRIES]
    until(lambda: plant.destination._kept == {} and all(map(plant.source._free, some)))
    with ExitStack() as others:
        for port in some:
            others.enter_context(socket.create_server((plant.source.loopback, port)))
        plant.destination.passages = some
        with pytest.raises(RelayError, match="taken"):
            plant.passage()


@pytest.mark.parametrize(
    "line",
    [
        "", "keep", "keep 0", "keep 99", "keep x", "open h 1 t", "open h x t 49216", "open h 1 t 22", "join t 22",
        "join t", "look", "get / HTTP/1.1", f"join t {PASSAGES[-1] + 1}",
    ],
)  # fmt: skip
def test_no_other_line_is_understood(line: str) -> None:
    with pytest.raises(RelayError):
        parse(line)


def test_a_host_without_a_relay_is_told_at_once(plant: Plant) -> None:
    plant.destination.stop()
    with pytest.raises(RelayError):
        plant.passage()
    assert PORT == 16515


def test_who_says_nothing_and_leaves_leaves_nothing_behind(plant: Plant) -> None:
    wire = plant.wire(plant.destination, ORCHESTRATOR)
    with pytest.raises(ssl.SSLWantReadError):
        wire._tls.unwrap()
    wire._flush()
    with pytest.raises(RelayError):
        wire.hear(ANSWER_S)
    wire.close()


def test_the_lab_starts_relays_with_what_the_unit_gives_them() -> None:
    unit = Path(__file__).parents[3] / "ansible/roles/agent/templates/millwright-relay.service.j2"
    assert f"\nEnvironment=GLIBC_TUNABLES={TUNABLES}\n" in unit.read_text("utf-8")
