"""C to a shared object, by gcc or tcc."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "runtime/native"
#: Wrapping arithmetic and no fused operations: gcc and tcc must give the same bits.
FLAGS = (
    "-std=gnu11",
    "-O1",
    "-fwrapv",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-w",
)


class ToolchainError(RuntimeError):
    """No compiler, or it refuses what we emitted: a fault of ours, with its words."""


def build_shared_object(source: str, target: Path, *, compiler: str = "") -> None:
    """Compile emitted C.

    Raises:
        ToolchainError: see there.
    """
    compiler = compiler or ("gcc" if shutil.which("gcc") else "tcc")
    flags = FLAGS if compiler == "gcc" else ("-shared", "-fPIC", "-w")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "program.c"
        file.write_text(source, encoding="utf-8")
        try:
            done = subprocess.run(
                [compiler, *flags, "-I", str(NATIVE), "-o", str(target), str(file), "-lm"],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise ToolchainError(f"{compiler} is not installed") from None
    if done.returncode != 0:
        raise ToolchainError(f"{compiler}: {done.stderr[:2000]}")
