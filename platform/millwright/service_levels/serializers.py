"""Service levels as data for the API. Lengths in seconds, shares in [0, 1]."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from .models import Contract, Interval, MaintenanceWindow, MonthSum, Note, Seal
from .monthly import Month
from .quality import Quality
from .times import Times
from .watching import Board, Line


def _who(source: str) -> serializers.CharField:
    return serializers.CharField(
        source=f"{source}.username", read_only=True, default=None, allow_null=True
    )


class MonthSumSerializer(serializers.ModelSerializer):
    """A month's figures as they were last measured; `stale`: they are about to be measured again."""

    environment = serializers.CharField(source="environment.name", read_only=True)
    project = serializers.CharField(source="environment.project.slug", read_only=True)
    month = serializers.DateField(format="%Y-%m", read_only=True)
    availability = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = MonthSum
        fields = (
            "environment",
            "project",
            "month",
            "availability",
            "eligible_s",
            "down_s",
            "missing_s",
            "excluded_s",
            "ordered_s",
            "budget_s",
            "outages",
            "causes",
            "measured_at",
            "stale",
        )
        read_only_fields = fields


class NoteSerializer(serializers.ModelSerializer):
    actor = serializers.CharField(source="actor.username", read_only=True)

    class Meta:
        model = Note
        fields = ("kind", "text", "at", "actor")
        read_only_fields = fields


class IntervalSerializer(serializers.ModelSerializer):
    """A row of the ledger, half-open; `end` null: still so. `incident` stays through corrections."""

    environment = serializers.CharField(source="environment.name", read_only=True)
    project = serializers.CharField(source="environment.project.slug", read_only=True)
    machine = serializers.CharField(
        source="machine.name", read_only=True, default=None, allow_null=True
    )
    written_by = _who("written_by")

    class Meta:
        model = Interval
        fields = (
            "id",
            "incident",
            "environment",
            "project",
            "machine",
            "begin",
            "end",
            "kind",
            "cause",
            "why",
            "host",
            "verb",
            "reason",
            "written_at",
            "written_by",
        )
        read_only_fields = fields


class WindowSerializer(serializers.ModelSerializer):
    environment = serializers.CharField(source="environment.name", read_only=True)
    requested_by = _who("requested_by")
    approved_by = _who("approved_by")

    class Meta:
        model = MaintenanceWindow
        fields = (
            "id",
            "environment",
            "begins_at",
            "ends_at",
            "every_days",
            "until",
            "reason",
            "state",
            "late",
            "retroactive",
            "requested_by",
            "requested_at",
            "approved_by",
            "decided_at",
            "decision_reason",
            "closed_at",
        )
        read_only_fields = fields


def times_data(times: Times) -> dict[str, Any]:
    """How often it happened, of how many it was promised, how often in time, the longest in seconds."""
    return {
        "count": times.count,
        "promised": times.promised,
        "in_time": times.within,
        "longest_s": _seconds(times.longest),
    }


def quality_data(quality: Iterable[Quality]) -> list[dict[str, Any]]:
    """Minutes that were measured, the good ones, their share and what was promised; of several the least."""
    return [
        {
            "indicator": row.indicator,
            "minutes": round(row.minutes, 3),
            "good": round(row.good, 3),
            "share": row.share,
            "objective": row.objective,
            "promised": row.promised,
            "kept": row.in_keeping,
        }
        for row in quality
    ]


class ContractSerializer(serializers.ModelSerializer):
    environment = serializers.CharField(
        source="environment.name", read_only=True, default=None, allow_null=True
    )
    created_by = _who("created_by")
    service_class = serializers.CharField(read_only=True)

    class Meta:
        model = Contract
        fields = (
            "id",
            "environment",
            "service_class",
            "objective",
            "availability_ratio",
            "cycle_ratio",
            "cycle_streak",
            "provisioning_s",
            "recovery_s",
            "device_link_ratio",
            "run_queue_ratio",
            "hours",
            "missing_grace_s",
            "small_stop_s",
            "planned_counts",
            "lead_time_hours",
            "yearly_cap_hours",
            "note",
            "valid_from",
            "created_at",
            "created_by",
        )
        read_only_fields = fields


