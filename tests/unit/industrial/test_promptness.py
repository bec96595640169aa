"""What an edit must not wait for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from industrial.runtime.arrivals import Arrivals

#: What serves and talks, and what only certificates need.
HEAVY = ("asyncio", "asyncua", "pymodbus", "prometheus_client", "ssl", "cryptography.x509")


def test_compiling_and_delivering_imports_nothing_that_serves() -> None:
    code = (
        "import sys, industrial.cli, industrial.cli.tools, industrial.runtime.tools, industrial.runtime.delivery, "
        "industrial.runtime.keys, industrial.cli.compile\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_arrives_ends_the_wait_and_counts_from_the_last_one(tmp_path: Path) -> None:
    async def watched() -> None:
        arrivals = Arrivals(tmp_path)
        (tmp_path / "before").write_text("}")
        await asyncio.wait_for(arrivals.wait(3600), 60)
        waiting = asyncio.create_task(arrivals.wait(3600))
        await asyncio.sleep(0)
        assert not waiting.done()
        (tmp_path / "after").write_text("}")
        await asyncio.wait_for(waiting, 60)
        await arrivals.wait(0.01)  # nothing came: the time ends it
        arrivals.close()

    asyncio.run(watched())
