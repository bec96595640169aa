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
        # What came before was counted by the wait before.
        assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
        (tmp_path / "after").write_text("}")
        await asyncio.wait_for(waiting, 60)
        begun = asyncio.get_running_loop().time()
        await asyncio.wait_for(arrivals.wait(0.05), 60)
        assert asyncio.get_running_loop().time() - begun >= 0.05, "nothing came: the time ends it"
        arrivals.close()

    asyncio.run(watched())