class SealSerializer(serializers.ModelSerializer):
    environment = serializers.CharField(source="environment.name", read_only=True)
    month = serializers.DateField(format="%Y-%m", read_only=True)
    made_by = _who("made_by")

    class Meta:
        model = Seal
        fields = (
            "id",
            "environment",
            "month",
            "number",
            "made_at",
            "made_by",
            "inputs",
            "previous",
            "digest",
        )
        read_only_fields = fields


def _seconds(value: dt.timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


def line_data(line: Line) -> dict[str, Any]:
    """A line of the wall."""
    return {
        "environment": line.environment.name,
        "project": line.environment.project.slug,
        "state": str(line.state),
        "since": line.since.isoformat(),
        "class": line.level,
        "promised_now": line.promised_now,
        "objective": line.objective,
        "availability": line.measured.availability,
        "down_s": _seconds(line.measured.down),
        "budget_s": _seconds(line.budget),
        "budget_left_s": _seconds(line.budget_left),
        "burn": line.burn,
        "burn_hour": line.burn_hour,
        "interval": line.interval,
        "cause": line.cause,
        "why": line.why,
    }


def board_data(board: Board) -> dict[str, Any]:
    """The wall: lines, worst first, and since when nobody measured."""
    return {
        "at": board.at.isoformat(),
        "silent_since": board.silent_since.isoformat() if board.silent_since else None,
        "total": board.total,
        "states": board.states,
        "lines": [line_data(line) for line in board.lines],
    }


def month_data(month: Month) -> dict[str, Any]:
    """A month of an environment: what its page and its report show."""
    measured = month.measured
    return {
        "environment": month.environment.name,
        "project": month.environment.project.slug,
        "month": f"{month.month:%Y-%m}",
        "begin": month.span.begin.isoformat(),
        "end": month.span.end.isoformat(),
        "over": month.over,
        "measured_at": month.at.isoformat(),
        "availability": measured.availability,
        "objective": measured.objective,
        "kept": month.kept,
        "eligible_s": _seconds(measured.eligible),
        "down_s": _seconds(measured.down),
        "missing_s": _seconds(measured.missing),
        "excluded_s": _seconds(measured.excluded),
        "ordered_s": _seconds(measured.ordered),
        "budget_s": _seconds(month.budget),
        "budget_left_s": _seconds(month.budget_left),
        "outages": measured.outages,
        "mttr_s": _seconds(measured.mttr),
        "mtbf_s": _seconds(measured.mtbf),
        "causes": [
            {
                "cause": bar["cause"],
                "length_s": _seconds(bar["length"]),
                "share": bar["share"],
                "cumulated": bar["cumulated"],
            }
            for bar in month.pareto()
        ],
        "scans": month.scans.scans,
        "scans_late": month.scans.missed,
        "scans_in_time": month.scans.in_time,
        "longest_streak": month.scans.longest_streak,
        "provisioning": times_data(month.provisioning),
        "recovery": times_data(month.recovery),
        "quality": quality_data(month.quality),
        "contracts": ContractSerializer(month.contracts, many=True).data,
        "windows": WindowSerializer(month.windows, many=True).data,
        "changes": [
            {
                "at": change.at.isoformat(),
                "kind": change.kind,
                "what": change.code,
                "state": change.state,
                "why": change.text,
                "operation": change.operation or None,
            }
            for change in month.changes
        ],
        "budget": [
            {"at": at.isoformat(), "left_minutes": round(left, 4)} for at, left in month.burn_down()
        ],
        "seals": [
            {"number": seal.number, "made_at": seal.made_at.isoformat(), "digest": seal.digest}
            for seal in month.seals
        ],
    }
