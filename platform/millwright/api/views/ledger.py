"""The ledger, maintenance and contracts."""

from __future__ import annotations

from typing import Any

import django_filters
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import ProjectRows
from millwright.environments.models import Environment
from millwright.service_levels import actions
from millwright.service_levels.choices import CAUSES
from millwright.service_levels.models import Contract, Interval, MaintenanceWindow, Note
from millwright.service_levels.serializers import (
    ContractSerializer,
    IntervalSerializer,
    NoteSerializer,
    WindowSerializer,
    quality_data,
    times_data,
)

from .environments import ReasonInput, _reason
from .inputs import valid


class ClassifyInput(ReasonInput):
    cause = serializers.ChoiceField([(value, value) for value, _words in CAUSES])


class SplitInput(ReasonInput):
    at = serializers.DateTimeField()


class MergeInput(ReasonInput):
    intervals = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**62), min_length=2, max_length=100
    )


class CommentInput(serializers.Serializer):
    text = serializers.CharField(max_length=4000)


class IntervalFilter(django_filters.FilterSet):
    environment = django_filters.CharFilter("environment__name")
    project = django_filters.CharFilter("environment__project__slug")
    open = django_filters.BooleanFilter(method="_open")
    since = django_filters.IsoDateTimeFilter("begin", lookup_expr="gte")
    before = django_filters.IsoDateTimeFilter("begin", lookup_expr="lt")

    class Meta:
        model = Interval
        fields = ("cause", "kind", "incident")

    def _open(self, queryset: Any, _name: str, value: bool) -> Any:
        return queryset.filter(end__isnull=value)


class IntervalViewSet(ProjectRows):
    """Rows of the ledger that hold, newest first; `?cause=unknown` is the queue. A correction makes a new row."""

    rows = Interval.objects.with_names()
    serializer_class = IntervalSerializer
    filterset_class = IntervalFilter
    cursor_ordering = ("-begin", "pk")
    ordering_fields = ("begin",)

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        return rows.current() if self.action == "list" else rows

    def _answer(self, *rows: Interval) -> Response:
        return Response(IntervalSerializer(rows, many=True).data)

    @extend_schema(request=ClassifyInput, responses={200: IntervalSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def classify(self, request: HttpRequest, pk: str) -> Response:
        """Give it a cause. What takes it out of the budget wants an approver and a reason."""
        data, row = valid(ClassifyInput, request), self.get_object()
        return self._answer(
            actions.classify_interval(request.user, row, data["cause"], data["reason"])
        )

    @extend_schema(request=SplitInput, responses={200: IntervalSerializer(many=True)})
    @action(detail=True, methods=["post"])
    def split(self, request: HttpRequest, pk: str) -> Response:
        """Two rows for one."""
        data, row = valid(SplitInput, request), self.get_object()
        return self._answer(*actions.split_interval(request.user, row, data["at"], data["reason"]))

    @extend_schema(request=MergeInput, responses={200: IntervalSerializer(many=True)})
    @action(detail=False, methods=["post"])
    def merge(self, request: HttpRequest) -> Response:
        """One row for several of one machine and kind."""
        data = valid(MergeInput, request)
        rows = list(self.get_queryset().filter(pk__in=data["intervals"]))
        if missing := sorted(set(data["intervals"]) - {row.pk for row in rows}):
            raise serializers.ValidationError(
                {"intervals": _("%(pk)s does not exist or is not yours") % {"pk": missing[0]}}
            )
        return self._answer(actions.merge_intervals(request.user, rows, data["reason"]))

    @extend_schema(request=CommentInput, responses={200: NoteSerializer})
    @action(detail=True, methods=["post"])
    def comment(self, request: HttpRequest, pk: str) -> Response:
        """Say something of the incident."""
        data, row = valid(CommentInput, request), self.get_object()
        return Response(NoteSerializer(actions.note_interval(request.user, row, data["text"])).data)

    @extend_schema(request=None, responses={200: NoteSerializer})
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: HttpRequest, pk: str) -> Response:
        """Say that one has seen it."""
        row = self.get_object()
        note = actions.note_interval(request.user, row, acknowledge=True)
        return Response(NoteSerializer(note).data)

    @extend_schema(responses={200: NoteSerializer(many=True)}, filters=False)
    @action(detail=True, pagination_class=None)
    def notes(self, request: HttpRequest, pk: str) -> Response:
        """What people said of the incident."""
        rows = Note.objects.filter(incident=self.get_object().incident).select_related("actor")
        return Response(NoteSerializer(rows, many=True).data)


# --- maintenance -------------------------------------------------------------------------------------


def environment_for(request: HttpRequest, name: str) -> Environment:
    """The one that a body names, as far as the person may see it."""
    rows = Environment.objects.select_related("project").for_user(request.user).filter(name=name)
    found = rows.order_by("-created_at").first()
    if found is None:
        raise serializers.ValidationError(
            {"environment": f"{name!r} does not exist or is not yours to use"}
        )
    return found


class WindowInput(serializers.Serializer):
    environment = serializers.CharField(max_length=63)
    begins_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=2000)
    every_days = serializers.IntegerField(default=0, min_value=0, max_value=366)
    until = serializers.DateField(required=False, allow_null=True, default=None)


