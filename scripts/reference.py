"""Write docs/REFERENCE.md from the code: settings, ports, metrics, commands. `--check` only compares.

Tables made by hand drift from what the code does; a test runs this with `--check`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from millwright.cli import cli
from millwright.settings import Settings

from monitoring import METRICS

TARGET = Path(__file__).resolve().parent.parent / "docs" / "REFERENCE.md"
_COMPUTED = {
    "home": "`$XDG_STATE_HOME/millwright/<instance>`",
    "cache_dir": "`$XDG_CACHE_HOME/millwright`",
    "public_url": "`http://<portal_host>:<portal_port>`",
    "database_url": "SQLite in the home directory",
}
_PORTS = {
    "portal_port": 8480,
    "orchestrator_metrics_port": 8481,
    "gateway_port": 8482,
    "prometheus_port": 8490,
    "alertmanager_port": 8491,
}


def _settings() -> Iterator[str]:
    yield "| variable | default | what |"
    yield "| --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        if name in _PORTS:
            default = f"{_PORTS[name]}, and 100 more for each further instance"
        else:
            default = _COMPUTED.get(name) or f"`{field.default}`"
        words = field.description or name.replace("_", " ")
        yield f"| `MILLWRIGHT_{name.upper()}` | {default} | {words} |"


def _metrics() -> Iterator[str]:
    yield "| metric | kind | labels | shown by | what |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.shown_by} | {metric.help} |"


def _commands(command: click.Command, path: str) -> Iterator[str]:
    words = (command.help or "").strip().split("\n")[0]
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            # It does something itself too.
            yield f"| `{path}` | {words} |"
        context = click.Context(command)
        for name in sorted(command.list_commands(context)):
            child = command.get_command(context, name)
            if child is not None:
                yield from _commands(child, f"{path} {name}")
        return
    arguments = " ".join(_usage(parameter) for parameter in command.params if _usage(parameter))
    yield f"| `{path}{' ' + arguments if arguments else ''}` | {words} |"


def _usage(parameter: Any) -> str:
    if isinstance(parameter, click.Argument):
        return (
            parameter.human_readable_name
            if parameter.required
            else f"[{parameter.human_readable_name}]"
        )
    return parameter.opts[0] if parameter.required else ""


def render() -> str:
    """The page."""
    lines = [
        "# Reference",
        "",
        "Made from the code by `make docs`; a test compares. Optional arguments: `--help` of each command.",
        "",
        "## Settings",
        "",
        *_settings(),
        "",
        "## Metrics",
        "",
        *_metrics(),
        "",
        "## Commands",
        "",
        "| command | what |",
        "| --- | --- |",
        *_commands(cli, "millwright"),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write, or compare."""
    text = render()
    if "--check" in sys.argv:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET}: not what the code says; run: make docs")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
