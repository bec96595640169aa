"""What all tests share: settings of their own, never those of the machine's installation."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Set before Django reads its settings, at import: pytest-django loads them while collecting.
_scratch = Path(tempfile.mkdtemp(prefix="mw-tests-"))
os.environ["MILLWRIGHT_HOME"] = str(_scratch / "home")
for _name in [
    name
    for name in os.environ
    if name.startswith("MILLWRIGHT_")
    and name not in {"MILLWRIGHT_HOME", "MILLWRIGHT_DATABASE_URL", "MILLWRIGHT_CACHE_DIR"}
]:
    del os.environ[_name]


def pytest_unconfigure() -> None:
    """Take the scratch folder away."""
    import shutil

    shutil.rmtree(_scratch, ignore_errors=True)