class WindowViewSet(ProjectRows):
    """Maintenance windows: asked for, decided by another, closed. Approved ones exclude, afterwards too."""

    rows = MaintenanceWindow.objects.with_names()
    serializer_class = WindowSerializer
    filterset_fields = ("state", "environment__name")
    cursor_ordering = ("-begins_at", "pk")
    ordering_fields = ("begins_at", "requested_at")

    def _answer(self, row: MaintenanceWindow, code: int = status.HTTP_200_OK) -> Response:
        fresh = MaintenanceWindow.objects.with_names().get(pk=row.pk)
        return Response(WindowSerializer(fresh).data, status=code)

    @extend_schema(request=WindowInput, responses={201: WindowSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Ask for one, to come or past."""
        data = valid(WindowInput, request)
        environment = environment_for(request, data.pop("environment"))
        made = actions.request_window(request.user, environment, **data)
        return self._answer(made, status.HTTP_201_CREATED)

    @extend_schema(request=ReasonInput, responses={200: WindowSerializer})
    @action(detail=True, methods=["post"])
    def approve(self, request: HttpRequest, pk: str) -> Response:
        """Agree that it does not count; what is late or past wants a reason."""
        row = self.get_object()
        return self._answer(actions.decide_window(request.user, row, True, _reason(request)))

    @extend_schema(request=ReasonInput, responses={200: WindowSerializer})
    @action(detail=True, methods=["post"])
    def reject(self, request: HttpRequest, pk: str) -> Response:
        """Do not agree, with a reason."""
        row = self.get_object()
        return self._answer(actions.decide_window(request.user, row, False, _reason(request)))

    @extend_schema(request=None, responses={200: WindowSerializer})
    @action(detail=True, methods=["post"])
    def withdraw(self, request: HttpRequest, pk: str) -> Response:
        """Take back what has not begun."""
        return self._answer(actions.withdraw_window(request.user, self.get_object()))

    @extend_schema(request=None, responses={200: WindowSerializer})
    @action(detail=True, methods=["post"])
    def close(self, request: HttpRequest, pk: str) -> Response:
        """It is done: nothing after this moment is excluded."""
        return self._answer(actions.close_window(request.user, self.get_object()))


# --- contracts ---------------------------------------------------------------------------------------


class PromiseInput(serializers.Serializer):
    """Name an environment or a class. Shares in [0.5, 1); times in seconds and hours."""

    environment = serializers.CharField(max_length=63, required=False, allow_blank=True, default="")
    service_class = serializers.CharField(
        max_length=12, required=False, allow_blank=True, default=""
    )
    availability_ratio = serializers.FloatField()
    cycle_ratio = serializers.FloatField(required=False, allow_null=True, default=None)
    cycle_streak = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=1_000_000
    )
    provisioning_s = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=86400
    )
    recovery_s = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=86400
    )
    device_link_ratio = serializers.FloatField(required=False, allow_null=True, default=None)
    run_queue_ratio = serializers.FloatField(required=False, allow_null=True, default=None)
    hours = serializers.DictField(required=False, default=dict)
    missing_grace_s = serializers.IntegerField(required=False, min_value=0, max_value=3600)
    small_stop_s = serializers.IntegerField(required=False, min_value=0, max_value=3600)
    planned_counts = serializers.BooleanField(default=False)
    lead_time_hours = serializers.IntegerField(required=False, min_value=0, max_value=24 * 90)
    yearly_cap_hours = serializers.IntegerField(required=False, min_value=0, max_value=8784)
    note = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class ContractInput(PromiseInput):
    valid_from = serializers.DateTimeField(required=False, allow_null=True, default=None)


class PreviewInput(PromiseInput):
    months = serializers.IntegerField(default=3, min_value=1, max_value=13)


class ContractViewSet(ProjectRows):
    """What is promised to classes and environments, each from a time on. A change is a new row."""

    rows = Contract.objects.with_names()
    serializer_class = ContractSerializer
    filterset_fields = ("service_class", "environment__name")
    cursor_ordering = ("-valid_from", "pk")
    ordering_fields = ("valid_from", "created_at")

    def _scope(self, request: HttpRequest, kind: type[serializers.Serializer]) -> dict[str, Any]:
        data = valid(kind, request)
        name = data.pop("environment")
        data["environment"] = environment_for(request, name) if name else None
        return data

    @extend_schema(request=ContractInput, responses={201: ContractSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Promise something else from a time on."""
        made = actions.write_contract(request.user, **self._scope(request, ContractInput))
        return Response(ContractSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=PreviewInput, responses={200: OpenApiTypes.OBJECT})
    @action(detail=False, methods=["post"])
    def preview(self, request: HttpRequest) -> Response:
        """What the last whole months would have been under it; changes nothing."""
        found = actions.preview_contract(request.user, **self._scope(request, PreviewInput))
        return Response(
            [
                {
                    "month": f"{row.month:%Y-%m}",
                    "environments": row.environments,
                    "was": row.was,
                    "would": row.would,
                    "kept": row.kept,
                    "would_keep": row.would_keep,
                    "budget_left_s": row.budget_left.total_seconds(),
                    "provisioning": times_data(row.provisioning),
                    "recovery": times_data(row.recovery),
                    "quality": quality_data(row.quality),
                    "scans": row.cycles.scans,
                    "scans_in_time": row.cycles.in_time,
                    "longest_streak": row.cycles.longest_streak,
                    "scans_promised": row.cycles.promised,
                    "scans_kept": row.cycles.in_keeping,
                }
                for row in found
            ]
        )
