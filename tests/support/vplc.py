"""A vPLC without a guest: scan process and protocols in a scratch folder, and a program written in C by hand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from industrial.runtime import ensure_engine
from industrial.runtime.build import NATIVE
from industrial.runtime.inbox import Inbox
from industrial.runtime.paths import Paths
from industrial.runtime.protocols import Ports, Protocols
from industrial.runtime.shm import SharedMemory

#: A filling station's controller against the ABI: level in %IW0, valve %QX0.0, HR0 level, HR1 valve, HR3 set-point.
HAND_MADE = r"""
#include "vplc_abi.h"
#include <string.h>
static void run(vplc_ctx *c) {
    uint16_t level, set; uint32_t count;
    memcpy(&level, c->in, 2); memcpy(&set, c->out + 6, 2);
    uint16_t valve = level < set;
    c->out[8] = (uint8_t)valve;
    memcpy(c->out, &level, 2); memcpy(c->out + 2, &valve, 2);
    memcpy(&count, c->arena, 4); count++; memcpy(c->arena, &count, 4);
    c->line = 7;
    if (c->mem[0] == 1) c->fault(c, VPLC_FAULT_DIV_ZERO);
    if (c->mem[0] == 2) while (!*c->stop) {}
    if (c->mem[0] == 2) c->fault(c, VPLC_FAULT_WATCHDOG);
    if (c->mem[0] == 3) *(volatile int *)8 = 1;
    if (c->mem[0] == 4) for (;;) {}
}
static void init(vplc_ctx *c, int warm) { (void)warm; uint16_t set = 8000; memcpy(c->out + 6, &set, 2); }
static const vplc_task tasks[] = {{"main", 10000000, 1, 0, run}};
static const vplc_range retain[] = {{0, 4}};
const vplc_program vplc_program_v1 = {VPLC_ABI_VERSION, "hand", "VERSION", {1}, 64, retain, 1, 0, 0, tasks, 1, init};
"""
SYMBOLS = {
    "format": 1,
    "program": "hand",
    "layout_hash": "",
    "tasks": [],
    "symbols": [
        {
            "path": "Main.sensor",
            "type": "UINT",
            "area": "I",
            "offset": 0,
            "bit": None,
            "size": 2,
            "dims": None,
            "located": "%IW0",
        },
        {
            "path": "Main.level",
            "type": "UINT",
            "area": "Q",
            "offset": 0,
            "bit": None,
            "size": 2,
            "dims": None,
            "located": "%QW0",
            "driven": True,
        },
        {
            "path": "Main.open",
            "type": "UINT",
            "area": "Q",
            "offset": 2,
            "bit": None,
            "size": 2,
            "dims": None,
            "located": "%QW1",
            "driven": True,
        },
        {
            "path": "Main.setpoint",
            "type": "UINT",
            "area": "Q",
            "offset": 6,
            "bit": None,
            "size": 2,
            "dims": None,
            "located": "%QW3",
        },
        {
            "path": "Main.valve",
            "type": "BOOL",
            "area": "Q",
            "offset": 8,
            "bit": 0,
            "size": 1,
            "dims": None,
            "located": "%QX8.0",
            "driven": True,
        },
        {
            "path": "Main.count",
            "type": "UDINT",
            "area": "arena",
            "offset": 0,
            "bit": None,
            "size": 4,
            "dims": None,
            "retain": True,
        },
    ],
}
SECURITY = """[opcua]
anonymous_read = "a test on loopback"
[[modbus.client]]
name = "bench"
cidr = "127.0.0.1/32"
[[modbus.client.write]]
area = "holding"
first = 3
last = 3
[[modbus.client.write]]
area = "holding"
first = 1024
last = 1024
"""


def compile_c(folder: Path, source: str) -> bytes:
    """A shared object from C."""
    (folder / "program.c").write_text(source)
    target = folder / "program.so"
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            "-O1",
            "-I",
            str(NATIVE),
            "-o",
            str(target),
            str(folder / "program.c"),
        ],
        check=True,
    )
    return target.read_bytes()


class LocalVplc:
    """Scan and protocols of one vPLC; start them, deliver, look, kill."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey | None = None) -> None:
        self.paths = Paths(folder / "state", folder / "run")
        self.paths.prepare()
        self.key = key or Ed25519PrivateKey.generate()
        self.process: subprocess.Popen[bytes] | None = None
        self.protocols: Protocols | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def start_scan(self) -> None:
        paths = self.paths
        paths.shm.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                str(ensure_engine()),
                "--shm",
                str(paths.shm),
                "--program",
                str(paths.active / "program.so"),
                "--retain",
                str(paths.retain),
            ]
        )
        until(paths.shm.exists, "the shared memory")

    def start_protocols(self) -> Protocols:
        ready = threading.Event()

        def serve() -> None:
            async def main() -> None:
                self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
                self.protocols = Protocols(
                    self.paths,
                    Inbox(self.paths, [self.key.public_key()]),
                    Ports("127.0.0.1", 0, 0, 0),
                )
                ready.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await self.protocols.run()

            asyncio.run(main())

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        assert ready.wait(30)
        assert self.protocols is not None
        until(lambda: "metrics" in self.protocols.bound, "the protocols")
        return self.protocols

    def stop(self) -> None:
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            assert self._thread is not None
            self._thread.join(30)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def deliver(self, bundle: bytes) -> dict[str, Any]:
        """As the guest agent's channel does it; the guest's answer."""
        digest = hashlib.sha256(bundle).hexdigest()
        (self.paths.inbox / f"{digest}.bundle").write_bytes(bundle)
        (self.paths.inbox / f"{digest}.ready").write_text(
            json.dumps({"sha256": digest, "size": len(bundle)})
        )
        result = self.paths.inbox / f"{digest}.result"
        until(result.exists, "the guest's answer")
        return dict(json.loads(result.read_text()))

    def program(self, folder: Path, version: str = "1", **more: bytes) -> bytes:
        so = compile_c(folder, HAND_MADE.replace('"VERSION"', f'"{version}"'))
        files = {
            "program.so": so,
            "symbols.json": json.dumps(SYMBOLS).encode(),
            "security.toml": SECURITY.encode(),
            **more,
        }
        return pack("program", "hand", version, files, self.key)

    def status(self) -> dict[str, Any]:
        until(self.paths.status.exists, "the first status")
        return dict(json.loads(self.paths.status.read_text()))

    def shm(self) -> SharedMemory:
        return SharedMemory(self.paths.shm)


def until(condition: Callable[[], Any], what: str, limit_s: float = 60.0) -> Any:
    """Wait for a condition, generously."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")
