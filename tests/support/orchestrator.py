"""A real orchestrator process for tests: one that can be told to die at a step, as by power loss."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]


class OrchestratorProcess:
    """An orchestrator on the tests' database, in a process and a home of its own."""

    def __init__(self, home: Path, *, dies_after: str = "", pace: float = 1.0) -> None:
        self.home = home
        self._log = (home / f"orchestrator-{len(list(home.glob('orchestrator-*')))}.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.orchestrator"],
            cwd=ROOT,
            env={
                **os.environ,
                "MILLWRIGHT_HOME": str(home),
                "MILLWRIGHT_DATABASE_URL": database_url(),
                "MW_TEST_DIES_AFTER": dies_after,
                "MW_TEST_PACE": str(pace),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def active(self) -> bool:
        return (self.home / f"active-{self._process.pid}").exists()

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self._process.poll() == -signal.SIGKILL

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return Path(self._log.name).read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def close(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


def database_url() -> str:
    """The tests' database as the setting has it."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    from millwright.settings import get_settings

    return urlsplit(get_settings().effective_database_url)._replace(path=f"/{name}").geturl()


def die_after(name: str, home: Path) -> None:
    """Let the first run of a step be this process's end: after its effect, before its record."""
    from millwright.operations import SAGAS, Context, Step

    def dying(step: Step) -> Step:
        def do(context: Context) -> str | None:
            said = step.do(context)
            try:
                (home / f"died-after-{name}").touch(exist_ok=False)
            except FileExistsError:
                return said
            os.kill(os.getpid(), signal.SIGKILL)
            return said

        return replace(step, do=do)

    for kind, saga in list(SAGAS.items()):
        steps = tuple(dying(step) if step.name == name else step for step in saga.steps)
        SAGAS[kind] = replace(saga, steps=steps)


def hurry(pace: float) -> None:
    """Let balancing go by so much faster: its rounds, the samples of demand and what they are averaged over."""
    from millwright.balancing import measuring, plant, recommending
    from millwright.orchestrator import watcher

    # The loop comes by every half minute: a little less, so that none is missed.
    recommending.EVERY_S = round(recommending.EVERY_S / pace) - 1
    watcher.SAMPLE_S /= pace / 2
    plant.SHORT, plant.LONG = plant.SHORT / pace, plant.LONG / pace
    measuring.SHORT = plant.SHORT


def main() -> None:
    """The process: the real service with a prober and a builder that obey."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millwright.settings.django")
    import logging

    import django

    logging.basicConfig(level=logging.INFO)
    django.setup()
    from millwright.orchestrator.service import Service
    from millwright.settings import get_settings

    from tests.support.operations import Builder, Prober

    settings = get_settings()
    if os.environ.get("MW_TEST_DIES_AFTER"):
        die_after(os.environ["MW_TEST_DIES_AFTER"], settings.home)
    if (pace := float(os.environ.get("MW_TEST_PACE", "1"))) != 1:
        hurry(pace)
    service = Service(settings, prober=Prober(), builder=Builder())
    signal.signal(signal.SIGTERM, lambda *_: service.stop.set())

    def tell() -> None:
        service.active.wait()
        (settings.home / f"active-{os.getpid()}").touch()

    threading.Thread(target=tell, daemon=True).start()
    service.run()


if __name__ == "__main__":
    main()
