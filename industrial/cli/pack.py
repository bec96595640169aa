"""`vplc pack` and `vplc bench`: a project as a signed package; how it scans on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

_project = click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@_project
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File of the package.")  # fmt: skip
@click.option("--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Ed25519 key in PEM; without it, the project's own (state/keys/local.pem, made when it is not there).")  # fmt: skip
@click.option("--compiler", type=click.Choice(["gcc", "tcc"]), default=None)
def pack(project: Path, out: Path, key_file: Path | None, compiler: str | None) -> None:
    """Compile PROJECT and sign it: the package that a controller takes over which trusts the key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from industrial.package import BundleError, unpack
    from industrial.runtime.delivery import LocalError, Source
    from industrial.runtime.keys import local_key
    from industrial.st import StError

    try:
        source = Source.read(project)
        if key_file is None:
            key = local_key(project / "state")
        else:
            loaded = load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(loaded, Ed25519PrivateKey):
                raise LocalError(f"{key_file}: not an Ed25519 key")
            key = loaded
        data = source.bundle(key, compiler or "")
        bundle = unpack(data, [key.public_key()])
        out.write_bytes(data)
    except (LocalError, StError, BundleError, OSError, ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from None
    manifest = bundle.manifest
    click.echo(
        json.dumps(
            {
                "format": 1,
                "name": manifest.name,
                "version": manifest.version,
                "sha256": bundle.sha256,
                "bytes": len(data),
                "files": sorted(bundle.files),
                "out": str(out),
            }
        )
    )


@click.command()
@_project
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=10.0, show_default=True)
@click.option("--compiler", type=click.Choice(["gcc", "tcc"]), default=None)
def bench(project: Path, seconds: float, compiler: str | None) -> None:
    """Scan PROJECT for a time on this machine, without devices and clients: durations and lateness of each task.

    Percentiles of scan times are upper bounds, powers of two; those of the lateness are exact to an eighth.
    """
    from industrial.runtime.build import EngineBuildError
    from industrial.runtime.delivery import LocalError
    from industrial.st import StError

    try:
        report = _measure(project, seconds, compiler or "")
    except (LocalError, StError, EngineBuildError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(report))


def _measure(project: Path, seconds: float, compiler: str) -> dict[str, Any]:
    """Start a scan process of its own beside nothing else, wait, read its statistics."""
    import subprocess
    import tempfile

    from industrial.runtime.build import ensure_engine
    from industrial.runtime.delivery import LocalError, Source
    from industrial.runtime.histogram import percentile
    from industrial.runtime.shm import SharedMemory
    from industrial.runtime.status import full_report
    from industrial.st.build import build_shared_object, find_compiler

    source, compiler = Source.read(project), find_compiler(compiler)
    with tempfile.TemporaryDirectory(prefix="vplc-bench-") as scratch:
        folder = Path(scratch)
        build_shared_object(source.compiled.c_source, folder / "program.so", compiler)
        command = [str(ensure_engine()), "--shm", str(folder / "shm")]
        command += ["--program", str(folder / "program.so")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            for _ in range(1000):
                if (folder / "shm").exists() or process.poll() is not None:
                    break
                time.sleep(0.01)
            if process.poll() is not None or not (folder / "shm").exists():
                raise LocalError("the scan process did not start")
            shm = SharedMemory(folder / "shm")
            time.sleep(seconds)
            report = full_report(shm, folder, events=0)
            tasks = shm.tasks()
            fine = [shm.late_fine(number) for number in range(len(tasks))]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    for row, task, late in zip(report["tasks"], tasks, fine, strict=True):
        for key, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            row["scan_us"][key] = _below(task.scan_buckets, share)
            row["late_us"][key] = round(percentile(late, share), 1)
    return {
        "format": 1,
        "compiler": compiler,
        "seconds": seconds,
        "fifo": report["fifo"],
        "state": report["state"],
        "tasks": report["tasks"],
        "faults": report["faults"],
        "gaps": report["clock"]["gaps"],
    }


def _below(buckets: tuple[int, ...], share: float) -> int:
    """Microseconds below which so much of a histogram lies."""
    wanted, seen = share * sum(buckets), 0
    for number, count in enumerate(buckets):
        seen += count
        if seen >= wanted:
            return 1 << number
    return 1 << len(buckets)
