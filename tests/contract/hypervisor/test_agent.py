"""The guest agent: files and commands inside a running guest."""

from __future__ import annotations

import hashlib

import pytest
from millwright.hypervisor import AgentUnavailable, Capability, Conflict, NotFound, Retryable

from tests.contract.hypervisor.subjects import Subject

pytestmark = pytest.mark.needs(Capability.AGENT, Capability.BOOT)


def test_files_and_commands_in_a_guest(subject: Subject) -> None:
    if not subject.has_agent:
        pytest.skip("this host's probe guest has no agent")
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    with pytest.raises(Conflict, match="stopped"):
        host.agent_ping(spec.uuid)
    host.start(spec.uuid)
    with pytest.raises(AgentUnavailable) as caught:
        host.agent_ping(spec.uuid)
    assert isinstance(caught.value, Retryable)
    subject.until("the agent answers", lambda: host.agent_ping(spec.uuid))
    # Several chunks, and a length that is no multiple of a chunk.
    data = hashlib.sha256(b"bundle").digest() * 5000 + b"end"
    seen: list[tuple[int, int]] = []
    host.agent_write_file(spec.uuid, "/tmp/bundle", data, progress=lambda *p: seen.append(p))
    assert seen[-1] == (len(data), len(data))
    assert host.agent_read_file(spec.uuid, "/tmp/bundle") == data
    host.agent_write_file(spec.uuid, "/tmp/empty", b"")
    assert host.agent_read_file(spec.uuid, "/tmp/empty") == b""
    with pytest.raises(Conflict, match="longer than 1000"):
        host.agent_read_file(spec.uuid, "/tmp/bundle", max_bytes=1000)
    with pytest.raises(NotFound, match="missing"):
        host.agent_read_file(spec.uuid, "/tmp/missing")
    result = host.agent_exec(spec.uuid, ["/bin/sh", "-c", "exit 0"])
    assert result.exit_code == 0
    host.destroy(spec.uuid)
    with pytest.raises(Conflict):
        host.agent_ping(spec.uuid)


def test_a_guest_that_does_not_exist(subject: Subject) -> None:
    from uuid import uuid4

    with pytest.raises(NotFound):
        subject.hypervisor.agent_ping(uuid4())
