"""Rolling drains: hosts one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import PoolPermission, Readable
from millwright.api.saying import PartOutput, SaidField, SaidParts
from millwright.balancing import rolling
from millwright.balancing.models import RollingDrain

from .environments import ReasonInput, _reason


class HostProgressOutput(serializers.Serializer):
    """`state`: waiting, draining, work (empty and in maintenance), done or skipped."""

    host = serializers.CharField()
    state = serializers.CharField()
    since = serializers.DateTimeField(required=False)


class RollingDrainSerializer(serializers.ModelSerializer):
    """`note`: why it does not go on now, in the caller's language; `note_parts`: its codes and facts."""

    progress = HostProgressOutput(many=True, read_only=True)
    hosts = serializers.ListField(child=serializers.CharField(), read_only=True)
    note = SaidField(source="remark")
    note_parts = PartOutput(many=True, read_only=True)

    class Meta:
        model = RollingDrain
        fields = (
            "id",
            "hosts",
            "work_minutes",
            "approved",
            "reason",
            "state",
            "progress",
            "note",
            "note_parts",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields


class RollingPlanInput(serializers.Serializer):
    """`hosts`: in their order. `work_minutes`: on each; null: until a person says that it is done."""

    hosts = serializers.ListField(
        child=serializers.CharField(max_length=48), max_length=rolling.MOST_HOSTS
    )
    work_minutes = serializers.IntegerField(
        default=None, allow_null=True, min_value=0, max_value=rolling.MOST_MINUTES
    )


class RollingInput(ReasonInput, RollingPlanInput):
    """`approve`: also what moves only by a person's word."""

    approve = serializers.BooleanField(default=False)


class HostPlanOutput(serializers.Serializer):
    """`moves`: how many machines; `blockers`: what cannot leave, and why; `asleep`: it sleeps, and is woken first."""

    host = serializers.CharField()
    moves = serializers.IntegerField()
    seconds = serializers.FloatField()
    approval = serializers.BooleanField()
    asleep = serializers.BooleanField()
    blockers = serializers.ListField(child=SaidField())
    blockers_parts = SaidParts(source="blockers")


class RollingPlanOutput(serializers.Serializer):
    """What would happen, host by host. `seconds`: with the work."""

    hosts = HostPlanOutput(many=True)
    seconds = serializers.FloatField()


class RollingDrainViewSet(Readable):
    """Hosts drained one after another, each worked on and taken back; newest first."""

    queryset = RollingDrain.objects.all()
    serializer_class = RollingDrainSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    filterset_fields = ("state",)
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    @extend_schema(request=RollingInput, responses={201: RollingDrainSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Begin."""
        data = RollingInput(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = dict(data.validated_data)
        row = rolling.start(request.user, wanted.pop("hosts"), **wanted)
        return Response(RollingDrainSerializer(row).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RollingPlanInput, responses={200: RollingPlanOutput})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def preview(self, request: HttpRequest) -> Response:
        """What would happen, host by host. Changes nothing."""
        data = RollingPlanInput(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        plan = rolling.preview(wanted["hosts"], wanted["work_minutes"] or 0)
        return Response(RollingPlanOutput(asdict(plan)).data)

    def _act(self, request: HttpRequest, change: Callable[..., Any]) -> Response:
        row = change(request.user, self.get_object(), _reason(request))
        return Response(RollingDrainSerializer(row).data)

    @extend_schema(request=ReasonInput, responses={200: RollingDrainSerializer})
    @action(detail=True, methods=["post"])
    def pause(self, request: HttpRequest, pk: str) -> Response:
        """Start nothing more; what moves arrives."""
        return self._act(request, rolling.pause)

    @extend_schema(request=ReasonInput, responses={200: RollingDrainSerializer})
    @action(detail=True, methods=["post"])
    def resume(self, request: HttpRequest, pk: str) -> Response:
        """Go on where it was paused."""
        return self._act(request, rolling.resume)

    @extend_schema(request=ReasonInput, responses={200: RollingDrainSerializer})
    @action(detail=True, methods=["post"])
    def done(self, request: HttpRequest, pk: str) -> Response:
        """The work on the host in maintenance is done: it takes machines again."""
        return self._act(request, rolling.work_done)

    @extend_schema(request=ReasonInput, responses={200: RollingDrainSerializer})
    @action(detail=True, methods=["post"])
    def skip(self, request: HttpRequest, pk: str) -> Response:
        """Leave out the host that it is at."""
        return self._act(request, rolling.skip)

    @extend_schema(request=ReasonInput, responses={200: RollingDrainSerializer})
    @action(detail=True, methods=["post"])
    def stop(self, request: HttpRequest, pk: str) -> Response:
        """End it here."""
        return self._act(request, rolling.stop)
