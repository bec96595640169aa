"""Compiles control programs in an unprivileged worker with limits, and signs the result here."""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from millwright.operations import BuiltProgram

#: Limits of one compilation: CPU seconds, address space, largest file, wall-clock seconds, processes.
CPU_S, MEMORY_BYTES, FILE_BYTES, WALL_S, PROCESSES = 60, 2 * 2**30, 64 * 2**20, 90, 256


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    os.nice(10)


class WorkerBuilder:
    """Runs `vplc build --unsigned` as nobody, without a network, in a folder of its own."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def build(self, name: str, version: str, files: Mapping[str, str]) -> BuiltProgram:
        with tempfile.TemporaryDirectory(prefix="mw-build-") as scratch:
            folder = Path(scratch)
            project, out = folder / "project", folder / "out"
            for path, text in files.items():
                place = project / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            out.mkdir()
            command, options = self._as_nobody(folder, out)
            command += [
                sys.executable,
                "-m",
                "industrial.cli",
                "build",
                str(project),
                "--output",
                str(out),
                "--format",
                "json",
            ]
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env=self._environment(folder),
                    capture_output=True,
                    text=True,
                    timeout=WALL_S,
                    preexec_fn=_limit,
                    check=False,
                    **options,
                )
            except subprocess.TimeoutExpired:
                return BuiltProgram(ok=False, error=f"the compilation took longer than {WALL_S} s")
            return self._result(done, name, version, files, out)

    def _as_nobody(self, folder: Path, out: Path) -> tuple[list[str], dict[str, object]]:
        if os.geteuid() != 0:
            return [], {}
        nobody = pwd.getpwnam("nobody")
        folder.chmod(0o755)
        os.chown(out, nobody.pw_uid, nobody.pw_gid)
        prefix = ["unshare", "--net", "--ipc", "--"] if shutil.which("unshare") else []
        setpriv = [
            "setpriv",
            "--reuid",
            str(nobody.pw_uid),
            "--regid",
            str(nobody.pw_gid),
            "--clear-groups",
            "--no-new-privs",
            "--",
        ]
        return prefix + setpriv, {}

    @staticmethod
    def _environment(folder: Path) -> dict[str, str]:
        # Nothing of the orchestrator's environment reaches the compiler.
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder / "out"),
            "TMPDIR": str(folder / "out"),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _result(
        self,
        done: subprocess.CompletedProcess[str],
        name: str,
        version: str,
        files: Mapping[str, str],
        out: Path,
    ) -> BuiltProgram:
        try:
            report = json.loads(done.stdout)
        except ValueError:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return BuiltProgram(
                ok=False, error=f"the compiler ended with {done.returncode}: {last[:300]}"
            )
        diagnostics = tuple(report.get("diagnostics", ()))
        if not report.get("ok"):
            return BuiltProgram(
                ok=False, diagnostics=diagnostics, error=str(report.get("error", ""))
            )
        built = {path: (out / path).read_bytes() for path in ("program.so", "symbols.json")}
        sources = {
            path: text.encode() for path, text in files.items() if not path.startswith("tests/")
        }
        bundle = pack("program", name, version, {**sources, **built}, self._key)
        return BuiltProgram(
            ok=True,
            diagnostics=diagnostics,
            bundle=bundle,
            symbols=json.loads(built["symbols.json"]),
        )
