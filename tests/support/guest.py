"""A guest without libvirt: QEMU as a child of the test, on emulation, reachable on loopback only."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vmtemplates import BuiltImage


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Guest:
    """One boot after the other of one disk. Each line of the console is kept with its time after the start."""

    def __init__(
        self,
        image: BuiltImage,
        folder: Path,
        *,
        memory_mib: int,
        ports: tuple[int, ...] = (),
        credentials: Mapping[str, str] | None = None,
        cmdline: str = "",
        disk_size: str = "",
    ) -> None:
        self.image = image
        self.folder = folder
        self.ports = {port: free_port() for port in ports}
        self._memory_mib = memory_mib
        self._credentials = dict(credentials or {})
        self._cmdline = f"{image.cmdline} {cmdline}".strip()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.console: list[tuple[float, str]] = []
        self._more = threading.Condition()
        if image.disk is not None:
            self.disk = folder / "disk.qcow2"
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.disk[0], self.disk,
                 *([disk_size] if disk_size else [])],
                check=True,
            )  # fmt: skip

    def start(self) -> None:
        """Power on."""
        forwards = "".join(
            f",hostfwd=tcp:127.0.0.1:{here}-10.0.2.15:{port}" for port, here in self.ports.items()
        )
        address = "ip=10.0.2.15::10.0.2.2:255.255.255.0:guest:eth0:off"
        command: list[str | Path] = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max", "-smp", "2",
            "-m", str(self._memory_mib), "-kernel", self.image.kernel[0], "-initrd", self.image.initrd[0],
            "-append", f"{self._cmdline} {address}", "-serial", "stdio",
            # restrict: the guest reaches nothing but what is forwarded to it
            "-netdev", f"user,id=cell,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=cell",
            "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
        if self.image.disk is not None:
            command += ["-drive", f"file={self.disk},if=virtio,format=qcow2,cache=writeback"]
        for name, value in self._credentials.items():
            text = base64.b64encode(value.encode()).decode()
            entry = self.folder / f"oem-{name}"
            entry.write_text(f"io.systemd.credential.binary:{name}={text}")
            command += ["-smbios", f"type=11,path={entry}"]
        self.console = []
        self._started = time.monotonic()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._more:
                self.console.append((self.age_s, line.decode(errors="replace").strip()))
                self._more.notify_all()

    @property
    def age_s(self) -> float:
        """Seconds since power on."""
        return time.monotonic() - self._started

    def kill(self) -> None:
        """Power loss."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def said(self, text: str, limit_s: float = 240.0) -> float:
        """Wait until the console shows a text; seconds after power on."""

        def seen() -> list[float]:
            return [at for at, line in self.console if text in line]

        with self._more:
            if not self._more.wait_for(seen, limit_s):
                last = "\n".join(line for _, line in self.console[-20:])
                raise AssertionError(f"the console never showed {text!r}; last:\n{last}")
            return seen()[0]

    def until(self, what: Callable[[], Any], limit_s: float = 240.0) -> Any:
        """Ask until there is an answer that is true; the answer."""
        error: Exception | None = None
        while self.age_s < limit_s:
            try:
                if answer := what():
                    return answer
            except (OSError, ValueError, KeyError) as caught:
                error = caught
            time.sleep(0.25)
        last = "\n".join(line for _, line in self.console[-20:])
        raise AssertionError(f"no answer within {limit_s} s ({error!r}); console:\n{last}")

    def agent(self, command: str, **arguments: Any) -> Any:
        """One command of the guest agent."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            channel.connect(f"{self.folder}/agent")
            asked = {"execute": command, **({"arguments": arguments} if arguments else {})}
            channel.sendall(json.dumps(asked).encode() + b"\n")
            with channel.makefile() as answers:
                return json.loads(answers.readline())["return"]

    def read(self, path: str) -> bytes:
        """A file of the guest, as the guest agent gives it; KeyError where there is none."""
        handle, data, end = self.agent("guest-file-open", path=path, mode="r"), b"", False
        try:
            while not end:
                part = self.agent("guest-file-read", handle=handle, count=48 * 1024)
                data, end = data + base64.b64decode(part["buf-b64"]), part["eof"]
        finally:
            self.agent("guest-file-close", handle=handle)
        return data

    def write(self, path: str, data: bytes) -> None:
        """A file into the guest through the guest agent."""
        handle = self.agent("guest-file-open", path=path, mode="w")
        for at in range(0, len(data), 48 * 1024):
            text = base64.b64encode(data[at : at + 48 * 1024]).decode()
            self.agent("guest-file-write", handle=handle, **{"buf-b64": text})
        self.agent("guest-file-close", handle=handle)

    def run(self, *words: str, limit_s: float = 60.0) -> tuple[int, str]:
        """Run a command in the guest; exit code and output."""
        pid = self.agent(
            "guest-exec", path=words[0], arg=list(words[1:]), **{"capture-output": True}
        )["pid"]
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            state = self.agent("guest-exec-status", pid=pid)
            if state["exited"]:
                return state.get("exitcode", -1), base64.b64decode(
                    state.get("out-data", "")
                ).decode()
            time.sleep(0.2)
        raise AssertionError(f"{words}: no end within {limit_s} s")


def modbus_answers(port: int) -> bytes:
    """Ask for holding register 0 by hand; the answer's body (function and data), empty if none came."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as line:
        line.settimeout(3)
        line.sendall(bytes.fromhex("0001 0000 0006 01 03 0000 0001"))
        return line.recv(64)[7:]
