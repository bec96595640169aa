"""[modbus] of vplc.toml: the word order of the map and the server's limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

WORD_ORDERS = ("low_first", "high_first")


class SettingsError(ValueError):
    """[modbus] breaks a rule; names field, value and rule."""


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """How the server behaves.

    `plain`: whether the port without TLS is served; `idle_s`: silence after which a connection ends;
    `requests_per_s`: of all connections of one address together, 0 is no limit.
    """

    word_order: str = "low_first"
    plain: bool = True
    connections: int = 64
    connections_per_client: int = 16
    requests_per_s: int = 20_000
    idle_s: float = 120.0

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> Self:
        """From vplc.toml's data.

        Raises:
            SettingsError: what is wrong.
        """
        table = manifest.get("modbus", {})
        if not isinstance(table, Mapping):
            raise SettingsError(f"vplc.toml: modbus = {table!r}: a table, [modbus]")
        known = {"port", "tls_port", *cls.__slots__}
        for key in table:
            if key not in known:
                raise SettingsError(
                    f"vplc.toml: modbus.{key}: not known; {', '.join(sorted(known))} are"
                )
        order = table.get("word_order", cls().word_order)
        if order not in WORD_ORDERS:
            raise SettingsError(
                f"vplc.toml: modbus.word_order = {order!r}: one of {', '.join(WORD_ORDERS)}"
            )
        plain = table.get("plain", True)
        if not isinstance(plain, bool):
            raise SettingsError(f"vplc.toml: modbus.plain = {plain!r}: true or false")
        return cls(
            order,
            plain,
            int(_number(table, "connections", 64, 1, 1000)),
            int(_number(table, "connections_per_client", 16, 1, 1000)),
            int(_number(table, "requests_per_s", 20_000, 0, 1_000_000)),
            float(_number(table, "idle_s", 120, 1, 86_400)),
        )


def _number(
    table: Mapping[str, Any], key: str, default: float, low: float, high: float
) -> float:  # fmt: skip
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(f"vplc.toml: modbus.{key} = {value!r}: {low:g} to {high:g}")
    return value
