"""Data for the API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers

from millwright.api.plain import Gathered, Made, PlainSerializer, gather
from millwright.catalog.models import TemplateVersion

from .models import (
    Environment,
    EnvironmentTag,
    Machine,
    Operation,
    OperationStep,
    Request,
    StateTransition,
    seconds_between,
)
from .sizes import has_screen


class RequestSerializer(PlainSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True)
    template = serializers.CharField(source="template_version.template.name", read_only=True)
    template_version = serializers.CharField(source="template_version.version", read_only=True)
    cell = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    requester = serializers.CharField(source="requester.username", read_only=True)
    decided_by = serializers.CharField(
        source="decided_by.username", read_only=True, default=None, allow_null=True
    )
    environment = serializers.CharField(
        source="environment.name", read_only=True, default=None, allow_null=True
    )

    devices = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Request
        fields = (
            "id",
            "name",
            "project",
            "template",
            "template_version",
            "size",
            "cell",
            "program_version",
            "strict_realtime",
            "lease_days",
            "justification",
            "devices",
            "state",
            "requester",
            "created_at",
            "submitted_at",
            "decided_at",
            "decided_by",
            "decision_reason",
            "environment",
            "alike",
            "placement",
        )
        read_only_fields = fields


#: What a template says of its outputs → how their address is written.
_ENDPOINTS = {
    "modbus": "{}:{}",
    "opcua": "opc.tcp://{}:{}",
    "metrics": "http://{}:{}/metrics",
    "http": "http://{}:{}/",
    "mqtt": "mqtt://{}:{}",
}


def _address(machine: Machine) -> str | None:
    claim = getattr(machine, "address_claim", None)
    return claim.address if claim else None


def endpoint(spec: dict[str, Any], address: str | None, kind: str) -> str | None:
    """Where a template's output is reached at an address; None without either."""
    outputs = spec.get("outputs", {})
    port = outputs.get(kind) if isinstance(outputs, dict) else None
    return _ENDPOINTS[kind].format(address, port) if address and port else None


_SPEC, _ADDRESS = "template_version__spec", "address_claim__address"


def _endpoints(kind: str) -> tuple[tuple[str, ...], Callable[..., str | None]]:
    return (_SPEC, _ADDRESS), lambda spec, address: endpoint(spec, address, kind)


class MachineSerializer(PlainSerializer):
    made_of: ClassVar[Made] = {
        "screen": ((_SPEC,), has_screen),
        "address": ((_ADDRESS,), lambda address: address),
        "modbus": _endpoints("modbus"),
        "opcua": _endpoints("opcua"),
        "metrics": _endpoints("metrics"),
        "web": _endpoints("http"),
        "mqtt": _endpoints("mqtt"),
    }
    environment = serializers.CharField(source="environment.name", read_only=True)
    host = serializers.CharField(source="host.name", read_only=True, default=None, allow_null=True)
    cell = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    state = serializers.CharField(source="observed", read_only=True)
    address = serializers.SerializerMethodField()
    modbus = serializers.SerializerMethodField()
    opcua = serializers.SerializerMethodField()
    metrics = serializers.SerializerMethodField()
    web = serializers.SerializerMethodField()
    mqtt = serializers.SerializerMethodField()
    screen = serializers.SerializerMethodField(help_text="whether it has a graphics card")

    class Meta:
        model = Machine
        fields = (
            "id",
            "environment",
            "name",
            "host",
            "cell",
            "state",
            "desired",
            "observed_at",
            "screen",
            "address",
            "modbus",
            "opcua",
            "metrics",
            "web",
            "mqtt",
            "size",
            "service_class",
            "recovery",
            "movability",
            "vcpus",
            "realtime_cores",
            "memory_bytes",
            "disk_bytes",
            "generation",
            "best_effort",
            "cpu_assignment",
            "placement",
            "guest_status",
            "guest_status_at",
            "forced",
            "forced_since",
            "retained_as_of",
        )
        read_only_fields = fields

    def get_screen(self, machine: Machine) -> bool:
        return has_screen(machine.template_version.spec)

    def get_address(self, machine: Machine) -> str | None:
        return _address(machine)

    def get_modbus(self, machine: Machine) -> str | None:
        return endpoint(machine.template_version.spec, _address(machine), "modbus")

    def get_opcua(self, machine: Machine) -> str | None:
        return endpoint(machine.template_version.spec, _address(machine), "opcua")

    def get_metrics(self, machine: Machine) -> str | None:
        return endpoint(machine.template_version.spec, _address(machine), "metrics")

    def get_web(self, machine: Machine) -> str | None:
        return endpoint(machine.template_version.spec, _address(machine), "http")

    def get_mqtt(self, machine: Machine) -> str | None:
        return endpoint(machine.template_version.spec, _address(machine), "mqtt")


