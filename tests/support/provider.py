"""An OpenID Connect provider that is not ours: oidc-provider, on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.lab import ROOT

NODE = ROOT / "tests/integration/accounts/node"
#: The client's secret, of tests alone.
SECRET = "a secret of this test alone"


@contextmanager
def open_provider(callback: str) -> Iterator[str]:
    """The provider's address, while it runs; it sends people back to `callback`."""
    npm = ROOT / ".venv/bin/npm"
    environment = {**os.environ, "PATH": f"{npm.parent}:{os.environ['PATH']}"}
    if not (NODE / "node_modules").exists():
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], cwd=NODE, check=True, env=environment)  # fmt: skip
    with subprocess.Popen(
        ["node", "provider.mjs", SECRET, callback], cwd=NODE, env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as provider:  # fmt: skip
        assert provider.stdin is not None
        assert provider.stdout is not None
        try:
            yield next(line for line in provider.stdout if line.startswith("http")).strip()
        finally:
            provider.stdin.close()
            provider.wait(30)
