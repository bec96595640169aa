"""The machines beside the controller: each boots on emulation, uses its own software and is used from outside."""

from __future__ import annotations

import base64
import http.client
import json
import re
import runpy
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import ECB

from tests.support.guest import Guest
from tests.support.lab import CACHE, need_root
from vmtemplates import build_image, load_templates

WORD = "k7qd2mzvr4twx5ny"
HEALTH = 9180
pytestmark = [pytest.mark.lab, pytest.mark.full]


def booted(name: str, folder: Path, *ports: int) -> Iterator[Guest]:
    """A guest of the template's smallest size, with its own limit of time for being healthy."""
    need_root()
    template = load_templates()[name]
    guest = Guest(
        build_image(template, CACHE / "images"),
        folder,
        memory_mib=template.sizes[0].memory_bytes // 2**20,
        ports=(HEALTH, *ports),
        credentials={"mw.access": WORD},
        cmdline="systemd.machine_id=0123456789abcdef0123456789abcdef systemd.hostname=guest",
    )
    try:
        guest.start()
        yield guest
    finally:
        guest.kill()


def ask(
    guest: Guest, port: int, method: str, path: str, body: bytes = b"", *,
    user: str = "plant", word: str | None = WORD, **headers: str,
) -> tuple[int, bytes]:  # fmt: skip
    """One request from outside."""
    line = http.client.HTTPConnection("127.0.0.1", guest.ports[port], timeout=120)
    if word is not None:
        secret = base64.b64encode(f"{user}:{word}".encode()).decode()
        headers["Authorization"] = f"Basic {secret}"
    try:
        line.request(
            method, path, body or None, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def healthy(guest: Guest, name: str) -> str:
    """What the check saw, once it went well."""
    last: list[Any] = [None]

    def well() -> dict[str, Any] | None:
        status, body = ask(guest, HEALTH, "GET", "/health", word=None)
        last[0] = json.loads(body)
        return last[0] if status == 200 and last[0]["ok"] else None

    try:
        found = guest.until(well, limit_s=load_templates()[name].health.timeout_s)
    except (AssertionError, http.client.HTTPException) as error:
        raise AssertionError(f"{name}: {last[0]}; {error}") from error
    print(f"{name}: healthy after {guest.age_s:.0f} s: {found['detail']}")
    return str(found["detail"])


def shadow_is_locked(guest: Guest) -> None:
    guest.until(lambda: guest.agent("guest-ping") == {}, limit_s=guest.age_s + 120)
    _, shadow = guest.run("/bin/cat", "/etc/shadow")
    for line in shadow.split():
        name, secret = line.split(":")[:2]
        assert secret.startswith(("!", "*")), name


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    yield from booted("cae-node", tmp_path_factory.mktemp("cae"), 8080)


class TestCaeNode:
    def test_it_solves_a_beam_and_the_deflection_is_right(self, node: Guest) -> None:
        detail = healthy(node, "cae-node")
        bends, by_hand = (float(word) for word in re.findall(r"([0-9.]+) mm", detail))
        assert by_hand == pytest.approx(0.192, abs=0.0001)
        assert bends == pytest.approx(by_hand, rel=0.02)

    def test_nobody_can_log_in(self, node: Guest) -> None:
        shadow_is_locked(node)

    def test_a_job_from_outside_is_solved_and_its_results_fetched(self, node: Guest) -> None:
        source = Path(__file__).resolve().parents[3] / "vmtemplates/cae-node/files/beam.py"
        code = runpy.run_path(str(source))
        status, body = ask(node, 8080, "POST", "/jobs?name=beam", code["model"]().encode())
        assert status == 201, body
        job = json.loads(body)["id"]

        def ended() -> dict[str, Any] | None:
            row: dict[str, Any] = json.loads(ask(node, 8080, "GET", f"/jobs/{job}")[1])
            return row if row["state"] in ("done", "failed") else None

        row = node.until(ended, limit_s=node.age_s + 120)
        assert row["state"] == "done", row
        assert {"job.dat", "job.inp", "job.log"} <= set(row["files"])
        _, results = ask(node, 8080, "GET", f"/jobs/{job}/files/job.dat")
        assert code["deflection"](results.decode()) == pytest.approx(code["by_hand"](), rel=0.02)

    def test_a_wrong_model_fails_with_the_solvers_words(self, node: Guest) -> None:
        wrong = b"*NODE\n1, 0, 0, 0\n*ELEMENT, TYPE=C3D8\n1, 2\n*STEP\n*STATIC\n*END STEP\n"
        status, body = ask(node, 8080, "POST", "/jobs?name=wrong", wrong)
        assert status == 201
        job = json.loads(body)["id"]

        def ended() -> dict[str, Any] | None:
            row: dict[str, Any] = json.loads(ask(node, 8080, "GET", f"/jobs/{job}")[1])
            return row if row["state"] in ("done", "failed") else None

        row = node.until(ended, limit_s=node.age_s + 120)
        assert row["state"] == "failed"
        assert row["detail"].startswith(("*ERROR", "the solver ended with 201")), row

    @pytest.mark.parametrize(
        ("change", "status"),
        [({"word": None}, 401), ({"word": "wrong"}, 401), ({"Origin": "http://elsewhere"}, 403)],
    )
    def test_strangers_are_refused(self, node: Guest, change: dict[str, Any], status: int) -> None:
        assert ask(node, 8080, "GET", "/jobs", **change)[0] == status
        assert ask(node, 8080, "GET", "/jobs")[0] == 200


@pytest.fixture(scope="module")
def collab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    yield from booted("collab-services", tmp_path_factory.mktemp("collab"), 80, 1883)


def mqtt_answer(port: int, word: str) -> int:
    """What the broker says to CONNECT: 0 accepted, 5 not authorised."""
    words = [b"test", b"plant", word.encode()]
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(
        len(each).to_bytes(2, "big") + each for each in words
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(bytes([0x10, len(body)]) + body)
        answer = line.recv(4)
    assert answer[:2] == b"\x20\x02", answer
    return answer[3]


class TestCollabServices:
    def test_each_of_its_services_is_used(self, collab: Guest) -> None:
        detail = healthy(collab, "collab-services")
        assert "broker" in detail
        assert "WebDAV" in detail
        assert "Redmine" in detail

    def test_nobody_can_log_in(self, collab: Guest) -> None:
        shadow_is_locked(collab)

    def test_files_go_in_and_out_from_outside(self, collab: Guest) -> None:
        assert ask(collab, 80, "MKCOL", "/dav/drawings")[0] == 201
        assert ask(collab, 80, "PUT", "/dav/drawings/frame.txt", b"frame")[0] == 201
        status, body = ask(collab, 80, "PROPFIND", "/dav/drawings/", Depth="1")
        assert status == 207
        assert b"/dav/drawings/frame.txt" in body
        assert ask(collab, 80, "GET", "/dav/drawings/frame.txt") == (200, b"frame")
        for word in (None, "wrong"):
            assert ask(collab, 80, "GET", "/dav/drawings/frame.txt", word=word)[0] == 401
            assert ask(collab, 80, "PUT", "/dav/drawings/other.txt", b"x", word=word)[0] == 401

    def test_tasks_are_kept_for_the_account_and_nobody_else(self, collab: Guest) -> None:
        status, body = ask(collab, 80, "GET", "/users/current.json")
        assert status == 200, body
        assert json.loads(body)["user"]["login"] == "plant"
        project = json.dumps({"project": {"name": "Line 1", "identifier": "line-1"}}).encode()
        kind = {"Content_Type": "application/json"}
        assert ask(collab, 80, "POST", "/projects.json", project, **kind)[0] == 201
        assert ask(collab, 80, "GET", "/projects.json", word=None)[0] == 401
        for user in ("admin", "plant"):
            assert ask(collab, 80, "GET", "/projects.json", user=user, word="admin")[0] == 401

    def test_the_broker_wants_the_access_word(self, collab: Guest) -> None:
        assert mqtt_answer(collab.ports[1883], WORD) == 0
        assert mqtt_answer(collab.ports[1883], "wrong") == 5

    def test_it_signs_sessions_with_a_key_of_its_own(self, collab: Guest) -> None:
        _, text = collab.run("/usr/bin/wc", "-c", "/etc/redmine/default/secret_key.txt")
        assert text.split()[0] == "65"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    yield from booted("cad-workstation", tmp_path_factory.mktemp("cad"), 6080)


class TestCadWorkstation:
    def test_freecad_makes_a_part_and_is_on_the_desktop(self, desk: Guest) -> None:
        detail = healthy(desk, "cad-workstation")
        assert "made a part of 47989.4 mm³" in detail
        assert "desktop" in detail

    def test_nobody_can_log_in(self, desk: Guest) -> None:
        shadow_is_locked(desk)

    def test_the_browser_gets_novnc(self, desk: Guest) -> None:
        status, body = ask(desk, 6080, "GET", "/", word=None)
        assert status == 200
        assert b"vnc.html" in body
        status, body = ask(desk, 6080, "GET", "/vnc.html", word=None)
        assert status == 200
        assert b"noVNC" in body

    def test_the_screen_wants_the_access_word(self, desk: Guest) -> None:
        assert vnc_answer(desk.ports[6080], "wrong---") == 1
        assert vnc_answer(desk.ports[6080], WORD) == 0


class Browser:
    """As much of a WebSocket's client end as a screen needs: short binary messages."""

    def __init__(self, port: int) -> None:
        self._line = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._line.sendall(
            b"GET /websockify HTTP/1.1\r\nHost: guest\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: binary\r\n\r\n"
        )
        self._raw = self._line.makefile("rb")
        assert b" 101 " in self._raw.readline()
        while self._raw.readline().strip():
            pass
        self._held = b""

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            kind, length = self._raw.read(2)
            if length == 126:
                length = int.from_bytes(self._raw.read(2), "big")
            piece = self._raw.read(length)
            assert kind & 0x0F in (2, 9), f"closed: {piece!r}"
            if kind & 0x0F == 2:
                self._held += piece
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def send(self, data: bytes) -> None:
        # A mask of zeros leaves the bytes as they are.
        self._line.sendall(bytes([0x82, 0x80 | len(data)]) + bytes(4) + data)

    def close(self) -> None:
        self._raw.close()
        self._line.close()


def vnc_answer(port: int, word: str) -> int:
    """What the screen behind the WebSocket says to a password: 0 accepted, 1 refused."""
    screen = Browser(port)
    try:
        assert screen.take(12) == b"RFB 003.008\n"
        screen.send(b"RFB 003.008\n")
        assert screen.take(2) == b"\x01\x02", "VNC's password and nothing else"
        screen.send(b"\x02")
        # VNC's DES takes each byte of the key from its other end.
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in word.encode()[:8].ljust(8, b"\0"))
        cipher = Cipher(TripleDES(key * 3), ECB()).encryptor()  # noqa: S305 - VNC knows no other
        screen.send(cipher.update(screen.take(16)) + cipher.finalize())
        return int.from_bytes(screen.take(4), "big")
    finally:
        screen.close()
