"""The serial console and the screen: of a running domain, for one person at a time."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from millwright.hypervisor import (
    Capability,
    Conflict,
    HostUnreachable,
    NotFound,
    screen_socket,
)

from tests.contract.hypervisor.subjects import Subject
from tests.support.viewer import Viewer

pytestmark = pytest.mark.needs(Capability.CONSOLE, Capability.BOOT)


def test_a_console_of_what_runs_and_for_one_alone(subject: Subject) -> None:
    host = subject.hypervisor
    with pytest.raises(NotFound):
        host.console_stream(uuid4())
    spec = subject.spec()
    host.define(spec)
    with pytest.raises(Conflict, match="stopped"):
        host.console_stream(spec.uuid)
    host.start(spec.uuid)
    first = host.console_stream(spec.uuid)
    first.write(b"\n")
    second = host.console_stream(spec.uuid)
    try:
        _ends(first)
        second.write(b"\n")
        host.destroy(spec.uuid)
        _ends(second)
    finally:
        for console in (first, second):
            console.close()
            console.close()


def _ends(console: object) -> None:
    """Whatever was still under way is read; then the end is told."""
    limit = time.monotonic() + 60
    with pytest.raises(HostUnreachable):
        while time.monotonic() < limit:
            console.read(timeout_s=0.5)  # type: ignore[attr-defined]


@pytest.mark.needs(Capability.SCREEN, Capability.BOOT)
def test_a_screen_of_what_has_one_and_for_one_alone(subject: Subject) -> None:
    host = subject.hypervisor
    blind = subject.spec()
    host.define(blind)
    host.start(blind.uuid)
    with pytest.raises(Conflict, match="no screen"):
        host.screen_stream(blind.uuid)
    with pytest.raises(NotFound):
        host.screen_stream(uuid4())
    uuid = uuid4()
    spec = subject.spec(uuid=uuid, metadata=subject.mark(uuid), screen=screen_socket(uuid))
    host.define(spec)
    with pytest.raises(Conflict, match="stopped"):
        host.screen_stream(uuid)
    host.start(uuid)
    first = host.screen_stream(uuid)
    picture = _viewer(first).picture()
    assert picture.width >= 320
    assert picture.height >= 200
    assert spec.name in picture.name
    second = host.screen_stream(uuid)
    try:
        _ends(first)
        viewer = _viewer(second)
        viewer.key(0xFF0D)
        # The machine may have gone from text to pictures meanwhile.
        again = viewer.picture()
        assert again.name == picture.name
        assert again.width >= 320
        host.destroy(uuid)
        _ends(second)
    finally:
        for screen in (first, second):
            screen.close()
            screen.close()


def _viewer(stream: object) -> Viewer:
    limit = time.monotonic() + 60

    def read() -> bytes:
        assert time.monotonic() < limit, "the screen says nothing"
        return stream.read(timeout_s=0.5)  # type: ignore[attr-defined, no-any-return]

    return Viewer(read, stream.write)  # type: ignore[attr-defined]
