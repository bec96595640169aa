"""A running installation for the end-to-end tests: `millwright up` itself, in a home of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millwright.cli.client import Api
from millwright.cli.supervision import Supervision
from millwright.lab import Lab, claim_instance
from millwright.settings import Settings

from tests.support.lab import ROOT
from tests.support.postgres import PrivatePostgres

#: A fixed place for each checkout: what a killed run left is found and taken away by the next.
HOME = Path(f"/var/tmp/millwright-e2e-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}")
#: Generous: an emulated guest boots on a busy machine.
UP_LIMIT_S = 1500


class Running:
    """Commands, the API, and what lies behind them."""

    def __init__(self, postgres: PrivatePostgres, name: str = "") -> None:
        """`name` tells a second installation of the same run from the first."""
        self.postgres = postgres
        self.home = HOME.with_name(f"{HOME.name}{name}")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MILLWRIGHT_")
        } | {
            "MILLWRIGHT_HOME": str(self.home),
            "MILLWRIGHT_DATABASE_URL": postgres.create_database(f"mw_e2e{name}"),
        }
        if cache := os.environ.get("MILLWRIGHT_CACHE_DIR"):
            self.environment["MILLWRIGHT_CACHE_DIR"] = cache
        self.first = ""

    def command(self, *words: str, limit_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run `millwright …`."""
        return subprocess.run(
            [sys.executable, "-m", "millwright.cli", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
        )

    def script(self, text: str, *words: str, limit_s: float = 120.0) -> str:
        """Run Python with the installation's Django set up; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django\ndjango.setup()\n{text}", *words],
            cwd=ROOT,
            env=self.environment | {"DJANGO_SETTINGS_MODULE": "millwright.settings.django"},
            capture_output=True,
            text=True,
            timeout=limit_s,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> None:
        """Have it up; an earlier run's leftovers are taken away first."""
        # An own number, away from those that people's installations take first.
        self.environment["MILLWRIGHT_INSTANCE"] = claim_instance(
            f"{ROOT}#{self.home}", first=1
        ).instance
        self.command("down")
        done = self.command("up", *words, limit_s=UP_LIMIT_S)
        self.first = done.stdout
        if done.returncode:
            raise AssertionError(
                f"millwright up ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )

    @property
    def instance(self) -> str:
        found = re.search(r"instance (mw\d)", self.first)
        assert found, self.first
        return found.group(1)

    @property
    def settings(self) -> Settings:
        return Settings(instance=self.instance, home=self.home)

    @property
    def supervision(self) -> Supervision:
        return Supervision(self.settings, ROOT)

    @property
    def lab(self) -> Lab:
        return Lab(self.settings.lab_dir, self.settings.pki_dir, self.settings.index)

    def api(self, user: str) -> Api:
        token = (self.settings.secrets_dir / f"api-{user}.token").read_text().strip()
        return Api(self.settings.public_url, token)

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--format", "json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def machine(self, environment: str = "filling-line-1") -> dict[str, Any]:
        """The machine of the example, or of another environment, as the API shows it."""
        return dict(self.api("erin").get(f"environments/{environment}/")["machines"][0])


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear the labels."""
    total, seen = 0.0, False
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if re.match(rf"{name}(\{{|$)", head) and all(
            f'{key}="{text}"' in head for key, text in labels.items()
        ):
            total, seen = total + float(value), True
    assert seen, f"{name}{labels} is not among the metrics"
    return total


def eventually(look: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait for a condition; returns the seconds it took."""
    started = time.monotonic()
    while not look():
        assert time.monotonic() - started < limit_s, f"{what}: not within {limit_s:g} s"
        time.sleep(0.2)
    return time.monotonic() - started
