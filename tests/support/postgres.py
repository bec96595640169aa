"""A private PostgreSQL server for tests: its own folder, a Unix socket only, gone at the end.

It listens on no network address, so that it can disturb nobody and nobody can reach it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest


def _binaries() -> Path | None:
    """The newest installed server's programs; Debian keeps them off PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("pg_ctl")
    return Path(on_path).parent if on_path else None


def _refuse(why: str) -> None:
    """Skip; under CI a missing server is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True, slots=True)
class PrivatePostgres:
    """A running server. `url` names its maintenance database."""

    folder: Path
    binaries: Path
    identity: dict[str, Any]
    #: further settings of the server
    settings: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The address of a database, over the socket."""
        return f"postgresql://millwright@/{database}?host={quote(str(self.folder), safe='/')}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its user; raises with what it printed."""
        done = subprocess.run(
            [str(self.binaries / program), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            **self.identity,
        )
        if done.returncode:
            raise RuntimeError(
                f"{program} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a database, an empty one or a copy of `template`; returns its address."""
        self.run(
            "createdb", "--host", str(self.folder), "--username", "millwright",
            "--template", template, name,
        )  # fmt: skip
        return self.url_of(name)

    def start(self) -> None:
        """Make the cluster and start it; returns once it answers."""
        data = str(self.folder / "data")
        self.run(
            "initdb", "--pgdata", data, "--username", "millwright", "--auth", "trust",
            "--encoding", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        self._start()

    def _start(self) -> None:
        data = str(self.folder / "data")
        # Nothing here must outlive a power cut, so nothing waits for the disk.
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={self.folder} "
            "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c shared_buffers=32MB "
            "-c max_connections=60"
        ) + "".join(f" -c {setting}" for setting in self.settings)
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "start", "--wait", "--pgdata", data, "--log", log, "--options", options)

    def kill(self) -> None:
        """SIGKILL to the server; its processes end as they notice."""
        pid = int((self.folder / "data/postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def start_again(self, limit_s: float = 60.0) -> None:
        """Start after `kill`; the dead server's last processes may hold its memory a while."""
        end = time.monotonic() + limit_s
        while True:
            try:
                return self._start()
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def stop(self) -> None:
        """Stop it at once; whoever is still connected is cut off."""
        data = str(self.folder / "data")
        self.run("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", data)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sweep(binaries: Path, identity: dict[str, Any]) -> None:
    """Stop and remove the servers of runs that were killed: their owner's process is gone."""
    for folder in Path("/tmp").glob("mw-pg-*"):
        try:
            owner = int((folder / "owner").read_text())
        except (OSError, ValueError):
            continue
        if _alive(owner):
            continue
        with contextlib.suppress(RuntimeError, OSError, subprocess.TimeoutExpired):
            PrivatePostgres(folder, binaries, identity).stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def private_server(*settings: str) -> Iterator[PrivatePostgres]:
    """One server for the run, with `settings` (`name=value`) beside what tests need. As root it runs as the system's user `postgres`, since it refuses root."""
    binaries = _binaries()
    if binaries is None:
        _refuse("PostgreSQL's server is not installed (package postgresql)")
        raise AssertionError
    identity: dict[str, Any] = {}
    # Short, since sockets' paths are.
    folder = Path(tempfile.mkdtemp(prefix="mw-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            try:
                account = pwd.getpwnam("postgres")
            except KeyError:
                _refuse("no user 'postgres' to run the server as")
                raise
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        (folder / "owner").write_text(str(os.getpid()))
        _sweep(binaries, identity)
        server = PrivatePostgres(folder, binaries, identity, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """The run's server."""
    with private_server() as server:
        yield server
