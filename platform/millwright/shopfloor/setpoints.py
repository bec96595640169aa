"""Set-points: tags that people may write from the portal, within limits, each write in the audit trail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.environments.models import Machine
from millwright.gateway import GatewayClient, GatewayError
from millwright.gateway.errors import TargetFailed

from .actions import request_config
from .live import address_of, gateway, words, writable_symbols
from .models import SetPoint

#: What a register holds, by type.
RANGES = {"BOOL": (0, 1), "INT": (-32768, 32767)}
UNSIGNED = (0, 65535)


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: the value before, the value read back, and why it failed ("" is done)."""

    before: int
    after: int | None
    error: str = ""


def symbol_of(machine: Machine, tag: str) -> dict[str, Any]:
    """The program's variable of that name.

    Raises:
        ValidationError: there is none that could be written.
    """
    for symbol in writable_symbols(machine):
        if symbol["path"].lower() == tag.lower():
            return symbol
    raise ValidationError(
        {
            "tag": _(
                "%(tag)r: expected a located variable of the running program that the program does not write itself"
            )
            % {"tag": tag}
        }
    )


@transaction.atomic
def allow(
    actor: Any, machine: Machine, *, tag: str, low: float, high: float, unit: str = ""
) -> SetPoint:
    """Let operators write a tag within limits; the machine's allow-list follows."""
    project = machine.environment.project
    require(actor, "engineer", project)
    symbol = symbol_of(machine, tag)
    least, most = RANGES.get(symbol["type"], UNSIGNED)
    for name, value in (("low", low), ("high", high)):
        if not math.isfinite(value) or not least <= value <= most:
            raise ValidationError(
                {
                    name: _("%(value)s: %(type)s goes from %(least)s to %(most)s")
                    % {"value": value, "type": symbol["type"], "least": least, "most": most}
                }
            )
    if low > high:
        raise ValidationError(
            {"high": _("%(high)s is below the lowest value, %(low)s") % {"high": high, "low": low}}
        )
    if len(unit) > 16:
        raise ValidationError({"unit": _("at most 16 characters")})
    wanted = {"low": low, "high": high, "unit": unit}
    point, made = SetPoint.objects.get_or_create(
        machine=machine, tag=symbol["path"], defaults=wanted
    )
    if not made and (point.low, point.high, point.unit) == (low, high, unit):
        return point
    point.low, point.high, point.unit = low, high, unit
    point.save()
    record(
        actor,
        "setpoint.allow",
        machine,
        project=project,
        tag=point.tag,
        low=low,
        high=high,
        unit=unit,
    )
    if made:
        request_config(actor, machine, f"set-point {point.tag}")
    return point


@transaction.atomic
def forbid(actor: Any, point: SetPoint) -> None:
    """No longer let anybody write the tag from the portal."""
    machine = point.machine
    project = machine.environment.project
    require(actor, "engineer", project)
    record(actor, "setpoint.forbid", machine, project=project, tag=point.tag)
    point.delete()
    request_config(actor, machine, f"set-point {point.tag}")


def checked(point: SetPoint, text: Any) -> int:
    """A value for the set-point.

    Raises:
        ValidationError: no whole number, or beyond the limits.
    """
    try:
        value = float(str(text).strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise ValidationError(
            {"value": _("%(value)r is not a whole number") % {"value": str(text)}}
        )
    if not point.low <= value <= point.high:
        raise ValidationError(
            {
                "value": _("%(value)s: allowed are %(low)g to %(high)g")
                % {"value": int(value), "low": point.low, "high": point.high}
            }
        )
    return int(value)


def current(point: SetPoint) -> int:
    """What the tag is now.

    Raises:
        ValidationError: the program has no such variable any more.
        GatewayError: it cannot be read now.
    """
    symbol = symbol_of(point.machine, point.tag)
    address = _address(point)
    with gateway() as client:
        return _read(client, address, symbol)


def write(actor: Any, point: SetPoint, value: Any, reason: str = "") -> Written:
    """Write a value. The trail has it before it is sent, and what came of it when that was not all.

    Not one transaction: what was sent to a machine cannot be rolled back, so its entry must stand.

    Raises:
        ValidationError: the value breaks a rule.
        GatewayError: the tag cannot be read; nothing was sent.
    """
    machine = point.machine
    project = machine.environment.project
    require(actor, "operate", project)
    if len(reason) > 500:
        raise ValidationError({"reason": _("at most 500 characters")})
    number = checked(point, value)
    symbol = symbol_of(machine, point.tag)
    address = _address(point)
    with gateway() as client:
        before = _read(client, address, symbol)
        about = {"project": project, "reason": reason, "tag": point.tag}
        record(
            actor, "setpoint.write", machine, before=before, value=number, unit=point.unit, **about
        )
        try:
            client.modbus_write(
                address, symbol["modbus_area"], symbol["modbus_address"], [number & 0xFFFF]
            )
            after = _read(client, address, symbol)
        except GatewayError as error:
            record(actor, "setpoint.failed", machine, value=number, error=str(error), **about)
            return Written(before, None, words(error))
    if after != number:
        error = _("it reads %(after)s: the program or somebody else changed it at once") % {
            "after": after
        }
        return Written(before, after, error)
    return Written(before, after)


def _address(point: SetPoint) -> str:
    address = address_of(point.machine)
    if address is None:
        raise TargetFailed(_("the machine is not running"))
    return address


def _read(client: GatewayClient, address: str, symbol: dict[str, Any]) -> int:
    (raw,) = client.modbus_read(address, symbol["modbus_area"], symbol["modbus_address"], 1)
    number = int(raw)
    return number - 65536 if symbol["type"] == "INT" and number > 32767 else number
