"""The serial console: of a running domain, for one person at a time."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from millwright.hypervisor import Capability, Conflict, HostUnreachable, NotFound

from tests.contract.hypervisor.subjects import Subject

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
