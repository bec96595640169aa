"""What is odd about a machine's mappings: registers that overlap, types that do not fit, inputs nobody feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from millwright.environments.models import Machine

from .models import TagMapping

#: Registers that a type takes.
WIDTHS = {"DINT": 2, "UDINT": 2, "DWORD": 2, "REAL": 2, "LREAL": 4}
#: What each integer type holds.
SPANS = {
    "SINT": (-128, 127),
    "USINT": (0, 255),
    "BYTE": (0, 255),
    "INT": (-(2**15), 2**15 - 1),
    "UINT": (0, 2**16 - 1),
    "WORD": (0, 2**16 - 1),
    "DINT": (-(2**31), 2**31 - 1),
    "UDINT": (0, 2**32 - 1),
    "DWORD": (0, 2**32 - 1),
}
_FLOATS = ("REAL", "LREAL")


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is overlap, type, direction or unmapped."""

    kind: str
    tag: str
    text: str


def review(machine: Machine) -> list[Finding]:
    """Warnings about what is saved; nothing here forbids anything."""
    rows = list(machine.mappings.select_related("device").order_by("device__name", "tag"))
    found = (
        machine.deployments.exclude(state__in=("failed", "asked", "refused"))
        .values_list("program_version__symbols", flat=True)
        .first()
    )
    symbols = {row["path"].lower(): row for row in (found or {}).get("symbols", [])}
    return [*_overlaps(rows), *_misfits(rows, symbols), *_unmapped(rows, symbols)]


def _overlaps(rows: list[TagMapping]) -> list[Finding]:
    """Points that share registers without being the same read twice."""
    places = sorted(
        (
            (str(row.device_id), row.area, int(row.register), WIDTHS.get(row.data_type, 1), row)
            for row in rows
            if row.area in ("holding", "input") and row.register.isdecimal()
        ),
        key=lambda place: (*place[:4], place[4].tag),
    )
    findings = []
    for index, (device, area, first, width, row) in enumerate(places):
        for other_device, other_area, start, other_width, other in places[index + 1 :]:
            if (other_device, other_area) != (device, area) or start >= first + width:
                break
            same = (start, other_width, other.data_type) == (first, width, row.data_type)
            if same and row.direction == other.direction == "in":
                continue
            findings.append(
                Finding(
                    "overlap",
                    other.tag,
                    _("%(tag)s and %(other)s share %(area)s %(register)s of %(device)s")
                    % {
                        "tag": row.tag,
                        "other": other.tag,
                        "area": row.get_area_display(),
                        "register": start,
                        "device": row.device,
                    },
                )
            )
    return findings


def _misfits(rows: list[TagMapping], symbols: dict[str, dict[str, Any]]) -> list[Finding]:
    findings = []
    for row in rows:
        symbol = symbols.get(row.tag.lower())
        bits = row.area in ("coil", "discrete")
        if bits and row.data_type != "BOOL":
            text = _("%(tag)s: a %(area)s is BOOL, not %(type)s") % {
                "tag": row.tag,
                "area": row.get_area_display(),
                "type": row.data_type,
            }
            findings.append(Finding("type", row.tag, text))
        if symbol is None:
            continue
        if rule := _misfit(row, str(symbol.get("type", ""))):
            findings.append(Finding("type", row.tag, rule))
        if row.direction == "in" and symbol.get("driven"):
            text = _("%(tag)s: the program writes it itself; what the device says is lost") % {
                "tag": row.tag
            }
            findings.append(Finding("direction", row.tag, text))
    return findings


def _misfit(row: TagMapping, kind: str) -> str:
    """Why a point's type does not fit the tag's, or ""."""
    source, target = (row.data_type, kind) if row.direction == "in" else (kind, row.data_type)
    about = {"tag": row.tag, "source": source, "target": target}
    if (source == "BOOL") != (target == "BOOL"):
        return _("%(tag)s: %(source)s does not fit %(target)s") % about
    if source in _FLOATS and target in SPANS:
        return _("%(tag)s: %(source)s into %(target)s loses what is behind the point") % about
    plain = row.scale == 1.0 and row.offset == 0.0
    if plain and source in SPANS and target in SPANS:
        least, most = SPANS[target]
        if SPANS[source][0] < least or SPANS[source][1] > most:
            return _("%(tag)s: %(target)s does not hold every value of %(source)s") % about
    return ""


def _unmapped(rows: list[TagMapping], symbols: dict[str, dict[str, Any]]) -> list[Finding]:
    """Located inputs that no device feeds."""
    mapped = {row.tag.lower() for row in rows}
    return [
        Finding(
            "unmapped",
            symbol["path"],
            _("%(tag)s (%(located)s) is an input that no device feeds")
            % {"tag": symbol["path"], "located": symbol.get("located", "%I")},
        )
        for path, symbol in symbols.items()
        if symbol.get("area") == "I" and path not in mapped
    ]
