"""Fence agents of the host's distribution: the host's policy names one, its options go over its standard input.

Secrets are not kept in the database: `password_file` names a file on this machine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millwright.inventory.models import Host
from millwright.operations import FenceRefused

#: Seconds that an agent may take; its own limits are shorter.
LIMIT_S = 90.0


class AgentFencer:
    """Runs `fence_…` off and asks it for the status. `path`: where agents are looked for."""

    def __init__(self, path: str = "/usr/sbin:/usr/bin:/sbin") -> None:
        self._path = path

    def off(self, host: str) -> str:
        """See `Fencer.off`."""
        program, agent, options = self._agent(host)
        self._run(program, agent, "off", options)
        # "off" is an order; what counts is the state. Agents answer 2 when the power is off.
        code, text = self._run(program, agent, "status", options, accept=(0, 2))
        if code != 2:
            raise FenceRefused(f"{agent} was told to switch {host} off and finds it on: {text}")
        return f"{agent} says that {host} is off"

    def on(self, host: str) -> str:
        """Give a host its power again; returns who was told. Whether it comes up only the host says.

        Raises:
            FenceRefused: the agent is missing or refuses.
        """
        program, agent, options = self._agent(host)
        self._run(program, agent, "on", options)
        return f"{agent} was told to switch {host} on"

    def _agent(self, host: str) -> tuple[str, str, dict[str, str]]:
        """The host's agent: program, name and options."""
        policy = Host.objects.filter(name=host).values_list("policy", flat=True).first() or {}
        fence = policy.get("fence")
        if not fence:
            raise FenceRefused(f"no fence agent is configured for {host}")
        agent = str(fence["agent"])
        program = shutil.which(agent, path=self._path)
        if program is None:
            raise FenceRefused(f"{agent} is not installed (Debian: fence-agents)")
        return program, agent, _options(fence.get("options") or {})

    def _run(
        self,
        program: str,
        agent: str,
        action: str,
        options: Mapping[str, str],
        accept: tuple[int, ...] = (0,),
    ) -> tuple[int, str]:
        lines = "".join(f"{name}={value}\n" for name, value in options.items())
        try:
            done = subprocess.run(
                [program],
                input=f"action={action}\n{lines}",
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FenceRefused(f"{agent} {action}: no answer within {LIMIT_S:.0f} s") from None
        except OSError as error:
            raise FenceRefused(f"{agent}: {error}") from None
        text = _last_line(done.stderr) or _last_line(done.stdout) or f"exit code {done.returncode}"
        secret = options.get("password")
        if secret:
            text = text.replace(secret, "…")
        if done.returncode not in accept:
            raise FenceRefused(f"{agent} {action}: {text[:200]}")
        return done.returncode, text[:200]


def _options(given: Mapping[str, Any]) -> dict[str, str]:
    options = {str(name): str(value) for name, value in given.items()}
    file = options.pop("password_file", None)
    if file is not None:
        try:
            options["password"] = Path(file).read_text().strip()
        except OSError as error:
            raise FenceRefused(f"password_file: {error}") from None
    return options


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
