"""What was promised and what is kept."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import ProjectRows
from millwright.api.problems import problem
from millwright.core.sla import month_of
from millwright.environments.models import Environment
from millwright.service_levels import actions
from millwright.service_levels.contracts import plant_zone
from millwright.service_levels.models import MonthSum, Seal
from millwright.service_levels.monthly import month_of_environment
from millwright.service_levels.reporting import (
    PdfUnavailableError,
    render_csv,
    render_pdf,
    sealed_file,
)
from millwright.service_levels.seals import Verdict, verdicts_of, verify_seal
from millwright.service_levels.serializers import (
    MonthSumSerializer,
    SealSerializer,
    board_data,
    month_data,
)
from millwright.service_levels.watching import board

from .inputs import valid
from .ledger import environment_for

#: Lines in one answer of the wall.
MOST_LINES = 500
MONTH = OpenApiParameter(
    "month",
    OpenApiTypes.STR,
    description="YYYY-MM in the plant's zone; left out: the month that runs.",
)

NAME = OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH)


def month_from(text: str) -> dt.date:
    """A month in words.

    Raises:
        ValidationError: names the value and the rule.
    """
    if not text:
        return month_of(plant_zone(), timezone.now())
    if not re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", text):
        raise serializers.ValidationError(
            {"month": _("%(value)r: write a month as YYYY-MM, from 2000 on") % {"value": text}}
        )
    return dt.date(int(text[:4]), int(text[5:]), 1)


def environment_named(request: HttpRequest, name: str) -> Environment:
    """The newest of that name that the person may see."""
    rows = Environment.objects.select_related("project").for_user(request.user).filter(name=name)
    return get_object_or_404(rows.order_by("-created_at")[:1])


class ServiceLevelViewSet(ProjectRows):
    """A month's figures of each environment; one by its name has everything of the month."""

    rows = MonthSum.objects.select_related("environment__project")
    serializer_class = MonthSumSerializer
    lookup_field = "name"
    filterset_fields = ("environment__project__slug",)
    cursor_ordering = ("environment__name", "pk")
    ordering_fields = ("environment__name",)

    def get_queryset(self) -> Any:
        month = month_from(self.request.query_params.get("month", ""))
        return super().get_queryset().filter(month=month)

    @extend_schema(parameters=[MONTH])
    def list(self, request: HttpRequest) -> Response:
        """Figures of a month, as they were last measured."""
        return super().list(request)

    @extend_schema(parameters=[NAME, MONTH], responses={200: OpenApiTypes.OBJECT})
    def retrieve(self, request: HttpRequest, name: str) -> Response:
        """One environment's month, measured now: figures, budget over time, causes, changes, seals."""
        environment = environment_named(request, name)
        month = month_from(request.query_params.get("month", ""))
        return Response(month_data(month_of_environment(environment, month, timezone.now())))

    @extend_schema(
        parameters=[NAME, MONTH, OpenApiParameter("as", str, enum=["csv", "pdf"])],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/pdf"): OpenApiTypes.BINARY,
            503: OpenApiTypes.OBJECT,
        },
    )
    @action(detail=True)
    def report(self, request: HttpRequest, name: str) -> HttpResponse:
        """One environment's month as a report: CSV, or PDF."""
        environment = environment_named(request, name)
        wanted = month_from(request.query_params.get("month", ""))
        form = request.query_params.get("as", "csv")
        if form not in ("csv", "pdf"):
            raise serializers.ValidationError({"as": _("%(value)r: csv or pdf") % {"value": form}})
        month = month_of_environment(environment, wanted, timezone.now())
        if form == "csv":
            return HttpResponse(render_csv(month), content_type="text/csv; charset=utf-8")
        try:
            made = render_pdf(month, verdicts_of(month.seals))
        except PdfUnavailableError as error:
            return problem(503, "Service Unavailable", str(error))
        return HttpResponse(made, content_type="application/pdf")

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    @action(detail=False)
    def wall(self, request: HttpRequest) -> Response:
        """Lines in service, worst first: state and since when, what is left of the budget, how fast it goes."""
        return Response(board_data(board(request.user, timezone.now(), MOST_LINES)))


class SealInput(serializers.Serializer):
    environment = serializers.CharField(max_length=63)
    month = serializers.CharField(max_length=7)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "intact": verdict.intact,
        "broken": list(verdict.broken),
        "where": {
            part: {"row": number, "key": key} for part, (number, key) in verdict.where.items()
        },
        "since": verdict.since,
        "changed": {
            name: {"sealed": sealed, "now": now} for name, (sealed, now) in verdict.changed.items()
        },
    }


class SealViewSet(ProjectRows):
    """Months that were signed off, each upon the environment's seal before."""

    rows = Seal.objects.select_related("environment__project", "made_by")
    serializer_class = SealSerializer
    filterset_fields = ("environment__name", "month")
    cursor_ordering = ("-made_at", "pk")
    ordering_fields = ("made_at",)

    @extend_schema(request=SealInput, responses={201: SealSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Sign a month off that is over; again after corrections, with a further number."""
        data = valid(SealInput, request)
        environment = environment_for(request, data["environment"])
        made = actions.seal_month(request.user, environment, month_from(data["month"] or "-"))
        return Response(SealSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    @action(detail=True)
    def verdict(self, request: HttpRequest, pk: str) -> Response:
        """Hold it against the database: what was changed past the ledger, corrected since, and other now."""
        return Response(_verdict(verify_seal(self.get_object())))

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.STR})
    @action(detail=True)
    def file(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Every sealed row with its digest, for `millwright sla verify` without a database."""
        text = "".join(sealed_file(self.get_object()))
        return HttpResponse(text, content_type="application/x-ndjson")
