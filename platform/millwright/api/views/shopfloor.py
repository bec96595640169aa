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
from millwright.environments.models import Environment, Machine
from millwright.inventory.models import Cell
from millwright.shopfloor import actions, discovery, modbus_security, searching, stations, trust
from millwright.shopfloor.health import ask, health
from millwright.shopfloor.models import (
    Device,
    EngineeringStation,
    ModbusSecurity,
    TagMapping,
)
from millwright.shopfloor.review import review
from millwright.shopfloor.serializers import (
    DeviceSerializer,
    MappingSerializer,
    ModbusSecuritySerializer,
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


class RoleInput(serializers.Serializer):
    name = serializers.CharField(max_length=64)
    functions = serializers.ListField(
        child=serializers.ChoiceField(tuple((n, str(n)) for n in modbus_security.READING)),
        required=False,
    )
    write = RangeInput(many=True, required=False, default=list)


class ModbusSecurityInput(serializers.Serializer):
    project = serializers.SlugField()
    environment = serializers.SlugField(required=False, allow_blank=True, default="")
    authorities = serializers.CharField(max_length=modbus_security.MOST_BYTES)
    plain = serializers.BooleanField(default=True)
    roles = RoleInput(many=True)


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
    framing = serializers.ChoiceField((("tcp", "tcp"), ("rtu", "rtu")), default="tcp")


class NodesInput(PlaceInput):
    """`fingerprint`: SHA-256 of the certificate that a server must show which only talks encrypted."""

    node = serializers.CharField(max_length=300, default=discovery.ROOT)
    fingerprint = serializers.CharField(max_length=200, default="", allow_blank=True)


class SearchInput(serializers.Serializer):
    """The range is by default the cell's beginning; at most 256 addresses."""

    project = serializers.SlugField()
    cell = serializers.SlugField()
    first = serializers.IPAddressField(protocol="IPv4", required=False, default="")
    last = serializers.IPAddressField(protocol="IPv4", required=False, default="")


class FoundOutput(serializers.Serializer):
    address = serializers.CharField()
    port = serializers.IntegerField()
    protocol = serializers.ChoiceField((("modbus_tcp", "modbus_tcp"), ("opcua", "opcua")))
    detail = serializers.CharField(allow_blank=True)
    known = serializers.CharField(allow_blank=True)


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


class SeenOutput(serializers.Serializer):
    """`age_s`: since its last good answer; errors are those of the last 15 minutes. Null: not known."""

    machine = serializers.CharField()
    state = serializers.ChoiceField(tuple((name, name) for name in ("good", "silent", "unknown")))
    age_s = serializers.FloatField(allow_null=True)
    latency_ms = serializers.FloatField(allow_null=True)
    errors = serializers.FloatField(allow_null=True)
    error_ratio = serializers.FloatField(allow_null=True)


class HealthOutput(serializers.Serializer):
    seen = SeenOutput(many=True)
    error = serializers.CharField(allow_blank=True)


class AskedOutput(serializers.Serializer):
    ok = serializers.BooleanField()
    detail = serializers.CharField(allow_blank=True)
    ms = serializers.FloatField()


class CertificateOutput(serializers.Serializer):
    fingerprint = serializers.CharField()
    subject = serializers.CharField(allow_blank=True)
    ends_at = serializers.DateTimeField(allow_null=True)
    policies = serializers.ListField(child=serializers.CharField())
    usable = serializers.BooleanField()
    pem = serializers.CharField()


class TrustInput(serializers.Serializer):
    fingerprint = serializers.CharField(max_length=200, allow_blank=True)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class WhyInput(serializers.Serializer):
    why = serializers.CharField(min_length=5, max_length=200)


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

    @extend_schema(request=SearchInput, responses={200: FoundOutput(many=True)})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def search(self, request: HttpRequest) -> Response:
        """Which addresses of a cell answer Modbus or OPC UA now; takes seconds, nothing is saved."""
        place = _place(request, _valid(SearchInput, request))
        return Response(FoundOutput(searching.search(request.user, **place), many=True).data)

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

    @extend_schema(responses={200: HealthOutput})
    @action(detail=True, methods=["get"])
    def health(self, request: HttpRequest, pk: str) -> Response:
        """How it does as each controller that talks to it sees it."""
        found = health(self.get_object())
        seen = [
            {
                "machine": str(row.machine),
                "state": row.state,
                "age_s": row.age_s,
                "latency_ms": row.latency_ms,
                "errors": row.errors,
                "error_ratio": row.error_ratio,
            }
            for row in found.seen
        ]
        return Response(HealthOutput({"seen": seen, "error": found.error}).data)

    @extend_schema(request=None, responses={200: AskedOutput})
    @action(detail=True, methods=["post"])
    def ask(self, request: HttpRequest, pk: str) -> Response:
        """Ask it now, from the gateway; nothing is written to it."""
        return Response(AskedOutput(ask(request.user, self.get_object())).data)

    @extend_schema(responses={200: CertificateOutput(many=True)})
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def certificates(self, request: HttpRequest, pk: str) -> Response:
        """The certificates that an OPC UA device shows now."""
        rows = trust.offered(request.user, self.get_object())
        return Response(CertificateOutput(rows, many=True).data)

    @extend_schema(request=TrustInput, responses={200: DeviceSerializer})
    @action(detail=True, methods=["post"])
    def trust(self, request: HttpRequest, pk: str) -> Response:
        """Trust the certificate with this SHA-256, as the device shows it now; "" trusts none any more."""
        data = _valid(TrustInput, request)
        device = self.get_object()
        if data["fingerprint"]:
            device = trust.trust(request.user, device, data["fingerprint"], data["reason"])
        else:
            device = trust.distrust(request.user, device, data["reason"])
        return Response(DeviceSerializer(device).data)

    @extend_schema(request=WhyInput, responses={200: DeviceSerializer})
    @action(detail=True, methods=["post"])
    def unencrypted(self, request: HttpRequest, pk: str) -> Response:
        """Let controllers talk to an OPC UA device without encryption, and say why."""
        data = _valid(WhyInput, request)
        device = trust.without_encryption(request.user, self.get_object(), data["why"])
        return Response(DeviceSerializer(device).data)


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
        station = stations.set_station(
            request.user,
            project=_known(Project.objects.for_user(request.user), "project", slug=data["project"]),
            cell=_known(Cell.objects, "cell", slug=data["cell"]),
            name=data["name"],
            cidr=data["cidr"],
            write_ranges=[dict(entry) for entry in data["write_ranges"]],
        )
        return Response(StationSerializer(station).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: str) -> Response:
        """Forget a station: the firewall closes to it."""
        stations.remove_station(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class ModbusSecurityViewSet(ProjectRows):
    """Modbus/TCP Security of projects and environments: whose certificates count at port 802, and what each role may."""

    rows = ModbusSecurity.objects.select_related("project", "environment")
    serializer_class = ModbusSecuritySerializer
    filterset_fields = ("project__slug", "environment__name")
    cursor_ordering = ("pk",)

    @extend_schema(request=ModbusSecurityInput, responses={200: ModbusSecuritySerializer})
    def create(self, request: HttpRequest) -> Response:
        """Ask for certificates at port 802: of a project's controllers, or of those of one environment."""
        data = _valid(ModbusSecurityInput, request)
        project = _known(Project.objects.for_user(request.user), "project", slug=data["project"])
        environment = None
        if data["environment"]:
            environment = _known(
                Environment.objects.for_user(request.user), "environment", name=data["environment"]
            )
        row = modbus_security.set_security(
            request.user, project=project, environment=environment, plain=data["plain"],
            authorities=data["authorities"], roles=[dict(role) for role in data["roles"]],
        )  # fmt: skip
        return Response(ModbusSecuritySerializer(row).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, pk: str) -> Response:
        """Close port 802 again."""
        modbus_security.remove_security(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
