"""What is promised, as data: OpenSLO v1 documents of `objectives/*.yaml`, read into flat, typed objects.

OpenSLO has no word for some of it. That stands in annotations `millwright/…` (level, note, promised, service-hours,
missing-data, grace, longest-streak, minimum-events, unit, time-zone, short-window) and in a document kind of our own,
`millwright/v1 ShiftCalendar`. docs/subsystems/monitoring.md describes both. Pure: no clock, no database.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

FOLDER = Path(__file__).parent / "objectives"

#: Stands for the plant's own time zone, which the caller knows.
PLANT = "plant"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PREFIX = "millwright/"


class ObjectiveError(ValueError):
    """A document that cannot be used; the text names file, document, field and rule."""


class Indicator(StrEnum):
    """What is measured."""

    AVAILABILITY = "availability"
    CYCLE_DEADLINE = "cycle-deadline"
    PROVISIONING_TIME = "provisioning-time"
    RECOVERY_TIME = "recovery-time"
    DEVICE_LINK = "device-link"
    RUN_QUEUE_WAIT = "run-queue-wait"
    PORTAL_AVAILABILITY = "portal-availability"


class Level(StrEnum):
    """To whom an objective applies: the service classes, what falls short of them, and the plant itself."""

    REALTIME = "realtime"
    GUARANTEED = "guaranteed"
    SHARED = "shared"
    BEST_EFFORT = "best-effort"
    EMULATED = "emulated"
    PLANT = "plant"


#: From the least promised to the most.
_BY_PROMISE = (Level.EMULATED, Level.BEST_EFFORT, Level.SHARED, Level.GUARANTEED, Level.REALTIME)


def level_of(service_class: str, shortfalls: Iterable[str] = ()) -> Level:
    """A machine's level: its class, unless its host cannot honour all of it.

    `shortfalls`: what is missing, in the words of the machine's page ("emulated: timing is not promised", …).
    Only a realtime machine is promised something that a host may lack.
    """
    words = tuple(shortfalls)
    if service_class != Level.REALTIME or not words:
        return Level(service_class)
    emulated = any(word.startswith("emulated") for word in words)
    return Level.EMULATED if emulated else Level.BEST_EFFORT


def least(levels: Iterable[Level]) -> Level | None:
    """An environment is promised no more than the least of its machines; None: it has none."""
    return min(levels, key=_BY_PROMISE.index, default=None)


def seconds(text: str) -> int:
    """A duration as OpenSLO and Prometheus write it ("5m", "3d"; also "60s"), in seconds.

    Raises:
        ValueError: it is none. Months and quarters have no fixed length and are refused.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found is None:
        raise ValueError(f"{text!r}: expected a number and one of s, m, h, d, w")
    return int(found[1]) * _SECONDS[found[2]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Shift(_Frozen):
    """Hours on some days. An end at or before the begin lies on the next day."""

    name: str = Field(min_length=1, max_length=60)
    days: tuple[Weekday, ...] = Field(min_length=1)
    begin: dt.time
    end: dt.time

    @model_validator(mode="after")
    def _no_zone(self) -> Self:
        if self.begin.tzinfo or self.end.tzinfo:
            raise ValueError("from and to are wall-clock times, without a zone")
        return self

    @property
    def overnight(self) -> bool:
        return self.end <= self.begin


class Holiday(_Frozen):
    """A day on which no shift begins: "12-25" each year, or "2027-03-26" once."""

    name: str = Field(min_length=1, max_length=60)
    day: str

    @field_validator("day")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        # 2024 was a leap year, so that 02-29 is a day.
        text = value if len(value) > 5 else f"2024-{value}"
        try:
            dt.date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{value!r}: expected MM-DD or YYYY-MM-DD") from None
        return value

    def falls_on(self, day: dt.date) -> bool:
        return day.isoformat().endswith(self.day) if len(self.day) == 5 else str(day) == self.day


class ShiftCalendar(_Frozen):
    """Service hours by wall clock. No shifts: always, holidays included."""

    name: str
    title: str = ""
    time_zone: str = PLANT
    shifts: tuple[Shift, ...] = ()
    holidays: tuple[Holiday, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        return _known_zone(value)

    def zone(self, plant: ZoneInfo) -> ZoneInfo:
        """Its time zone; `plant` is the plant's own."""
        return plant if self.time_zone == PLANT else ZoneInfo(self.time_zone)


class BurnCondition(_Frozen):
    """An alert on the speed at which a budget is spent: both windows above `factor` times the even speed."""

    name: str
    severity: Literal["page", "ticket"]
    description: str = ""
    factor: float = Field(gt=0)
    long_s: int = Field(gt=0)
    short_s: int = Field(gt=0)
    after_s: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Self:
        if self.short_s >= self.long_s:
            raise ValueError(
                f"short-window: {self.short_s} s; shorter than lookbackWindow, {self.long_s} s"
            )
        return self


class Sli(_Frozen):
    """How an indicator is read from Prometheus. `$window` and `$value` are placeholders."""

    name: Indicator
    title: str = ""
    description: str = ""
    good: str = ""
    bad: str = ""
    total: str = ""
    #: a ratio of success, 0 to 1
    raw: str = ""
    #: a value that an objective compares with its own
    threshold: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        ratio = bool(self.total) and bool(self.good) != bool(self.bad)
        if [ratio, bool(self.raw), bool(self.threshold)].count(True) != 1:
            raise ValueError("expected good or bad with total, or raw, or thresholdMetric")
        return self


class Objective(_Frozen):
    """One promise. Also what the portal stores of an edited one."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    title: str = Field("", max_length=200)
    description: str = Field("", max_length=1050)
    level: Level
    indicator: Indicator
    budgeting: Literal["Occurrences", "Timeslices", "RatioTimeslices"]
    target: float = Field(ge=0, lt=1, description="share that must be good")
    #: the period of the budget: "1M" a calendar month, else a rolling number of days
    window: str = Field("1M", pattern=r"^(1[MQY]|[1-9]\d{0,2}[dw])$")
    time_zone: str = PLANT
    #: an event or slice is good at or below this, in `unit`; None: the indicator itself says good or bad
    at_most: float | None = Field(None, ge=0)
    unit: Literal["", "s", "ratio"] = ""
    slice_s: int | None = Field(None, gt=0)
    service_hours: str = "always"
    missing_data: Literal["down", "ignored"] = "ignored"
    #: missing data counts as down only after this long
    grace_s: int = Field(0, ge=0, le=3600)
    #: longest run of missed cycles that is still in order; None: no rule
    longest_streak: int | None = Field(None, ge=0)
    #: fewer events in a window say nothing
    minimum_events: int = Field(0, ge=0)
    #: False: an aim that the machine's physics never promised; pages say so and do not turn red
    promised: bool = True
    note: str = Field("", max_length=200)
    alerts: tuple[str, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        return _known_zone(value)

    @property
    def budget_ratio(self) -> float:
        """Share that may be bad."""
        return 1.0 - self.target

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.budgeting != "Occurrences" and self.slice_s is None:
            raise ValueError(f"timeSliceWindow: missing; {self.budgeting} needs it")
        if (self.at_most is None) != (self.unit == ""):
            raise ValueError("value and annotation millwright/unit come together")
        if not self.promised and not self.note:
            raise ValueError("millwright/note: missing; what is not promised says why")
        return self


class Objectives(_Frozen):
    """Everything of a folder, held together: each name that is used exists."""

    objectives: tuple[Objective, ...]
    indicators: tuple[Sli, ...]
    calendars: tuple[ShiftCalendar, ...]
    conditions: tuple[BurnCondition, ...]
    #: level → what it is, in words
    services: dict[str, str] = Field(default_factory=dict)

    def of(self, level: str) -> tuple[Objective, ...]:
        """Objectives of one level."""
        return tuple(row for row in self.objectives if row.level == level)

    def get(self, level: str, indicator: str) -> Objective | None:
        """The objective of a level for an indicator; None: nothing is promised."""
        return next((row for row in self.of(level) if row.indicator == indicator), None)

    def calendar(self, name: str) -> ShiftCalendar:
        """A calendar by name. Raises: KeyError."""
        return {row.name: row for row in self.calendars}[name]

    def sli(self, indicator: str) -> Sli:
        """An indicator's queries. Raises: KeyError."""
        return {str(row.name): row for row in self.indicators}[indicator]

    def condition(self, name: str) -> BurnCondition:
        """An alert's windows. Raises: KeyError."""
        return {row.name: row for row in self.conditions}[name]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for kind, rows in (
            ("objective", [row.name for row in self.objectives]),
            ("indicator", [row.name for row in self.indicators]),
            ("calendar", [row.name for row in self.calendars]),
            ("condition", [row.name for row in self.conditions]),
            ("objective for", [f"{row.level}, {row.indicator}" for row in self.objectives]),
        ):
            for name in {name for name in rows if rows.count(name) > 1}:
                raise ValueError(f"{kind} {name}: twice")
        for row in self.objectives:
            for field, name, known in (
                ("indicatorRef", str(row.indicator), [str(sli.name) for sli in self.indicators]),
                ("service-hours", row.service_hours, [one.name for one in self.calendars]),
                *(
                    ("alertPolicyRef", alert, [one.name for one in self.conditions])
                    for alert in row.alerts
                ),
            ):
                if name not in known:
                    raise ValueError(f"{row.name}: {field}: {name!r} is not defined")
        return self


def _known_zone(value: str) -> str:
    if value != PLANT and value not in available_timezones():
        raise ValueError(f"time zone {value!r}: not in the IANA database")
    return value


def load(folder: Path = FOLDER) -> Objectives:
    """Read every `*.yaml` of a folder.

    Raises:
        ObjectiveError: names the file, the document and the rule.
    """
    found: dict[str, list[Any]] = {"SLO": [], "SLI": [], "ShiftCalendar": [], "AlertCondition": []}
    services: dict[str, str] = {}
    policies: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ObjectiveError(f"{path.name}: {error}") from None
        for document in documents:
            where = f"{path.name}: {_name(document)}"
            try:
                kind, metadata, spec = _parts(document)
                if kind == "Service":
                    services[metadata["name"]] = str(spec.get("description", ""))
                elif kind == "AlertPolicy":
                    policies[metadata["name"]] = spec["conditions"][0]["conditionRef"]
                elif kind in _READERS:
                    found[kind].append(_READERS[kind](metadata, spec))
                elif kind != "AlertNotificationTarget":
                    raise ValueError(f"kind {kind!r} is not known")
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"]))
                raise ObjectiveError(
                    f"{where}: {field + ': ' if field else ''}{first['msg'].removeprefix('Value error, ')}"
                ) from None
            except KeyError as error:
                raise ObjectiveError(f"{where}: {error.args[0]}: missing") from None
            except (ValueError, TypeError, IndexError, AttributeError) as error:
                raise ObjectiveError(f"{where}: {error}") from None
    try:
        # A policy only leads to its one condition.
        rows = [
            row.model_copy(update={"alerts": tuple(policies[name] for name in row.alerts)})
            for row in found["SLO"]
        ]
        return Objectives(
            objectives=tuple(rows),
            indicators=tuple(found["SLI"]),
            calendars=tuple(found["ShiftCalendar"]),
            conditions=tuple(found["AlertCondition"]),
            services=services,
        )
    except KeyError as error:
        raise ObjectiveError(f"{folder}: AlertPolicy {error.args[0]!r} is not defined") from None
    except ValidationError as error:
        raise ObjectiveError(
            f"{folder}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from None


@lru_cache(maxsize=1)
def shipped() -> Objectives:
    """The objectives that come with Millwright, read once."""
    return load()


def _name(document: Any) -> str:
    if not isinstance(document, Mapping):
        return "a document"
    metadata = document.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, Mapping) else "?"
    return f"{document.get('kind', 'a document')} {name}"


def _parts(document: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    if not isinstance(document, Mapping):
        raise ValueError("expected apiVersion, kind, metadata and spec")
    kind = str(document["kind"])
    wanted = "millwright/v1" if kind == "ShiftCalendar" else "openslo/v1"
    if document["apiVersion"] != wanted:
        raise ValueError(f"apiVersion: {document['apiVersion']!r}; expected {wanted}")
    return kind, dict(document["metadata"]), dict(document["spec"])


def _notes(metadata: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    """Our annotations, without their prefix. Those of others are left alone; unknown ones of ours refused."""
    notes = {
        str(key).removeprefix(_PREFIX): str(value)
        for key, value in metadata.get("annotations", {}).items()
        if str(key).startswith(_PREFIX)
    }
    for key in notes.keys() - known:
        raise ValueError(f"annotation {_PREFIX}{key} is not known")
    return notes


_SLO_NOTES = frozenset(
    (
        *("level", "note", "promised", "service-hours", "missing-data", "grace"),
        *("longest-streak", "minimum-events", "unit", "time-zone"),
    )
)


def _slo(metadata: dict[str, Any], spec: dict[str, Any]) -> Objective:
    notes = _notes(metadata, _SLO_NOTES)
    if len(spec["objectives"]) != 1 or len(spec["timeWindow"]) != 1:
        raise ValueError("objectives and timeWindow: exactly one of each")
    goal, window = spec["objectives"][0], spec["timeWindow"][0]
    if ("target" in goal) == ("targetPercent" in goal):
        raise ValueError("objectives: expected target or targetPercent")
    if "value" in goal and goal.get("op") != "lte":
        raise ValueError(f"op: {goal.get('op')!r}; lte is the only one")
    rolling = bool(window.get("isRolling", "calendar" not in window))
    if rolling != window["duration"].endswith(("d", "w")):
        raise ValueError(f"timeWindow: {window['duration']}; days and weeks roll, months do not")
    if notes.get("promised", "yes") not in ("yes", "no"):
        raise ValueError(f"millwright/promised: {notes['promised']!r}; yes or no")
    zone = window.get("calendar", {}).get("timeZone", PLANT)
    return Objective(
        name=metadata["name"],
        title=metadata.get("displayName", ""),
        description=spec.get("description", ""),
        level=Level(notes.get("level", spec["service"])),
        indicator=Indicator(spec["indicatorRef"]),
        budgeting=spec["budgetingMethod"],
        target=goal["target"] if "target" in goal else goal["targetPercent"] / 100,
        window=window["duration"],
        time_zone=notes.get("time-zone", zone),
        at_most=goal.get("value"),
        unit=notes.get("unit", ""),
        slice_s=seconds(goal["timeSliceWindow"]) if "timeSliceWindow" in goal else None,
        service_hours=notes.get("service-hours", "always"),
        missing_data=notes.get("missing-data", "ignored"),
        grace_s=seconds(notes.get("grace", "0s")),
        longest_streak=int(notes["longest-streak"]) if "longest-streak" in notes else None,
        minimum_events=int(notes.get("minimum-events", 0)),
        promised=notes.get("promised", "yes") == "yes",
        note=notes.get("note", ""),
        alerts=tuple(row["alertPolicyRef"] for row in spec.get("alertPolicies", ())),
    )


def _sli(metadata: dict[str, Any], spec: dict[str, Any]) -> Sli:
    ratio = spec.get("ratioMetric", {})
    queries = {
        key: ratio[key]["metricSource"]["spec"]["query"]
        for key in ("good", "bad", "total", "raw")
        if key in ratio
    }
    if "raw" in ratio and ratio.get("rawType") != "success":
        raise ValueError(f"rawType: {ratio.get('rawType')!r}; success is the only one")
    if "thresholdMetric" in spec:
        queries["threshold"] = spec["thresholdMetric"]["metricSource"]["spec"]["query"]
    return Sli(
        name=Indicator(metadata["name"]),
        title=metadata.get("displayName", ""),
        description=spec.get("description", ""),
        **queries,
    )


def _calendar(metadata: dict[str, Any], spec: dict[str, Any]) -> ShiftCalendar:
    return ShiftCalendar(
        name=metadata["name"],
        title=metadata.get("displayName", ""),
        time_zone=spec.get("timeZone", PLANT),
        shifts=tuple(
            Shift(name=row["name"], days=tuple(row["days"]), begin=row["from"], end=row["to"])
            for row in spec.get("shifts", ())
        ),
        holidays=tuple(Holiday(**row) for row in spec.get("holidays", ())),
    )


def _condition(metadata: dict[str, Any], spec: dict[str, Any]) -> BurnCondition:
    notes = _notes(metadata, frozenset({"short-window"}))
    condition = spec["condition"]
    if condition.get("kind", "burnrate") != "burnrate" or condition["op"] != "gt":
        raise ValueError("condition: kind burnrate with op gt is the only one")
    return BurnCondition(
        name=metadata["name"],
        severity=spec["severity"],
        description=spec.get("description", ""),
        factor=condition["threshold"],
        long_s=seconds(condition["lookbackWindow"]),
        short_s=seconds(notes["short-window"]),
        after_s=seconds(condition.get("alertAfter", "0m")),
    )


_READERS = {
    "SLO": _slo,
    "SLI": _sli,
    "ShiftCalendar": _calendar,
    "AlertCondition": _condition,
}
