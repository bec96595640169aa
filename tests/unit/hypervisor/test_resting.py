"""A connection to a host that sleeps: opened when it is asked, and not by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from millwright.hypervisor import HostUnreachable
from millwright.hypervisor.driver import connection
from millwright.hypervisor.driver.connection import Connection, HostAddress
from millwright.hypervisor.driver.deadline import Deadline


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.005)


class _Tried(Connection):
    """Counts its attempts to open; `there`: whether the host answers."""

    def __init__(self) -> None:
        self.there, self.tries = False, 0
        super().__init__(HostAddress(name="h1", uri="qemu+tls://h1/system"), persistent=True)

    def _open(self) -> Any:
        self.tries += 1
        if not self.there:
            raise HostUnreachable("silent", host="h1")
        return _Nothing()

    @property
    def at_work(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def ask(self) -> int:
        return self.run(Deadline("test", "h1", 20.0), lambda _: 42)


class _Nothing:
    def unregisterCloseCallback(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(connection, "BACKOFF_S", (0.001,))
    made = _Tried()
    yield made
    made.close()


def test_awake_it_tries_by_itself(line: _Tried) -> None:
    with pytest.raises(HostUnreachable):
        line.ask()
    until(lambda: line.tries > 5)


def test_resting_it_tries_once_for_each_question(line: _Tried) -> None:
    line.rest(True)
    for number in range(1, 4):
        with pytest.raises(HostUnreachable, match="silent"):
            line.ask()
        until(lambda: not line.at_work)
        assert line.tries == number
    # It has woken by itself: the next question is answered.
    line.there = True
    assert line.ask() == 42


def test_what_is_lost_while_it_rests_is_left_alone_until_it_is_awake(line: _Tried) -> None:
    line.there = True
    assert line.ask() == 42
    line.rest(True)
    line.drop("it fell asleep")
    until(lambda: not line.at_work)
    assert (line.tries, line.connected) == (1, False)
    # Awake again it connects without being asked.
    line.rest(False)
    until(lambda: line.connected)
    assert line.tries == 2


def test_who_asks_just_when_it_is_lost_is_told_and_waits_for_nothing(line: _Tried) -> None:
    line.there = True
    line.ask()
    line.rest(True)
    line.there = False
    answers: list[str] = []

    def ask() -> None:
        try:
            line.ask()
        except HostUnreachable as error:
            answers.append(error.message)

    line.drop("it fell asleep")
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(answers) == 8
    until(lambda: not line.at_work)