def _machines(environments: Collection[Any]) -> dict[Any, list[Any]]:
    rows = Machine.objects.filter(environment__in=environments)
    return gather(MachineSerializer, rows, "environment_id")


def _tags(environments: Collection[Any]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = defaultdict(list)
    rows = EnvironmentTag.objects.filter(environment__in=environments)
    for environment, name in rows.values_list("environment_id", "name"):
        found[environment].append(name)
    return found


class EnvironmentSerializer(PlainSerializer):
    gathered: ClassVar[Gathered] = {"machines": _machines, "tags": _tags}
    project = serializers.SlugRelatedField("slug", read_only=True)
    owner = serializers.CharField(source="owner.username", read_only=True)
    machines = MachineSerializer(many=True, read_only=True)
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)

    class Meta:
        model = Environment
        fields = (
            "id",
            "name",
            "project",
            "owner",
            "state",
            "state_reason",
            "state_since",
            "lease_until",
            "lease_ending",
            "disruption",
            "created_at",
            "tags",
            "machines",
        )
        read_only_fields = fields


class StepSerializer(PlainSerializer):
    made_of: ClassVar[Made] = {"elapsed_s": (("started_at", "ended_at"), seconds_between)}
    elapsed_s = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = OperationStep
        fields = (
            "position",
            "name",
            "title",
            "state",
            "attempt",
            "detail",
            "started_at",
            "ended_at",
            "elapsed_s",
        )
        read_only_fields = fields


def _steps(operations: Collection[Any]) -> dict[Any, list[Any]]:
    rows = OperationStep.objects.filter(operation__in=operations)
    return gather(StepSerializer, rows, "operation_id")


class OperationSerializer(PlainSerializer):
    gathered: ClassVar[Gathered] = {"steps": _steps}
    environment = serializers.CharField(
        source="environment.name", read_only=True, default=None, allow_null=True
    )
    machine = serializers.CharField(
        source="machine.name", read_only=True, default=None, allow_null=True
    )
    requested_by = serializers.CharField(
        source="requested_by.username", read_only=True, default=None, allow_null=True
    )
    steps = StepSerializer(many=True, read_only=True)

    class Meta:
        model = Operation
        fields = (
            "id",
            "kind",
            "state",
            "environment",
            "machine",
            "requested_by",
            "reason",
            "progress",
            "error",
            "question",
            "answer",
            "parent",
            "attempt",
            "cancel_requested",
            "created_at",
            "started_at",
            "ended_at",
            "result",
            "steps",
        )
        read_only_fields = fields


class TransitionSerializer(PlainSerializer):
    class Meta:
        model = StateTransition
        fields = (
            "at",
            "subject_type",
            "subject_name",
            "aspect",
            "before",
            "after",
            "cause",
            "operation",
        )
        read_only_fields = fields


def status_machines(environments: Collection[Environment]) -> dict[UUID, list[dict[str, Any]]]:
    """Environment → its machines as `millwright status` prints them: columns, since it prints a thousand."""
    specs = dict(TemplateVersion.objects.values_list("pk", "spec"))
    rows = (
        Machine.objects.filter(environment__in=environments)
        .order_by("name")
        .values_list(
            "environment_id",
            "template_version_id",
            "name",
            "host__name",
            "observed",
            "address_claim__address",
        )
    )
    machines: dict[UUID, list[dict[str, Any]]] = {row.pk: [] for row in environments}
    for environment, version, name, host, observed, address in rows:
        machines[environment].append(
            {
                "name": name,
                "host": host,
                "state": observed,
                **{
                    kind: endpoint(specs[version], address, kind)
                    for kind in ("modbus", "opcua", "metrics")
                },
            }
        )
    return machines
