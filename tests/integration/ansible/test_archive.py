"""The role's archive command and the restore playbook's, on a real PostgreSQL: what was committed comes back."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psycopg

from tests.support.collection import ANSIBLE, ROOT
from tests.support.postgres import PrivatePostgres, private_server

SETTINGS = ROOT / "tests/unit/ansible/golden/postgresql.millwright.conf"


def _commands(archive: Path) -> tuple[str, str]:
    """As the role writes the one (compared with its template elsewhere), as the playbook writes the other."""
    kept = re.search(r"^archive_command = '(.*)'$", SETTINGS.read_text(), re.MULTILINE)
    back = re.search(
        r"^ *restore_command = '(.*)'$", (ANSIBLE / "playbooks/restore.yml").read_text(), re.M
    )
    assert kept and back
    return (
        kept[1].replace("/var/lib/postgresql/archive", str(archive)),
        back[1].replace("/var/lib/postgresql/restore-wal", str(archive)),
    )


def _set(server: PrivatePostgres, **settings: str) -> None:
    with (server.folder / "data/postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def _one(server: PrivatePostgres, sql: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def _wait(server: PrivatePostgres, sql: str) -> None:
    end = time.monotonic() + 300
    while not _one(server, sql):
        assert time.monotonic() < end, f"not within 300 s: {sql}"
        time.sleep(0.2)


def test_what_was_committed_comes_back_from_a_small_archive() -> None:
    with private_server() as server:
        archive = server.folder / "archive"
        keep, give = _commands(archive)
        server.run(
            "psql", "-h", str(server.folder), "-U", "millwright", "-c", "SELECT 1", "postgres"
        )
        server.stop()
        archive.mkdir()
        archive.chmod(0o777)
        _set(server, archive_mode="on", archive_command=keep)
        server.start_again()
        _one(server, "CREATE TABLE change (number int)")
        base = server.folder / "base"
        server.run(
            "pg_basebackup", "-h", str(server.folder), "-U", "millwright", "-D", str(base),
            "--checkpoint=fast",
        )  # fmt: skip
        _one(server, "INSERT INTO change SELECT generate_series(1, 1000)")
        segment = _one(server, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        _one(server, "SELECT pg_switch_wal()")
        _wait(server, f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver")  # noqa: S608  # the server's own word
        # Committed after the last segment that was kept: this is what a lost server loses.
        _one(server, "INSERT INTO change VALUES (1001)")
        server.stop()
        kept = archive / f"{segment}.zst"
        assert kept.stat().st_size < 2**20, "a segment of few changes is not 16 MB"
        (server.folder / "data").rename(server.folder / "lost")
        base.rename(server.folder / "data")
        _set(server, archive_mode="off", restore_command=give, recovery_target_action="promote")
        (server.folder / "data/recovery.signal").touch()
        server.start_again()
        _wait(server, "SELECT NOT pg_is_in_recovery()")
        assert _one(server, "SELECT count(*) FROM change") == 1000
