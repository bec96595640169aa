"""A pytest plugin, loaded before Django's settings are: tests have a home of their own.

Never the machine's installation: every MILLWRIGHT_ variable but the database's and the cache's is dropped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_scratch = Path(tempfile.mkdtemp(prefix="mw-tests-"))
for _name in [name for name in os.environ if name.startswith("MILLWRIGHT_")]:
    if _name not in {"MILLWRIGHT_DATABASE_URL", "MILLWRIGHT_CACHE_DIR"}:
        del os.environ[_name]
os.environ["MILLWRIGHT_HOME"] = str(_scratch / "home")


def pytest_unconfigure() -> None:
    """Take the scratch folder away."""
    shutil.rmtree(_scratch, ignore_errors=True)


def pytest_configure() -> None:
    """What tests that use threads wrote is taken away at their end."""
    from tests.support import flushing

    flushing.install()
