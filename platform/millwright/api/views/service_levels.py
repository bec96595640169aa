"""What was promised and what is kept."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import ProjectRows
from millwright.core.sla import month_of
from millwright.environments.models import Environment
from millwright.service_levels.contracts import plant_zone
from millwright.service_levels.models import MonthSum
from millwright.service_levels.monthly import month_of_environment
from millwright.service_levels.serializers import MonthSumSerializer, board_data, month_data
from millwright.service_levels.watching import board

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

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    @action(detail=False)
    def wall(self, request: HttpRequest) -> Response:
        """Lines in service, worst first: state and since when, what is left of the budget, how fast it goes."""
        return Response(board_data(board(request.user, timezone.now(), MOST_LINES)))
