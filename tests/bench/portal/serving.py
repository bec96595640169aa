"""What the benches of a whole portal share: a filled database, portal processes, their processor time."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import private_server

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def options(description: str | None) -> argparse.ArgumentParser:
    """The size of the plant, and where it is when it is there already."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--machines", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument(
        "--filled",
        action="store_true",
        help="MILLWRIGHT_DATABASE_URL names a database that holds a plant already",
    )
    return parser


@contextlib.contextmanager
def plant(asked: argparse.Namespace) -> Iterator[Path]:
    """Django with a large plant in a private PostgreSQL server; yields the control plane's folder."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mw-bench-")))
        if not asked.filled:
            server = stack.enter_context(private_server())
            os.environ["MILLWRIGHT_DATABASE_URL"] = server.create_database("bench")
        os.environ["MILLWRIGHT_HOME"] = str(home)
        os.environ["DJANGO_SETTINGS_MODULE"] = "millwright.settings.django"
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        if not asked.filled:
            from millwright.accounts.models import User

            from tests.bench.portal.generate import generate

            call_command("migrate", verbosity=0)
            generate(asked.hosts, asked.machines, asked.people, asked.operations, asked.entries)
            User.objects.create_user("bench-administrator", plant_role="administrator")
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        yield home
        connection.close()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Portal:
    """Running portal processes."""

    pid: int
    port: int

    def workers(self) -> list[int]:
        """The processes that answer: the children where there are several, else the one."""
        rows = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        python = [int(pid) for pid in rows if b"spawn_main" in _command(int(pid))]
        return python or [self.pid]

    def cpu_s(self) -> float:
        """Processor time of all of them, s."""
        return sum(cpu_s(pid) for pid in self.workers())


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def cpu_s(pid: int) -> float:
    """Processor time of a process and its threads, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def database_cpu_s() -> float:
    """Processor time of the database server's sessions, those that ended included, s."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
    postmaster = Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1]
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) * _TICK_S
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    total = ended
    for pid in children:
        # One that ends just now is counted with the ended ones next time.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_s(int(pid))
    return total


@contextlib.contextmanager
def portal(home: Path, workers: int = 1, **environment: str) -> Iterator[Portal]:
    """`millwright up`'s portal process on this database, until it answers; stopped afterwards."""
    port = free_port()
    log = (home / "portal.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "millwright.settings.asgi:application", "--host", "127.0.0.1",
         "--port", str(port), "--workers", str(workers), "--no-access-log", "--no-server-header",
         "--timeout-graceful-shutdown", "1"],
        env={**os.environ, **environment},
        stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        end = time.monotonic() + 600
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 60) as s,
            ):
                s.sendall(b"GET /accounts/login/ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                if s.recv(64).split()[1:2] == [b"200"]:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((home / "portal.log").read_text()[-2000:])
            time.sleep(0.2)
        yield Portal(process.pid, port)
    finally:
        process.terminate()
        process.wait(60)
        log.close()
