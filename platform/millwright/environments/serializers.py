"""Data for the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from .models import Environment, Machine, Operation, OperationStep, Request, StateTransition


class RequestSerializer(serializers.ModelSerializer):
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
            "state",
            "requester",
            "created_at",
            "submitted_at",
            "decided_at",
            "decided_by",
            "decision_reason",
            "environment",
            "placement",
        )
        read_only_fields = fields


class MachineSerializer(serializers.ModelSerializer):
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
        )
        read_only_fields = fields

    def get_address(self, machine: Machine) -> str | None:
        claim = getattr(machine, "address_claim", None)
        return claim.address if claim else None

    def _output(self, machine: Machine, kind: str) -> int | None:
        outputs = machine.template_version.spec.get("outputs", {})
        return outputs.get(kind) if isinstance(outputs, dict) else None

    def get_modbus(self, machine: Machine) -> str | None:
        address, port = self.get_address(machine), self._output(machine, "modbus")
        return f"{address}:{port}" if address and port else None

    def get_opcua(self, machine: Machine) -> str | None:
        address, port = self.get_address(machine), self._output(machine, "opcua")
        return f"opc.tcp://{address}:{port}" if address and port else None

    def get_metrics(self, machine: Machine) -> str | None:
        address, port = self.get_address(machine), self._output(machine, "metrics")
        return f"http://{address}:{port}/metrics" if address and port else None

    def get_web(self, machine: Machine) -> str | None:
        address, port = self.get_address(machine), self._output(machine, "http")
        return f"http://{address}:{port}/" if address and port else None

    def get_mqtt(self, machine: Machine) -> str | None:
        address, port = self.get_address(machine), self._output(machine, "mqtt")
        return f"mqtt://{address}:{port}" if address and port else None


class EnvironmentSerializer(serializers.ModelSerializer):
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
            "created_at",
            "tags",
            "machines",
        )
        read_only_fields = fields


class StepSerializer(serializers.ModelSerializer):
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


class OperationSerializer(serializers.ModelSerializer):
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


class TransitionSerializer(serializers.ModelSerializer):
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


def status_machine(machine: Machine) -> dict[str, Any]:
    """A machine as `millwright status` prints it."""
    data = MachineSerializer(machine).data
    return {key: data[key] for key in ("name", "host", "state", "modbus", "opcua", "metrics")}
