"""The force list of a controller."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from millwright.shopfloor import forces
from millwright.shopfloor.forces import MOST, MOST_NAME


class UnforceInput(serializers.Serializer):
    """Which forces end: those named, or all of them."""

    paths = serializers.ListField(
        child=serializers.CharField(max_length=MOST_NAME),
        required=False,
        min_length=1,
        max_length=MOST,
    )
    all = serializers.BooleanField(required=False, default=False)
    reason = serializers.CharField(required=False, allow_blank=True, max_length=500, default="")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("paths" in attrs) == attrs["all"]:
            raise serializers.ValidationError({"paths": [_("name variables, or say all")]})
        return attrs


class ForcedOutput(serializers.Serializer):
    """`at` and `by` where the controller knows them."""

    path = serializers.CharField()
    value = serializers.JSONField()
    at = serializers.DateTimeField(allow_null=True)
    by = serializers.CharField()


class ForcesOutput(serializers.Serializer):
    forced = ForcedOutput(many=True)


class ForceVerbs:
    """Verbs of machines about forced variables; mixed into their viewset."""

    get_object: Any

    @extend_schema(responses={200: ForcesOutput})
    @action(detail=True, methods=["get"])
    def forces(self, request: HttpRequest, pk: str) -> Response:
        """What is forced now, asked of the controller itself."""
        found = forces.forced(request.user, self.get_object())
        return Response(ForcesOutput({"forced": found}).data)

    @extend_schema(request=UnforceInput, responses={200: ForcesOutput})
    @action(detail=True, methods=["post"])
    def unforce(self, request: HttpRequest, pk: str) -> Response:
        """End forces: the program drives these variables again from the next scan on. Answers with what is left."""
        data = UnforceInput(data=request.data)  # type: ignore[attr-defined]
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        left = forces.unforce(
            request.user, self.get_object(), wanted.get("paths"), wanted["reason"]
        )
        return Response(ForcesOutput({"forced": left}).data)
