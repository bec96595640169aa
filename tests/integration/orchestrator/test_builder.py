"""The compiler's worker: what it may do, what it may not, and what comes of programs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from millwright.orchestrator.builder import FILE_BYTES, WorkerBuilder, run_confined

from tests.support.lab import need_root

GOOD = """
PROGRAM Main
VAR
    level AT %QW0 : INT;
END_VAR
level := level + 1;
END_PROGRAM
"""

TASK = """
[[task]]
name = "Main"
interval_us = 10000
programs = ["Main"]
"""


@pytest.fixture
def room(tmp_path: Path) -> tuple[Path, Path]:
    """A worker's folder, under one that others may not enter."""
    (tmp_path / "closed").mkdir(mode=0o700)
    folder = tmp_path / "closed" / "work"
    (folder / "out").mkdir(parents=True)
    return folder, folder / "out"


def confined(room: tuple[Path, Path], script: str) -> subprocess.CompletedProcess[str]:
    return run_confined(["sh", "-c", script], *room, wall_s=60)


def test_it_is_nobody_and_has_no_network(room: tuple[Path, Path]) -> None:
    need_root()
    done = confined(room, "id -u; id -G; grep CapEff /proc/self/status; tail -n +3 /proc/net/dev")
    assert done.returncode == 0, done.stderr
    user, groups, capabilities, *devices = done.stdout.splitlines()
    assert (user, groups) == ("65534", "65534")
    assert set(capabilities.split()[1]) == {"0"}
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_it_writes_to_its_own_folder_and_nowhere_else(room: tuple[Path, Path]) -> None:
    need_root()
    package = Path(__file__).parents[3]
    for place in (room[0], package, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):
        done = confined(room, f"touch {place}/mw-was-here")
        assert done.returncode != 0, place
        assert not (place / "mw-was-here").exists()
    assert confined(room, "echo hello > out/file").returncode == 0
    assert (room[1] / "file").read_text() == "hello\n"


def test_it_sees_no_secret_of_ours(
    room: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setenv("MILLWRIGHT_DATABASE_URL", "postgresql://u:hush@h/d")
    secret = room[0].parent / "secret"
    secret.write_text("hush")
    done = confined(room, f"env; cat {secret}; cat /proc/[0-9]*/environ")
    assert "hush" not in done.stdout


def test_what_takes_too_long_is_ended_with_all_its_children(room: tuple[Path, Path]) -> None:
    # A number of this run's own: another checkout's tests may run beside it.
    seconds = 300_000 + os.getpid()
    with pytest.raises(subprocess.TimeoutExpired):
        run_confined(["sh", "-c", f"sleep {seconds} & sleep {seconds}"], *room, wall_s=3)
    # The kernel ends a killed namespace in its own time.
    deadline = time.monotonic() + 30
    while f"sleep\0{seconds}\0".encode() in _running():
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.1)


def _running() -> set[bytes]:
    return {path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)}


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_sizes_are_limited(room: tuple[Path, Path]) -> None:
    done = confined(room, "head -c 200000000 /dev/zero > out/big")
    assert done.returncode != 0
    assert (room[1] / "big").stat().st_size <= FILE_BYTES
    done = run_confined([sys.executable, "-c", "bytearray(3 * 2**30)"], *room, wall_s=60)
    assert "MemoryError" in done.stderr


def test_it_compiles_whatever_the_orchestrators_umask_is() -> None:
    """Services run with 077, and a checkout may lie under a folder that is covered."""
    before = os.umask(0o077)
    try:
        built = WorkerBuilder(Ed25519PrivateKey.generate()).build(
            "line", "7", {"src/main.st": GOOD, "vplc.toml": TASK}
        )
    finally:
        os.umask(before)
    assert built.ok, (built.error, built.diagnostics)


def test_a_program_is_compiled_and_signed() -> None:
    key = Ed25519PrivateKey.generate()
    built = WorkerBuilder(key).build(
        "line", "7", {"src/main.st": GOOD, "vplc.toml": TASK, "tests/a.yaml": "x: 1\n"}
    )
    assert built.ok, (built.error, built.diagnostics)
    assert any(symbol["path"].endswith("level") for symbol in built.symbols["symbols"])
    with tarfile.open(fileobj=io.BytesIO(built.bundle)) as bundle:
        names = bundle.getnames()
        manifest, signature = (
            bundle.extractfile(name).read()  # type: ignore[union-attr]
            for name in ("manifest.json", "manifest.sig")
        )
    key.public_key().verify(signature, manifest)
    data = json.loads(manifest)
    assert (names[0], data["name"], data["version"]) == ("manifest.json", "line", "7")
    assert {"program.so", "symbols.json", "src/main.st"} <= set(data["files"])
    assert "tests/a.yaml" not in data["files"]


def test_what_is_wrong_is_said_with_file_and_line() -> None:
    built = WorkerBuilder(Ed25519PrivateKey.generate()).build(
        "line", "1", {"src/main.st": "PROGRAM Main\nVAR x : INT; END_VAR\nx := ;\nEND_PROGRAM\n"}
    )
    assert not built.ok
    first = built.diagnostics[0]
    assert (first["file"], first["line"]) == ("src/main.st", 3)
    assert first["message"]


def test_a_file_name_that_leads_out_is_refused() -> None:
    built = WorkerBuilder(Ed25519PrivateKey.generate()).build("line", "1", {"../out/x.st": GOOD})
    assert not built.ok
    assert "../out/x.st" in built.error
