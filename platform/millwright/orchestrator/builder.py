"""Compiles control programs in an unprivileged worker with limits, and signs the result here."""

from __future__ import annotations

import functools
import json
import os
import pwd
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import industrial
from industrial.package import pack
from millwright.operations import BuiltProgram

#: Limits of one compilation: CPU seconds, address space, largest file, wall-clock seconds, processes.
CPU_S, MEMORY_BYTES, FILE_BYTES, WALL_S, PROCESSES = 60, 2 * 2**30, 64 * 2**20, 90, 256

#: Folders that everybody may write to.
_SHARED = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm")))  # noqa: S108 - covered, not used


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    os.nice(10)


def run_confined(
    command: list[str], folder: Path, out: Path, *, wall_s: float = WALL_S
) -> subprocess.CompletedProcess[str]:
    """Run a command that may write to `out` only, with the limits above.

    As root it becomes nobody in namespaces of its own, without a network; what it leaves running ends with it. Without root it keeps its user,
    and loses the network where the kernel lets users make namespaces.

    Raises:
        subprocess.TimeoutExpired: after `wall_s` seconds; the whole process group is killed.
    """
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        _open_for_reading(folder)
        os.chown(out, nobody.pw_uid, nobody.pw_gid)
        command = [
            *("unshare", "--mount", "--net", "--ipc", "--pid", "--fork"),
            *("--kill-child", "--mount-proc", "--"),
            *("sh", "-ec", _bring_into_reach(folder), "sh"),
            *("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"),
            *("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"),
            *command,
        ]
    elif _may_unshare():
        command = ["unshare", "--user", "--map-current-user", "--net", "--", *command]
    # Nothing of the orchestrator's environment reaches the command.
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(out),
        "TMPDIR": str(out),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_limit,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=wall_s)
        except BaseException:
            # It is not reaped yet, so the group's number is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _open_for_reading(folder: Path) -> None:
    """Whatever this process's umask is, nobody must be able to read what it shall compile."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _bring_into_reach(folder: Path) -> str:
    """Shell lines for a private mount namespace in which nobody can reach the compiler.

    A checkout often lies in a home that others may not enter. There the home is covered by an empty folder, and
    only what the compiler needs is put back, read-only. So are the folders that everybody may write to.
    """
    package = Path(industrial.__file__).resolve().parent
    needed = {package.parent, Path(sys.prefix), Path(sys.base_prefix), folder.resolve()}
    covers: dict[Path, list[Path]] = {path: [] for path in _SHARED if path.is_dir()}
    for path in sorted(needed):
        for ancestor in reversed(path.parents):
            if ancestor in covers or not ancestor.stat().st_mode & 0o001:
                covers.setdefault(ancestor, []).append(path)
                break
    # What is made on the way to a folder must let nobody through, whatever this process's umask is.
    lines = ["umask 022"]
    for number, (cover, paths) in enumerate(sorted(covers.items())):
        # A path within another one comes with it.
        roots = [path for path in paths if not any(other in path.parents for other in paths)]
        # Held open, since their names lead to the cover from then on. A plain shell has handles up to 9.
        for index, path in enumerate(roots):
            lines.append(f"exec {3 + index}<{shlex.quote(str(path))}")
        lines.append(f"mount -t tmpfs -o mode=0755,size=1m mw{number} {shlex.quote(str(cover))}")
        for index, path in enumerate(roots):
            where = shlex.quote(str(path))
            lines.append(f"mkdir -p {where}; mount -c --bind /proc/self/fd/{3 + index} {where}")
            if path != folder.resolve():
                lines.append(f"mount -o remount,bind,ro {where}")
        lines += [f"exec {3 + index}<&-" for index in range(len(roots))]
    # The working directory is looked up again: it may lie under a cover.
    return "\n".join([*lines, f"cd {shlex.quote(str(folder))}", 'exec "$@"'])


@functools.cache
def _may_unshare() -> bool:
    done = subprocess.run(
        ["unshare", "--user", "--map-current-user", "--net", "true"],
        capture_output=True,
        timeout=10,
        check=False,
    )
    return done.returncode == 0


class WorkerBuilder:
    """Runs `vplc build` as nobody, without a network, in a folder of its own."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def build(self, name: str, version: str, files: Mapping[str, str]) -> BuiltProgram:
        """Compile and sign; what the compiler says of a wrong program is in the result."""
        with tempfile.TemporaryDirectory(prefix="mw-build-") as scratch:
            folder = Path(scratch)
            project, out = folder / "project", folder / "out"
            for path, text in files.items():
                place = project / path
                if not place.resolve().is_relative_to(project.resolve()):
                    return BuiltProgram(ok=False, error=f"{path}: leads out of the project")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            out.mkdir()
            compiler = [
                *(sys.executable, "-m", "industrial.cli", "build", str(project)),
                *("--output", str(out), "--format", "json"),
            ]
            try:
                done = run_confined(compiler, folder, out)
            except subprocess.TimeoutExpired:
                return BuiltProgram(ok=False, error=f"the compilation took longer than {WALL_S} s")
            return self._result(done, name, version, files, out)

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
