"""Disks of earlier placements that were set aside on hosts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import PoolPermission, Readable
from millwright.api.plain import PlainSerializer
from millwright.inventory import disks
from millwright.inventory.models import OldDisk


class OldDiskSerializer(PlainSerializer):
    """`owner`: the id of the machine whose it was; `removal_*`: who wants it removed; `refused`: why that was not done."""

    host = serializers.CharField(source="host.name", read_only=True)

    class Meta:
        model = OldDisk
        fields = (
            "id",
            "host",
            "pool",
            "name",
            "owner",
            "machine",
            "generation",
            "allocation_bytes",
            "capacity_bytes",
            "first_seen",
            "last_seen",
            "removal_name",
            "removal_reason",
            "removal_asked_at",
            "refused",
        )
        read_only_fields = fields


class OldDiskRemoveInput(serializers.Serializer):
    """Without `word` it is only told what would be removed."""

    word = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=200,
        help_text="The disk's name, as a person's word that it may go for good.",
    )
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=300)


class RemovalOutput(serializers.Serializer):
    """What would be removed; `word`: what to say for it; `against`: what stands in the way now."""

    host = serializers.CharField()
    pool = serializers.CharField()
    name = serializers.CharField()
    machine = serializers.CharField()
    generation = serializers.IntegerField()
    allocation_bytes = serializers.IntegerField()
    first_seen = serializers.DateTimeField()
    word = serializers.CharField()
    against = serializers.ListField(child=serializers.CharField())


class OldDiskViewSet(Readable):
    """Disks of earlier placements that were set aside when a later one came to their host. Nobody uses them."""

    queryset = OldDisk.objects.select_related("host")
    serializer_class = OldDiskSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    filterset_fields = ("host__name", "machine")
    cursor_ordering = ("host__name", "pool", "name", "pk")
    ordering_fields = ("first_seen", "allocation_bytes")

    @extend_schema(
        request=OldDiskRemoveInput, responses={200: RemovalOutput, 202: OldDiskSerializer}
    )
    @action(detail=True, methods=["post"])
    def remove(self, request: HttpRequest, pk: Any = None) -> Response:
        """Have the disk removed for good, with `word` (its name) and `reason`; without a word only say what would go.

        The orchestrator removes it within a minute, if the host finds no machine that has it; `refused` says why not.
        """
        data = OldDiskRemoveInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = self.get_object()
        if not data.validated_data["word"]:
            return Response(RemovalOutput(asdict(disks.removal(row))).data)
        row = disks.ask_removal(request.user, row, **data.validated_data)
        return Response(OldDiskSerializer(row).data, status=status.HTTP_202_ACCEPTED)
