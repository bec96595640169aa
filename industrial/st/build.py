"""C to a shared object, by tcc at once or by gcc -O1; and whether tcc accepts a source at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .errors import BuildError

#: Arithmetic that wraps and is never fused or re-ordered: both compilers must give the same bits.
FLAGS = (
    "-w",
    "-std=c99",
    "-fPIC",
    "-shared",
    "-fwrapv",
    "-fno-strict-aliasing",
    "-fno-builtin",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fno-ident",
    "-Wl,--build-id=none",
)
#: What of -O2 pays for code like ours, at a seventh of -O1's time more; none of it touches real arithmetic.
TUNED = (
    "-fgcse",
    "-ftree-pre",
    "-ftree-vrp",
    "-fexpensive-optimizations",
    "-finline-small-functions",
    "-fstore-merging",
)
TIMEOUT_S = 120
#: How often a compiler's wait looks whether it is given up, in seconds.
LOOK_S = 0.2
#: In the background: seconds of processor time and bytes of memory that a compiler may take.
IDLE_CPU_S, IDLE_BYTES, IDLE_TIMEOUT_S = 120, 1 << 30, 1800


class CompilerRefusal(BuildError):
    """The C compiler found errors in what was emitted."""


def find_compiler(wanted: str = "") -> str:
    """`wanted`, or gcc, or tcc.

    Raises:
        BuildError: neither is installed.
    """
    for name in [wanted] if wanted else ["gcc", "tcc"]:
        if name not in ("gcc", "tcc"):
            raise BuildError(f"compiler = {name!r}: gcc or tcc")
        if shutil.which(name):
            return name
    raise BuildError(f"{wanted or 'gcc or tcc'} is not installed")


def _idle() -> list[str]:
    """What a command is put behind so that it takes only what others leave, and not all of that."""
    prefix: list[str] = []
    if shutil.which("chrt"):
        prefix += ["chrt", "--idle", "0"]
    elif shutil.which("nice"):
        prefix += ["nice", "-n", "19"]
    if shutil.which("prlimit"):
        prefix += ["prlimit", f"--cpu={IDLE_CPU_S}", f"--as={IDLE_BYTES}"]
    return prefix


def build_shared_object(
    c_source: str,
    out: Path,
    compiler: str = "gcc",
    opt: str = "-O1",
    *,
    idle: bool = False,
    given_up: threading.Event | None = None,
) -> Path:
    """Compile to `out`, which appears complete or not at all.

    Args:
        idle: with idle priority and limits, beside a controller that runs.
        given_up: ends the compiler when another thread sets it.

    Raises:
        BuildError: the compiler is missing, took too long, was given up, or refused.
    """
    compiler = find_compiler(compiler)
    with tempfile.TemporaryDirectory(prefix="mw-st-") as scratch:
        folder = Path(scratch)
        (folder / "program.c").write_text(c_source, encoding="ascii")
        if compiler == "gcc":
            command = ["gcc", *FLAGS, opt, *TUNED, "-o", "program.so", "program.c", "-lm"]
        else:
            command = ["tcc", "-w", "-shared", "-o", "program.so", "program.c", "-lm"]
        if idle:
            _run([*_idle(), *command], folder, IDLE_TIMEOUT_S, given_up)
        else:
            _run(command, folder, given_up=given_up)
        target = out.with_name(f".{out.name}.{os.getpid()}")
        shutil.copyfile(folder / "program.so", target)
        target.replace(out)
    return out


def accept(c_source: str) -> None:
    """Let tcc read the source.

    Raises:
        CompilerRefusal: it found errors.
        BuildError: tcc is missing or took too long.
    """
    find_compiler("tcc")
    with tempfile.TemporaryDirectory(prefix="mw-st-") as scratch:
        folder = Path(scratch)
        (folder / "program.c").write_text(c_source, encoding="ascii")
        _run(["tcc", "-w", "-c", "-o", "program.o", "program.c"], folder)


def _run(
    command: list[str],
    folder: Path,
    timeout_s: float = TIMEOUT_S,
    given_up: threading.Event | None = None,
) -> None:
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    with process:
        text = _ended(process, command[0], timeout_s, given_up)
    if process.returncode != 0:
        raise CompilerRefusal(
            text.strip()[:20_000] or f"{command[0]} ended with {process.returncode}"
        )


def _ended(
    process: subprocess.Popen[str], name: str, timeout_s: float, given_up: threading.Event | None
) -> str:
    """What it said, once it ended; it is ended itself when it takes too long or nobody wants it any more."""
    end = time.monotonic() + timeout_s
    try:
        while True:
            left = end - time.monotonic()
            try:
                wait_s = left if given_up is None else min(left, LOOK_S)
                return process.communicate(timeout=max(wait_s, 0.0))[1]
            except subprocess.TimeoutExpired:
                if given_up is not None and given_up.is_set():
                    raise BuildError(f"{name} was given up") from None
                if time.monotonic() >= end:
                    raise BuildError(f"{name} took longer than {timeout_s:g} s") from None
    except BaseException:
        # The driver's children too: they would keep the pipe open and the processor busy.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
