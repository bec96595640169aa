"""Running steps: what they share, how long each took, what it changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millwright.cli.client import Api
from millwright.cli.errors import StepError
from millwright.settings import Settings


@dataclass
class Plan:
    """What the steps know; each adds what the next ones need."""

    settings: Settings
    root: Path
    pool: str = ""
    host_count: int = 2
    #: what the database's people, the hosts and the example are called
    project: str = "line-1"
    environment: str = "filling-line-1"
    template: str = "vplc"
    #: template name → (Template, BuiltImage)
    images: dict[str, Any] = field(default_factory=dict)
    #: [{"name", "uri", "address", "policy", "agent_netns", "agent_uri"}]
    hosts: list[dict[str, Any]] = field(default_factory=list)
    #: {"slug", "cidr", "bridge", "gateway", "station", "first", "last"}
    cell: dict[str, str] = field(default_factory=dict)
    gateway_netns: str = ""
    #: {"netns", "address"}
    device: dict[str, str] = field(default_factory=dict)
    daemon_cpus: frozenset[int] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = print
    _apis: dict[str, Api] = field(default_factory=dict)

    def api(self, user: str) -> Api:
        """The public API as one of the people."""
        if user not in self._apis:
            self._apis[user] = Api.from_settings(user)
        return self._apis[user]


@dataclass(frozen=True, slots=True)
class Done:
    """How a step ended. `changes`: what it did, in words; empty: everything was as it should be."""

    changes: tuple[str, ...] = ()
    detail: str = ""

    @classmethod
    def of(cls, changes: Sequence[str] = (), detail: str = "") -> Done:
        return cls(tuple(changes), detail)


Step = tuple[str, Callable[[Plan], Done]]


class Run:
    """Runs steps in order, with the time each took."""

    def __init__(
        self, plan: Plan, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan, self._say, self._clock = plan, say, clock
        self._began = clock()
        self.times: list[tuple[str, float, bool | None]] = []
        plan.say = lambda line: say(f"        {line}")

    def through(self, steps: Sequence[Step]) -> None:
        """Run all.

        Raises:
            StepError: a step's own words, with its name.
        """
        for number, (title, work) in enumerate(steps, 1):
            self._say(f"[{number:>2}/{len(steps)}] {title}")
            started = self._clock()
            try:
                done = work(self._plan)
            except BaseException as error:
                took = self._clock() - started
                self.times.append((title, took, None))
                if isinstance(error, Exception):
                    words = str(error) or type(error).__name__
                    raise StepError(f"{title}: {words}") from error
                raise
            took = self._clock() - started
            self.times.append((title, took, bool(done.changes)))
            for change in done.changes:
                self._say(f"        {change}")
            words = done.detail or ("" if done.changes else "unchanged")
            self._say(f"        {words + ', ' if words else ''}{took:.1f} s")

    def split(self) -> str:
        """The times, step by step, and whether anything was changed."""
        lines = ["", "Time by step"]
        marks = {True: "changed", False: "unchanged", None: "FAILED"}
        lines += [
            f"  {took:7.1f} s  {title:<24} {marks[changed]}" for title, took, changed in self.times
        ]
        lines.append(f"  {self._clock() - self._began:7.1f} s  in all")
        if self.times and all(changed is False for _, _, changed in self.times):
            lines.append("Nothing was changed: everything was as it should be.")
        return "\n".join(lines)
