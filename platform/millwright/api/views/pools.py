"""Resource pools."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.api.bases import PoolPermission, Readable
from millwright.balancing import pooling
from millwright.balancing.models import Balancer, ResourcePool

from .environments import ReasonInput


class ResourcePoolSerializer(serializers.ModelSerializer):
    """`balance_mode`: "" as the pool above it, at the top as the plant."""

    parent = serializers.CharField(
        source="parent.name", default=None, allow_null=True, read_only=True
    )
    balance_mode = serializers.ChoiceField(Balancer.MODES, allow_blank=True, read_only=True)

    class Meta:
        model = ResourcePool
        fields = (
            "name",
            "parent",
            "shares",
            "cpu_reservation",
            "cpu_limit",
            "balance_mode",
            "memory_reservation_bytes",
            "memory_limit_bytes",
            "memory_shares",
        )
        read_only_fields = fields


class ResourcePoolInput(ReasonInput):
    """A pool as it is to be. `parent`: a name, or "" for the top.

    `memory_limit_bytes`: what its machines and those of pools in it have together at most; null: no limit.
    `memory_shares`: the weight of a byte that its machines touch, 1000 is usual.
    """

    name = serializers.CharField(max_length=48)
    parent = serializers.CharField(max_length=48, default="", allow_blank=True)
    shares = serializers.IntegerField(default=1000)
    cpu_reservation = serializers.FloatField(default=0.0)
    cpu_limit = serializers.FloatField(default=None, allow_null=True)
    balance_mode = serializers.ChoiceField(Balancer.MODES, default="", allow_blank=True)
    memory_reservation_bytes = serializers.IntegerField(default=0)
    memory_limit_bytes = serializers.IntegerField(default=None, allow_null=True)
    memory_shares = serializers.IntegerField(default=1000)


def _draft(data: dict[str, Any]) -> pooling.PoolDraft:
    return pooling.PoolDraft(**{name: value for name, value in data.items() if name != "reason"})


class ResourcePoolViewSet(Readable):
    """Pools that share capacity among machines, and say how boldly these are balanced."""

    queryset = ResourcePool.objects.select_related("parent")
    serializer_class = ResourcePoolSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    lookup_field = "name"
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name",)

    @extend_schema(request=ResourcePoolInput, responses={201: ResourcePoolSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Write a pool; the next round goes by it."""
        data = ResourcePoolInput(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        row = pooling.save_pool(request.user, _draft(wanted), reason=wanted["reason"])
        return Response(ResourcePoolSerializer(row).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ResourcePoolInput, responses={200: ResourcePoolSerializer})
    def update(self, request: HttpRequest, name: str) -> Response:
        """Change a pool: all of it, as it is to be."""
        data = ResourcePoolInput(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        row = pooling.save_pool(request.user, _draft(wanted), self.get_object(), wanted["reason"])
        return Response(ResourcePoolSerializer(row).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, name: str) -> Response:
        """Remove a pool that holds nothing."""
        pooling.remove_pool(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
