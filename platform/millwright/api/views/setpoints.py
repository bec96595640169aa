"""Set-points: what may be written, and writing it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import ProjectRows
from millwright.environments.models import Machine
from millwright.shopfloor import setpoints
from millwright.shopfloor.models import SetPoint
from millwright.shopfloor.serializers import SetPointSerializer

from .environments import _known
from .inputs import valid as _valid


class SetPointInput(serializers.Serializer):
    machine = serializers.UUIDField()
    tag = serializers.CharField(max_length=200)
    low = serializers.FloatField()
    high = serializers.FloatField()
    unit = serializers.CharField(max_length=16, required=False, allow_blank=True, default="")


class WriteInput(serializers.Serializer):
    value = serializers.IntegerField(min_value=-32768, max_value=65535)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class WriteOutput(serializers.Serializer):
    """`done` is false where the value was sent and not taken; `error` says why, `after` what was read back."""

    done = serializers.BooleanField()
    before = serializers.IntegerField()
    after = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)


class SetPointViewSet(ProjectRows):
    """Tags that operators may write, within limits."""

    rows = SetPoint.objects.select_related("machine__environment__project", "machine__cell")
    serializer_class = SetPointSerializer
    filterset_fields = ("machine", "tag")
    cursor_ordering = ("machine_id", "tag", "pk")

    @extend_schema(request=SetPointInput, responses={200: SetPointSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Allow a tag to be written within limits; one that is there takes the new limits."""
        data = _valid(SetPointInput, request)
        rows = Machine.objects.with_names().for_user(request.user)
        machine = _known(rows, "machine", pk=data.pop("machine"))
        point = setpoints.allow(request.user, machine, **data)
        return Response(SetPointSerializer(point).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: str) -> Response:
        """No longer allow it."""
        setpoints.forbid(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=WriteInput, responses={200: WriteOutput})
    @action(detail=True, methods=["post"])
    def write(self, request: HttpRequest, pk: str) -> Response:
        """Write a value through the gateway and read it back."""
        data = _valid(WriteInput, request)
        made = setpoints.write(request.user, self.get_object(), data["value"], data["reason"])
        body = {
            "done": not made.error,
            "before": made.before,
            "after": made.after,
            "error": made.error,
        }
        return Response(WriteOutput(body).data)
