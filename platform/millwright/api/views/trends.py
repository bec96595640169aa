"""Trends of a machine's tags, and which of them are recorded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from millwright.shopfloor import recording
from millwright.shopfloor.recording import SPANS


class SpanInput(serializers.Serializer):
    minutes = serializers.ChoiceField([(span, str(span)) for span in SPANS], default=SPANS[0])


class RecordInput(serializers.Serializer):
    tag = serializers.CharField(max_length=200)
    on = serializers.BooleanField(default=True)


class RecordedOutput(serializers.Serializer):
    recorded = serializers.ListField(child=serializers.CharField())


class LongTrendOutput(serializers.Serializer):
    """Times in seconds since 1970, a column of values for each tag, and the tags that are recorded."""

    time = serializers.ListField(child=serializers.FloatField())
    values = serializers.DictField(child=serializers.ListField(child=serializers.JSONField()))
    step_s = serializers.FloatField()
    error = serializers.CharField(allow_blank=True)
    recorded = serializers.ListField(child=serializers.CharField())


class TrendVerbs:
    """Verbs of machines about trends; mixed into their viewset."""

    get_object: Any

    @extend_schema(
        parameters=[OpenApiParameter("minutes", int, enum=list(SPANS), default=SPANS[0])],
        responses={200: LongTrendOutput},
    )
    @action(detail=True, methods=["get"])
    def trend(self, request: HttpRequest, pk: str) -> Response:
        """How its tags went: ten minutes of those somebody looks at, or longer of those that are recorded."""
        asked = SpanInput(data=request.GET.dict())
        asked.is_valid(raise_exception=True)
        machine = self.get_object()
        found = recording.history(machine, int(asked.validated_data["minutes"]))
        return Response(LongTrendOutput({**asdict(found), "recorded": _tags(machine)}).data)

    @extend_schema(request=RecordInput, responses={200: RecordedOutput})
    @action(detail=True, methods=["post"])
    def record(self, request: HttpRequest, pk: str) -> Response:
        """Record a tag from now on, or no longer; answers with those that are recorded."""
        data = RecordInput(data=request.data)  # type: ignore[attr-defined]
        data.is_valid(raise_exception=True)
        machine, wanted = self.get_object(), data.validated_data
        change = recording.start if wanted["on"] else recording.stop
        change(request.user, machine, wanted["tag"])
        return Response(RecordedOutput({"recorded": _tags(machine)}).data)


def _tags(machine: Any) -> list[str]:
    return list(machine.recorded_tags.values_list("tag", flat=True))
