"""Tables of vplc.toml: how a program comes up and what its outputs do when it does not run, ports, the machine's nameplate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
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


@dataclass(frozen=True, slots=True)
class PortSettings:
    """Where `vplc run` listens; 0 takes any free port."""

    modbus: int = 502
    modbus_tls: int = 802
    opcua: int = 4840
    metrics: int = 9400

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> PortSettings:
        """[modbus] port and tls_port, [opcua] port, [metrics] port of vplc.toml.

        Raises:
            SettingsError: names key, value and rule.
        """
        return cls(
            _port(manifest, "modbus.port", 502),
            _port(manifest, "modbus.tls_port", 802),
            _port(manifest, "opcua.port", 4840),
            _port(manifest, "metrics.port", 9400),
        )


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """`[opcua.machine]` of vplc.toml: the nameplate of the machine that the controller runs; empty is not told."""

    manufacturer: str = ""
    manufacturer_uri: str = ""
    model: str = ""
    serial_number: str = ""
    product_instance_uri: str = ""
    product_code: str = ""
    hardware_revision: str = ""
    software_revision: str = ""
    device_class: str = ""
    asset_id: str = ""
    component_name: str = ""
    location: str = ""
    year_of_construction: int = 0
    month_of_construction: int = 0
    initial_operation_date: dt.date | None = None

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> MachineSettings:
        """From vplc.toml's data.

        Raises:
            SettingsError: names key, value and rule.
        """
        opcua = manifest.get("opcua", {})
        table = opcua.get("machine", {}) if isinstance(opcua, Mapping) else None
        if table is None or not isinstance(table, Mapping):
            raise SettingsError("vplc.toml: opcua: a table, [opcua], and in it [opcua.machine]")
        for key in sorted(opcua.keys() - {"port", "machine"}):
            raise SettingsError(f"vplc.toml: opcua.{key} is not known: one of machine, port")
        known = [row.name for row in fields(cls)]
        for key, value in table.items():
            where = f"vplc.toml: opcua.machine.{key}"
            if key not in known:
                raise SettingsError(f"{where} is not known: one of {', '.join(known)}")
            if key == "initial_operation_date":
                if not isinstance(value, dt.date):
                    raise SettingsError(f"{where} = {value!r}: a date, as 2026-01-31")
            elif key in ("year_of_construction", "month_of_construction"):
                low, high = (1900, 9999) if key.startswith("year") else (1, 12)
                if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:  # fmt: skip
                    raise SettingsError(f"{where} = {value!r}: {low} to {high}")
            elif not isinstance(value, str) or not 1 <= len(value) <= 200:
                raise SettingsError(f"{where} = {value!r}: 1 to 200 characters")
        return cls(**table)


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


def _port(manifest: Mapping[str, Any], name: str, default: int) -> int:
    return _whole(_table(manifest, name.split(".")[0]), name, 0, 65535, default)
