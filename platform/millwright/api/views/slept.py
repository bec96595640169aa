"""What sleeping hosts save, and what was expected of each hour against what it came to."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import permissions, serializers
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import ReaderPermission
from millwright.balancing import foreseen, slept

_DAY = "A day like 2026-05-04 or a time like 2026-05-04T06:00, without a zone in the plant's own"
_PERIOD = [
    OpenApiParameter(
        "from",
        str,
        description=f"{_DAY}; begin of the period, at most {slept.MOST_DAYS} days before its end.",
    ),
    OpenApiParameter("to", str, description=f"{_DAY}; its end, a day counts whole."),
]


class SavingOutput(serializers.Serializer):
    """`sleeps`: times that it fell asleep; `watts`: what it takes awake and empty, by its policy, null: not known, and
    so is `kwh`; `late`: wakes later than they were to be; `failed`: tries to wake it that failed."""

    host = serializers.CharField()
    asleep_s = serializers.FloatField()
    sleeps = serializers.IntegerField()
    watts = serializers.FloatField(allow_null=True)
    kwh = serializers.FloatField(allow_null=True)
    late = serializers.IntegerField()
    failed = serializers.IntegerField()


class MonthSavingOutput(serializers.Serializer):
    """`month`: its first day, in the plant's zone. `kwh`: of hosts whose watts are known; null: of none."""

    month = serializers.DateField()
    asleep_s = serializers.FloatField()
    kwh = serializers.FloatField(allow_null=True)


class SavingsOutput(serializers.Serializer):
    """`unknown_s`: seconds asleep of hosts whose watts are not known, which `kwh` is without. `hosts`: those that slept
    or were woken in vain, the longest asleep first."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    asleep_s = serializers.FloatField()
    unknown_s = serializers.FloatField()
    kwh = serializers.FloatField(allow_null=True)
    late = serializers.IntegerField()
    failed = serializers.IntegerField()
    months = MonthSavingOutput(many=True)
    hosts = SavingOutput(many=True)


class WantedOutput(serializers.Serializer):
    """CPUs and memory of all machines, or of hosts, together."""

    cpus = serializers.FloatField()
    memory_bytes = serializers.FloatField()


class HourOutput(serializers.Serializer):
    """One hour. `expected`: what the forecast said when it began, null: no earlier week knew it; `awake`: the least that
    hosts awake had in it; `short`: more was wanted than expected; `lacked`: more than hosts awake had, and others slept."""

    at = serializers.DateTimeField()
    measured = WantedOutput()
    expected = WantedOutput(allow_null=True)
    awake = WantedOutput(allow_null=True)
    short = serializers.BooleanField()
    lacked = serializers.BooleanField()


class SleepSavings:
    """Mixed into the recommendations' views; for those who read the whole plant."""

    @extend_schema(parameters=_PERIOD, responses={200: SavingsOutput})
    @action(
        detail=False,
        methods=["get"],
        pagination_class=None,
        filter_backends=(),
        url_path="consolidation/savings",
        permission_classes=(permissions.IsAuthenticated, ReaderPermission),
    )
    def savings(self, request: HttpRequest) -> Response:
        """Hours asleep, energy saved, late and failed wakes of a period, by host and by month; the last seven days."""
        now = timezone.now()
        since, until = slept.period(request.query_params, now)
        return Response(SavingsOutput(slept.savings(since, until, now)).data)

    @extend_schema(parameters=_PERIOD, responses={200: HourOutput(many=True)})
    @action(
        detail=False,
        methods=["get"],
        pagination_class=None,
        filter_backends=(),
        url_path="consolidation/hours",
        permission_classes=(permissions.IsAuthenticated, ReaderPermission),
    )
    def hours(self, request: HttpRequest) -> Response:
        """What was expected of each hour against what it came to, oldest first; hours are kept for 29 days."""
        since, until = slept.period(request.query_params, timezone.now())
        rows: Any = foreseen.compared(since, until)
        return Response(HourOutput(rows, many=True).data)
