"""The guest agent's channel: files and commands in the guest, without any network."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import libvirt
import libvirt_qemu

from millwright.hypervisor.errors import AgentUnavailable, Conflict, GuestCommandFailed
from millwright.hypervisor.port import Progress
from millwright.hypervisor.types import ExecResult

from .base import Base
from .deadline import Deadline
from .domains import DomainVerbs

#: 128 KiB works too; from 192 KiB the call times out and the channel is blocked for a while.
CHUNK_BYTES = 48 * 1024
#: The agent's own answer time; a guest under emulation that boots can be slow.
ANSWER_S = 10
PING_S = 3
POLL_S = 0.1


class AgentVerbs(DomainVerbs, Base):
    """Guest agent verbs."""

    def agent_ping(self, uuid: UUID, *, deadline_s: float | None = None) -> None:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> None:
            domain = self._guest(conn, uuid)
            self._ask(domain, deadline, "guest-ping", limit_s=PING_S)

        self._call("agent_ping", deadline_s, work)

    def agent_read_file(
        self,
        uuid: UUID,
        path: str,
        *,
        max_bytes: int = 1 << 20,
        deadline_s: float | None = None,
    ) -> bytes:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bytes:
            domain = self._guest(conn, uuid)
            handle = self._ask(domain, deadline, "guest-file-open", path=path, mode="r")
            data = bytearray()
            try:
                while True:
                    part = self._ask(
                        domain, deadline, "guest-file-read", handle=handle, count=CHUNK_BYTES
                    )
                    data += base64.b64decode(part["buf-b64"])
                    if len(data) > max_bytes:
                        raise Conflict(
                            f"guest file {path!r} is longer than {max_bytes} bytes", host=self.name
                        )
                    if part["eof"]:
                        return bytes(data)
            finally:
                self._close(domain, deadline, handle)

        return self._call("agent_read_file", deadline_s, work)

    def agent_write_file(
        self,
        uuid: UUID,
        path: str,
        data: bytes,
        *,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> None:
            domain = self._guest(conn, uuid)
            handle = self._ask(domain, deadline, "guest-file-open", path=path, mode="w")
            try:
                for start in range(0, len(data), CHUNK_BYTES):
                    deadline.check()
                    chunk = data[start : start + CHUNK_BYTES]
                    answer = self._ask(
                        domain,
                        deadline,
                        "guest-file-write",
                        **{"handle": handle, "buf-b64": base64.b64encode(chunk).decode()},
                    )
                    if answer["count"] != len(chunk):
                        raise GuestCommandFailed(
                            f"the guest took {answer['count']} of {len(chunk)} bytes of {path!r}",
                            host=self.name,
                        )
                    if progress is not None:
                        progress(start + len(chunk), len(data))
                self._ask(domain, deadline, "guest-file-flush", handle=handle)
            finally:
                self._close(domain, deadline, handle)

        self._call("agent_write_file", deadline_s, work)

    def agent_exec(
        self,
        uuid: UUID,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> ExecResult:
        """See the port."""
        if not argv:
            raise GuestCommandFailed("no command was given", host=self.name)

        def work(conn: libvirt.virConnect, deadline: Deadline) -> ExecResult:
            domain = self._guest(conn, uuid)
            arguments: dict[str, Any] = {
                "path": argv[0],
                "arg": list(argv[1:]),
                "capture-output": True,
            }
            if stdin:
                arguments["input-data"] = base64.b64encode(stdin).decode()
            pid = self._ask(domain, deadline, "guest-exec", **arguments)["pid"]
            while True:
                status = self._ask(domain, deadline, "guest-exec-status", pid=pid)
                if status["exited"]:
                    return ExecResult(
                        exit_code=status.get("exitcode"),
                        signal=status.get("signal"),
                        stdout=base64.b64decode(status.get("out-data", "")),
                        stderr=base64.b64decode(status.get("err-data", "")),
                        truncated=bool(status.get("out-truncated") or status.get("err-truncated")),
                    )
                deadline.check()
                time.sleep(POLL_S)

        return self._call("agent_exec", deadline_s, work)

    def _guest(self, conn: libvirt.virConnect, uuid: UUID) -> libvirt.virDomain:
        domain = self._owned(conn, uuid)
        self._require_running(domain)
        return domain

    def _ask(
        self,
        domain: libvirt.virDomain,
        deadline: Deadline,
        command: str,
        *,
        limit_s: int = ANSWER_S,
        **arguments: Any,
    ) -> Any:
        """One agent command; its own timeout ends before ours, so that no thread is lost."""
        deadline.check()
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        seconds = max(1, min(limit_s, int(deadline.left_s)))
        answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(request), seconds, 0)
        try:
            return json.loads(answer)["return"]
        except (ValueError, KeyError) as error:
            raise AgentUnavailable(
                f"{command}: the agent's answer is not understood", host=self.name
            ) from error

    def _close(self, domain: libvirt.virDomain, deadline: Deadline, handle: int) -> None:
        # A handle left open is the guest's small loss; the first error is what matters.
        with contextlib.suppress(libvirt.libvirtError, Exception):
            self._ask(domain, deadline, "guest-file-close", limit_s=PING_S, handle=handle)
