"""Live values of a machine's located variables, read by the gateway over Modbus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from millwright.core.lifecycle import MachineObserved
from millwright.environments.models import Machine
from millwright.gateway import GatewayClient, GatewayError
from millwright.settings import get_settings

#: More than this on one page helps nobody, and each costs a register.
MAX_LIVE_TAGS = 60
#: Types of several registers, and their bytes.
WIDE = {
    **dict.fromkeys(("DINT", "UDINT", "DWORD", "REAL"), 4),
    **dict.fromkeys(("LINT", "ULINT", "LWORD", "LREAL"), 8),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Tags of a machine: `rows` are its symbols, each with its `value`; `age_s` is None before the first."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    age_s: float | None = None
    error: str = ""


def words(error: GatewayError) -> str:
    """What went wrong at the gateway, for people."""
    if type(error) is GatewayError:
        return _("the gateway does not answer now")
    return str(error)


def _symbols(machine: Machine) -> list[dict[str, Any]]:
    found = (
        machine.deployments.filter(state="active")
        .values_list("program_version__symbols", flat=True)
        .first()
    )
    return _placed(found)


def _placed(symbols: dict[str, Any] | None) -> list[dict[str, Any]]:
    rows = []
    for symbol in (symbols or {}).get("symbols", []):
        place = modbus_place(symbol)
        if place is not None:
            rows.append({**symbol, **place})
    return rows


def shown(symbols: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Of a version's symbols those that a page shows live, with their register."""
    return _placed(symbols)[:MAX_LIVE_TAGS]


def wanted(symbols: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Such symbols as the gateway is told them."""
    return [
        {
            "path": symbol["path"],
            "area": symbol["modbus_area"],
            "address": symbol["modbus_address"],
            "type": symbol["type"],
        }
        for symbol in symbols
    ]


def shown_symbols(machine: Machine) -> list[dict[str, Any]]:
    """All located variables of the running program that Modbus shows."""
    return _symbols(machine)


def live_symbols(machine: Machine) -> list[dict[str, Any]]:
    """Located variables of the running program that Modbus shows, with their register."""
    return _symbols(machine)[:MAX_LIVE_TAGS]


def writable_symbols(machine: Machine) -> list[dict[str, Any]]:
    """Those of one register or bit that the program does not drive itself: candidates for set-points."""
    return [
        symbol
        for symbol in _symbols(machine)
        if symbol["modbus_area"] in ("holding", "coil")
        # A value of several registers could be seen half written.
        and symbol.get("type") not in WIDE
        and not symbol.get("driven")
        and not symbol.get("constant")
    ]


def modbus_place(symbol: dict[str, Any]) -> dict[str, Any] | None:
    """Where the contract's Modbus map shows a located elementary variable; None if it does not."""
    area, offset, size = symbol.get("area"), symbol.get("offset", 0), symbol.get("size", 0)
    if symbol.get("dims"):
        return None
    if symbol.get("type") == "BOOL" and symbol.get("bit") is not None:
        kinds = {"Q": "coil", "I": "discrete"}
        return (
            {"modbus_area": kinds[area], "modbus_address": offset * 8 + symbol["bit"]}
            if area in kinds
            else None
        )
    if (size == 2 or WIDE.get(symbol.get("type", "")) == size) and offset % 2 == 0:
        # These windows show memory word by word, whatever order of words a program chose for the others.
        if area == "Q" and offset + size <= 2048:
            return {"modbus_area": "holding", "modbus_address": offset // 2}
        if area == "I":
            return {"modbus_area": "input", "modbus_address": offset // 2}
        if area == "M" and offset + size <= 2048:
            return {"modbus_area": "holding", "modbus_address": 1024 + offset // 2}
    return None


def address_of(machine: Machine) -> str | None:
    """The machine's address in its cell while it runs, else None."""
    claim = getattr(machine, "address_claim", None)
    if machine.observed != MachineObserved.RUNNING or claim is None:
        return None
    return str(claim.address)


def gateway() -> GatewayClient:
    """The gateway of this plant; to be closed."""
    return GatewayClient(get_settings().gateway_socket)


def read_tags(machine: Machine) -> Reading:
    """What the tags are now. The gateway polls once a second however many people look."""
    symbols = live_symbols(machine)
    address = address_of(machine)
    values: dict[str, Any] = {}
    age_s, error = None, ""
    if address is None:
        error = _("the machine is not running")
    elif symbols:
        try:
            with gateway() as client:
                answer = client.watch_tags(str(machine.pk), address, wanted(symbols))
            values, age_s, error = answer["values"], answer["age_s"], answer["error"]
        except GatewayError as problem:
            error = words(problem)
    rows = [{**symbol, "value": values.get(symbol["path"])} for symbol in symbols]
    return Reading(rows, age_s, error)


def trend(machine: Machine) -> dict[str, Any]:
    """What the gateway read of the tags since somebody looks, at most ten minutes; empty before."""
    try:
        with gateway() as client:
            return client.trend(str(machine.pk))
    except GatewayError:
        return {"time": [], "values": {}}
