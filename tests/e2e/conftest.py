"""One installation for all end-to-end tests: one lab, one boot of a vPLC; gone when they have ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lab import need_root
from tests.support.postgres import PrivatePostgres, postgres
from tests.support.running import Running

__all__ = ["postgres"]


@pytest.fixture(scope="package")
def running(postgres: PrivatePostgres) -> Iterator[Running]:
    """The main job has been run, on a PostgreSQL of its own.

    It ends with the folder and not with the run: an emulated guest keeps a core busy.
    """
    need_root()
    made = Running(postgres)
    try:
        made.start()
        yield made
    finally:
        ended = made.command("down")
        assert ended.returncode == 0, ended.stderr
