"""Devices, mappings, stations."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.models import Project
from millwright.api.bases import ProjectRows
from millwright.environments.models import Machine
from millwright.inventory.models import Cell
from millwright.shopfloor import actions, discovery
from millwright.shopfloor.models import (
    Device,
    EngineeringStation,
    TagMapping,
)
from millwright.shopfloor.review import review
from millwright.shopfloor.serializers import (
    DeviceSerializer,
    MappingSerializer,
    StationSerializer,
)

from .environments import _known
from .inputs import valid as _valid


class PointInput(serializers.Serializer):
    tag = serializers.CharField(max_length=200)
    area = serializers.ChoiceField(TagMapping.AREAS)
    register = serializers.CharField(max_length=200)
    data_type = serializers.ChoiceField(TagMapping.TYPES, default="INT")
    direction = serializers.ChoiceField((("in", "in"), ("out", "out")))
    scale = serializers.FloatField(default=1.0)
    offset = serializers.FloatField(default=0.0)
    fail = serializers.ChoiceField(TagMapping.FAIL, default="hold")
    substitute = serializers.FloatField(default=0.0)


class MappingsInput(serializers.Serializer):
    machine = serializers.UUIDField()
    device = serializers.UUIDField()
    points = PointInput(many=True)


class RangeInput(serializers.Serializer):
    area = serializers.ChoiceField((("holding", "holding"), ("coil", "coil")))
    first = serializers.IntegerField(min_value=0, max_value=65535)
    last = serializers.IntegerField(min_value=0, max_value=65535)


class StationInput(serializers.Serializer):
    project = serializers.SlugField()
    cell = serializers.SlugField()
    name = serializers.SlugField()
    cidr = serializers.CharField(max_length=43)
    write_ranges = RangeInput(many=True, required=False, default=list)


class ReviewInput(serializers.Serializer):
    machine = serializers.UUIDField()


class FindingOutput(serializers.Serializer):
    kind = serializers.ChoiceField(
        tuple((name, name) for name in ("overlap", "type", "direction", "unmapped"))
    )
    tag = serializers.CharField()
    text = serializers.CharField()


class PlaceInput(serializers.Serializer):
    project = serializers.SlugField()
    cell = serializers.SlugField()
    address = serializers.IPAddressField(protocol="IPv4")
    port = serializers.IntegerField(min_value=1, max_value=65535)


class UnitsInput(PlaceInput):
    first = serializers.IntegerField(min_value=0, max_value=255, default=1)
    last = serializers.IntegerField(min_value=0, max_value=255, default=16)


class NodesInput(PlaceInput):
    node = serializers.CharField(max_length=300, default=discovery.ROOT)


class UnitOutput(serializers.Serializer):
    unit = serializers.IntegerField()
    identification = serializers.DictField(child=serializers.CharField())
    note = serializers.CharField(allow_blank=True)


class EndpointOutput(serializers.Serializer):
    url = serializers.CharField()
    mode = serializers.CharField()
    policy = serializers.CharField()
    users = serializers.ListField(child=serializers.CharField())
    fingerprint = serializers.CharField(allow_blank=True)


class NodeOutput(serializers.Serializer):
    node = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField((("variable", "variable"), ("object", "object")))
    type = serializers.CharField(allow_blank=True)
    value = serializers.JSONField(allow_null=True)


class NodesOutput(serializers.Serializer):
    nodes = NodeOutput(many=True)
    more = serializers.BooleanField()


def _place(request: HttpRequest, data: dict[str, Any]) -> dict[str, Any]:
    """The input with its names turned into rows, as far as the person may see them."""
    data["project"] = _known(
        Project.objects.for_user(request.user), "project", slug=data["project"]
    )
    data["cell"] = _known(Cell.objects, "cell", slug=data["cell"])
    return data


class DeviceViewSet(ProjectRows):
    """Devices of the shop floor."""

    rows = Device.objects.select_related("project", "cell")
    serializer_class = DeviceSerializer
    filterset_fields = ("name", "cell__slug", "project__slug")
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name", "address")

    @extend_schema(request=DeviceSerializer, responses={201: DeviceSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Register a device."""
        data = _valid(DeviceSerializer, request)
        data["project"] = _known(
            Project.objects.for_user(request.user), "project", slug=data["project"].slug
        )
        device = actions.add_device(request.user, **data)
        return Response(DeviceSerializer(device).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=UnitsInput, responses={200: UnitOutput(many=True)})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def discover(self, request: HttpRequest) -> Response:
        """Modbus unit ids that answer at an address now, with their identification; nothing is saved."""
        place = _place(request, _valid(UnitsInput, request))
        return Response(UnitOutput(discovery.units(request.user, **place), many=True).data)

    @extend_schema(request=PlaceInput, responses={200: EndpointOutput(many=True)})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def endpoints(self, request: HttpRequest) -> Response:
        """What an OPC UA server at an address offers; nothing is saved."""
        place = _place(request, _valid(PlaceInput, request))
        return Response(EndpointOutput(discovery.endpoints(request.user, **place), many=True).data)

    @extend_schema(request=NodesInput, responses={200: NodesOutput})
    @action(detail=False, methods=["post"])
    def nodes(self, request: HttpRequest) -> Response:
        """What hangs below a node of an OPC UA server, with values as they are now."""
        place = _place(request, _valid(NodesInput, request))
        return Response(NodesOutput(discovery.nodes(request.user, **place)).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: str) -> Response:
        """Forget a device that nothing is mapped to."""
        actions.remove_device(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MappingViewSet(ProjectRows):
    """Points of devices bound to tags of programs."""

    rows = TagMapping.objects.select_related("machine__environment", "device")
    serializer_class = MappingSerializer
    filterset_fields = ("machine", "device", "tag")
    cursor_ordering = ("machine_id", "device_id", "tag", "pk")

    @extend_schema(request=MappingsInput, responses={200: MappingSerializer(many=True)})
    @action(detail=False, methods=["post"], url_path="set")
    def set_all(self, request: HttpRequest) -> Response:
        """Replace all points between a machine and a device; opens the firewall for the pair."""
        data = _valid(MappingsInput, request)
        machine = _known(
            Machine.objects.with_names().for_user(request.user), "machine", pk=data["machine"]
        )
        device = _known(Device.objects.for_user(request.user), "device", pk=data["device"])
        rows = actions.set_mappings(
            request.user, machine, device, [dict(point) for point in data["points"]]
        )
        return Response(MappingSerializer(rows, many=True).data)

    @extend_schema(
        parameters=[OpenApiParameter("machine", OpenApiTypes.UUID, required=True)],
        responses={200: FindingOutput(many=True)},
    )
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=[])
    def review(self, request: HttpRequest) -> Response:
        """What is odd about a machine's mappings: overlaps, types that do not fit, inputs nobody feeds."""
        asked = ReviewInput(data=request.query_params)
        asked.is_valid(raise_exception=True)
        rows = Machine.objects.for_user(request.user)
        machine = _known(rows, "machine", pk=asked.validated_data["machine"])
        return Response(FindingOutput(review(machine), many=True).data)


class StationViewSet(ProjectRows):
    """Engineering stations and what they may write."""

    rows = EngineeringStation.objects.select_related("project", "cell")
    serializer_class = StationSerializer
    filterset_fields = ("name", "project__slug")
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name",)

    @extend_schema(request=StationInput, responses={200: StationSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Have a station with these write ranges."""
        data = _valid(StationInput, request)
        station = actions.set_station(
            request.user,
            project=_known(Project.objects.for_user(request.user), "project", slug=data["project"]),
            cell=_known(Cell.objects, "cell", slug=data["cell"]),
            name=data["name"],
            cidr=data["cidr"],
            write_ranges=[dict(entry) for entry in data["write_ranges"]],
        )
        return Response(StationSerializer(station).data)
