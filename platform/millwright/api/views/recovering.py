"""Machines of a lost host that start elsewhere: what would, what did, and with which retained values."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, prefetch_related_objects
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import permissions, serializers
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import PoolPermission, Readable
from millwright.api.saying import SaidField, SaidParts
from millwright.balancing import recovering
from millwright.balancing.models import HostRecovery
from millwright.core.lifecycle import OperationKind
from millwright.environments.models import Operation

from .environments import ReasonInput, _reason


class BlockerOutput(serializers.Serializer):
    """What stands in a machine's way, in the caller's language, and the codes and facts of it."""

    machine = serializers.CharField()
    why = SaidField()
    why_parts = SaidParts(source="why")


class RecoverInput(ReasonInput):
    """Either `confirm_off` (a person has made sure that it has no power) or `fence` (its agent shall).

    `gone`: it cannot return with its machines, so that autonomous ones start elsewhere too. `initial_values`:
    controllers ("environment/machine") that are rebuilt with initial values although there is a copy of what they
    retained; it wants a `reason`.
    """

    confirm_off = serializers.BooleanField(default=False)
    fence = serializers.BooleanField(default=False)
    gone = serializers.BooleanField(default=False)
    initial_values = serializers.ListField(
        child=serializers.CharField(max_length=120), default=list, max_length=1000
    )


class PlannedStartOutput(serializers.Serializer):
    """`rebuild`: its disk died with the host. A controller is rebuilt with the copy of its retained values that is
    of `retained_as_of` (null: none, it begins with initial values); what they were in the seconds after it is lost.
    `note`: a rule toward a machine that waits for the host, which it does not keep there.
    """

    machine = serializers.CharField()
    destination = serializers.CharField()
    priority = serializers.IntegerField()
    rebuild = serializers.BooleanField()
    retained_as_of = serializers.DateTimeField(allow_null=True)
    retained_before_loss_s = serializers.FloatField(allow_null=True)
    note = SaidField()


class RecoveryPlanOutput(serializers.Serializer):
    """What would start where, in this order; what waits for its host; what finds no room.

    `wakes`: what starts once hosts are awake that sleep (`woken`); they are woken for it.
    """

    starts = PlannedStartOutput(many=True)
    waiting = BlockerOutput(many=True)
    left = BlockerOutput(many=True)
    wakes = BlockerOutput(many=True)
    woken = serializers.ListField(child=serializers.CharField())


class RetainedOutcomeOutput(serializers.Serializer):
    """What a rebuilt controller got. `outcome`: given (the copy of `as_of`), own (it had values itself), none, refused,
    initial (a person, `by`, chose initial values, and `why`).

    `result` is what the controller made of it: kept, migrated (by name, `lost` could not be), lost or none (initial values).
    """

    outcome = serializers.CharField(required=False)
    as_of = serializers.DateTimeField(required=False)
    before_loss_s = serializers.FloatField(required=False, allow_null=True)
    sha256 = serializers.CharField(required=False)
    layout_hash = serializers.CharField(required=False)
    scan = serializers.IntegerField(required=False)
    size_bytes = serializers.IntegerField(required=False)
    generation = serializers.IntegerField(required=False)
    refused = serializers.ListField(child=serializers.CharField(), required=False)
    start = serializers.CharField(required=False)
    result = serializers.CharField(required=False)
    lost = serializers.ListField(child=serializers.CharField(), required=False)
    by = serializers.CharField(required=False)
    why = serializers.CharField(required=False)


class RecoveredOutput(serializers.Serializer):
    """A machine's start elsewhere; `retained` is null where nothing was to give back."""

    machine = serializers.CharField()
    operation = serializers.UUIDField()
    state = serializers.CharField()
    retained = RetainedOutcomeOutput(allow_null=True)


#: Starts elsewhere of all hosts' machines, read together with the recoveries that they belong to.
_STARTS = Prefetch(
    "host__operations",
    Operation.objects.filter(kind=OperationKind.RECOVER)
    .select_related("machine__environment")
    .order_by("created_at"),
    to_attr="starts_elsewhere",
)


class HostRecoverySerializer(serializers.ModelSerializer):
    machines = serializers.SerializerMethodField()
    host = serializers.CharField(source="host.name", read_only=True)
    initial_values = serializers.ListField(child=serializers.CharField(), read_only=True)
    confirmed_by = serializers.ChoiceField(HostRecovery.CONFIRMED, allow_blank=True, read_only=True)

    class Meta:
        model = HostRecovery
        fields = (
            "id",
            "host",
            "state",
            "confirmed_by",
            "gone",
            "initial_values",
            "reason",
            "fencing",
            "blockers",
            "machines",
            "note",
            "created_at",
            "ended_at",
        )
        read_only_fields = fields

    @extend_schema_field(RecoveredOutput(many=True))
    def get_machines(self, row: HostRecovery) -> list[dict[str, Any]]:
        if not hasattr(row.host, "starts_elsewhere"):
            prefetch_related_objects([row], _STARTS)
        return [
            {
                "machine": str(start.machine),
                "operation": str(start.pk),
                "state": start.state,
                "retained": start.result.get("retained"),
            }
            for start in row.host.starts_elsewhere
            if start.created_at >= row.created_at
            and (row.ended_at is None or start.created_at <= row.ended_at)
        ]


class RecoveryViewSet(Readable):
    """Recoveries of lost hosts, newest first."""

    queryset = HostRecovery.objects.select_related("host").prefetch_related(_STARTS)
    serializer_class = HostRecoverySerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    filterset_fields = ("state", "host__name")
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    @extend_schema(request=ReasonInput, responses={200: HostRecoverySerializer})
    @action(detail=True, methods=["post"])
    def stop(self, request: HttpRequest, pk: str) -> Response:
        """Start nothing more."""
        row = recovering.stop(request.user, self.get_object(), _reason(request))
        return Response(HostRecoverySerializer(row).data)
