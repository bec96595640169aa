"""[start] and [outputs] of vplc.toml: how a program comes up, and what its outputs do when it does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODES = ("cold", "warm", "hot")
POLICIES = ("zero", "hold", "substitute")


class SettingsError(ValueError):
    """A setting breaks a rule; names key, value and rule."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Milliseconds. `input_timeout_ms` 0 does not wait for good inputs."""

    mode: str = "warm"
    input_timeout_ms: int = 0
    retain_period_ms: int = 500
    on_stop: str = "zero"
    on_fault: str = "zero"

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> RuntimeSettings:
        """From vplc.toml.

        Raises:
            SettingsError: names key, value and rule.
        """
        start, outputs = _table(manifest, "start"), _table(manifest, "outputs")
        _known(start, "start", ("mode", "input_timeout_ms", "retain_period_ms"))
        _known(outputs, "outputs", ("on_stop", "on_fault"))
        return cls(
            _choice(start, "start.mode", MODES, "warm"),
            _whole(start, "start.input_timeout_ms", 0, 600_000, 0),
            _whole(start, "start.retain_period_ms", 100, 1000, 500),
            _choice(outputs, "outputs.on_stop", POLICIES, "zero"),
            _choice(outputs, "outputs.on_fault", POLICIES, "zero"),
        )

    def engine_conf(self) -> str:
        """What the scan process reads beside a program."""
        return (
            f"start_mode {MODES.index(self.mode) + 1}\n"
            f"input_timeout_ms {self.input_timeout_ms}\n"
            f"retain_period_ms {self.retain_period_ms}\n"
        )


def _table(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name, {})
    if not isinstance(found, Mapping):
        raise SettingsError(f"vplc.toml: {name} = {found!r}: a table, as [{name}]")
    return found


def _known(table: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> None:
    for key in sorted(table.keys() - set(keys)):
        raise SettingsError(f"vplc.toml: {name}.{key} is not known: one of {', '.join(keys)}")


def _choice(table: Mapping[str, Any], name: str, known: tuple[str, ...], default: str) -> str:
    value = table.get(name.split(".")[1], default)
    if value not in known:
        raise SettingsError(f"vplc.toml: {name} = {value!r}: one of {', '.join(known)}")
    return str(value)


def _whole(table: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = table.get(name.split(".")[1], default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"vplc.toml: {name} = {value!r}: {low} to {high}")
    return value
