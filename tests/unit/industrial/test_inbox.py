"""Deliveries that are announced while they are looked for."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from industrial.runtime.delivery import announce, announce_rollback, answer_to
from industrial.runtime.inbox import ANNOUNCING_S, Inbox
from industrial.runtime.paths import Paths
from industrial.runtime.shm import Command


def test_an_announcement_that_is_being_written_is_left_until_it_is_whole(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    inbox = Inbox(paths, [Ed25519PrivateKey.generate().public_key()])
    ready = paths.inbox / "abc.ready"
    for text in ("", '{"sha256": "abc", "si'):
        ready.write_text(text)
        assert inbox.take_all() == []
        assert not ready.with_suffix(".result").exists()
    # One that was never finished is answered in the end.
    long_ago = time.time() - 2 * ANNOUNCING_S
    os.utime(ready, (long_ago, long_ago))
    assert inbox.take_all() == []
    assert json.loads(ready.with_suffix(".result").read_text())["ok"] is False


def test_what_was_there_before_can_be_delivered_again(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    inbox = Inbox(paths, [key.public_key()])
    first, second = (
        pack(
            "config", "line", version, {"security.toml": f"format = 1\n# {version}\n".encode()}, key
        )
        for version in ("1", "2")
    )

    def deliver(bundle: bytes, delivery: str, **more: str) -> dict[str, object]:
        digest = hashlib.sha256(bundle).hexdigest()
        announced = {"sha256": digest, "size": len(bundle), "delivery": delivery, **more}
        (paths.inbox / f"{digest}.bundle").write_bytes(bundle)
        (paths.inbox / f"{digest}.ready").write_text(json.dumps(announced))
        assert inbox.waiting()
        inbox.take_all()
        assert not inbox.waiting()
        answer = json.loads((paths.inbox / f"{digest}.result").read_text())
        assert answer["ok"] and answer["delivery"] == delivery
        assert not (paths.inbox / f"{digest}.bundle").exists()
        return dict(answer)

    def counts() -> str:
        return (paths.config / "security.toml").read_text().split()[-1]

    for bundle, delivery, version in (
        (first, "a", "1"),
        (second, "b", "2"),
        (first, "c", "1"),
        (second, "d", "2"),
    ):
        assert "already" not in str(deliver(bundle, delivery)["message"])
        assert counts() == version
    # What is in force is not taken over anew.
    assert "already" in str(deliver(second, "e")["message"])
    assert counts() == "2"


def test_going_back_is_done_once_whatever_is_cleared_away_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    inbox = Inbox(paths, [key.public_key()])
    for version in ("1", "2"):
        symbols = json.dumps({"symbols": [], "layout_hash": "00" * 32}).encode()
        files = {"program.so": version.encode(), "symbols.json": symbols}
        announce(paths, pack("program", "p", version, files, key))
        inbox.take_all()

    def version() -> str:
        return str(json.loads((paths.active / "about.json").read_text())["version"])

    assert version() == "2"
    number = announce_rollback(paths)
    assert inbox.take_all() == ["program"]
    assert version() == "1"
    # Whoever asked clears away what it asked and the answer; in between only the answer is gone.
    (paths.inbox / f"{number}.result").unlink()
    assert not inbox.waiting()
    assert inbox.take_all() == []
    assert version() == "1"
    (paths.inbox / f"{number}.ready").unlink()
    # Killed before the answer, it is not done again by the next process.
    number = announce_rollback(paths)
    with monkeypatch.context() as killed:
        killed.setattr(inbox, "_forget_old", _stop)
        with pytest.raises(_Stopped):
            inbox.take_all()
    assert version() == "2"
    inbox = Inbox(paths, [key.public_key()])
    assert inbox.take_all() == ["program"]
    assert version() == "2"
    answer_to(paths, number)
    assert not list(paths.inbox.glob(f"{number}.*"))
    announce_rollback(paths)
    inbox.take_all()
    assert version() == "1"
    # Asked again it goes forth again.
    number = announce_rollback(paths)
    assert inbox.take_all() == ["program"]
    assert version() == "2"
    assert answer_to(paths, number)["ok"]
    assert not list(paths.inbox.glob(f"{number}.*"))


def test_an_answer_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    gone: list[str] = []
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda path, **how: (gone.append(path.suffix), unlink(path, **how))[1]
    )
    for kind in ("ready", "bundle"):
        (paths.inbox / f"a.{kind}").write_text("{}")
    (paths.inbox / "a.result").write_text('{"ok": true}')
    answer_to(paths, "a")
    assert gone.index(".ready") < gone.index(".result")
    assert list(paths.inbox.iterdir()) == []


class _Stopped(BaseException):
    """The process ends here."""


def _stop(*_: object) -> None:
    raise _Stopped


def test_a_program_that_was_only_named_when_the_process_ended_is_ordered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    orders: list[Command] = []

    def obey(verb: Command) -> str:
        orders.append(verb)
        return ""

    def inbox() -> Inbox:
        made = Inbox(paths, [key.public_key()])
        made.order = obey
        return made

    symbols = json.dumps({"symbols": [], "tasks": [], "layout": "", "arena_size": 0}).encode()
    first, second = (
        pack(
            "program",
            "line",
            version,
            {"program.so": version.encode(), "symbols.json": symbols},
            key,
        )
        for version in ("1", "2")
    )
    monkeypatch.setattr(Inbox, "_plan", lambda *_args: None)

    def announce(bundle: bytes, delivery: str) -> Path:
        digest = hashlib.sha256(bundle).hexdigest()
        announced = {"sha256": digest, "size": len(bundle), "delivery": delivery}
        (paths.inbox / f"{digest}.bundle").write_bytes(bundle)
        (paths.inbox / f"{digest}.ready").write_text(json.dumps(announced))
        return paths.inbox / f"{digest}.result"

    for bundle, delivery in ((first, "a"), (second, "b")):
        result = announce(bundle, delivery)
        inbox().take_all()
        assert json.loads(result.read_text())["ok"]
    result = announce(first, "c")
    before = len(orders)
    with monkeypatch.context() as patched:

        def ends(*_args: object, **_named: object) -> str:
            raise _Stopped

        patched.setattr(Inbox, "_obeyed", ends)
        with pytest.raises(_Stopped):
            inbox().take_all()
    assert json.loads(result.read_text())["delivery"] == "a", "no answer yet"
    inbox().take_all()
    answer = json.loads(result.read_text())
    assert answer["ok"] and answer["delivery"] == "c"
    assert "already" not in answer["message"]
    assert len(orders) == before + 1, "the scan was told"


def test_a_package_whose_answer_was_not_written_any_more_is_answered_without_its_bundle(
    tmp_path: Path,
) -> None:
    key = Ed25519PrivateKey.generate()
    paths = Paths(tmp_path / "state", tmp_path / "run")
    paths.prepare()
    bundle = pack("config", "line", "1", {"security.toml": b"format = 1\n"}, key)
    digest = hashlib.sha256(bundle).hexdigest()
    ready, result = (paths.inbox / f"{digest}.{end}" for end in ("ready", "result"))
    (paths.inbox / f"{digest}.bundle").write_bytes(bundle)
    ready.write_text(json.dumps({"sha256": digest, "size": len(bundle), "delivery": "a"}))
    inbox = Inbox(paths, [key.public_key()])
    inbox.take_all()
    result.unlink()
    # Killed before the answer: another process takes it up.
    Inbox(paths, [key.public_key()]).take_all()
    assert json.loads(result.read_text())["ok"]
