"""Data for the API."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers

from millwright.accounts.models import Project
from millwright.api.plain import Made, PlainSerializer
from millwright.inventory.models import Cell

from .certificates import fingerprint_of
from .models import (
    Deployment,
    Device,
    EngineeringStation,
    ModbusSecurity,
    Program,
    ProgramVersion,
    SetPoint,
    TagMapping,
)


class ProgramSerializer(PlainSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True)

    class Meta:
        model = Program
        fields = ("id", "name", "project", "created_at")
        read_only_fields = fields


class ProgramVersionSerializer(PlainSerializer):
    program = serializers.CharField(source="program.name", read_only=True)
    uploaded_by = serializers.CharField(source="uploaded_by.username", read_only=True)

    class Meta:
        model = ProgramVersion
        fields = (
            "id",
            "program",
            "number",
            "state",
            "diagnostics",
            "error",
            "bundle_sha256",
            "bundle_size",
            "uploaded_by",
            "created_at",
        )
        read_only_fields = fields


class DeploymentSerializer(PlainSerializer):
    environment = serializers.CharField(source="machine.environment.name", read_only=True)
    program = serializers.CharField(source="program_version.program.name", read_only=True)
    number = serializers.IntegerField(source="program_version.number", read_only=True)
    deployed_by = serializers.CharField(
        source="deployed_by.username", read_only=True, default=None, allow_null=True
    )
    decided_by = serializers.CharField(
        source="decided_by.username", read_only=True, default=None, allow_null=True
    )

    class Meta:
        model = Deployment
        fields = (
            "id",
            "machine",
            "environment",
            "program_version",
            "program",
            "number",
            "state",
            "reason",
            "decided_by",
            "decided_at",
            "message",
            "deployed_by",
            "created_at",
            "activated_at",
        )
        read_only_fields = fields


class DeviceSerializer(PlainSerializer):
    made_of: ClassVar[Made] = {
        "fingerprint": (("certificate",), lambda pem: fingerprint_of(pem) if pem else "")
    }
    fingerprint = serializers.CharField(
        read_only=True, help_text="SHA-256 of the trusted certificate (OPC UA)"
    )
    project = serializers.SlugRelatedField("slug", queryset=Project.objects.all())
    cell = serializers.SlugRelatedField("slug", queryset=Cell.objects.all())

    class Meta:
        model = Device
        fields = (
            "id",
            "name",
            "project",
            "cell",
            "protocol",
            "address",
            "port",
            "unit",
            "rate_ms",
            "timeout_ms",
            "word_order",
            "fingerprint",
            "unencrypted",
            "created_at",
        )
        read_only_fields = ("id", "unencrypted", "created_at")
        validators = ()


class MappingSerializer(PlainSerializer):
    device_name = serializers.CharField(source="device.name", read_only=True)

    class Meta:
        model = TagMapping
        fields = (
            "id",
            "machine",
            "device",
            "device_name",
            "tag",
            "area",
            "register",
            "data_type",
            "direction",
            "scale",
            "offset",
            "fail",
            "substitute",
        )
        read_only_fields = fields


class StationSerializer(PlainSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True)
    cell = serializers.SlugRelatedField("slug", read_only=True)

    class Meta:
        model = EngineeringStation
        fields = ("id", "name", "project", "cell", "cidr", "write_ranges")
        read_only_fields = fields


class ModbusSecuritySerializer(PlainSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True)
    environment = serializers.SlugRelatedField("name", read_only=True)

    class Meta:
        model = ModbusSecurity
        fields = ("id", "project", "environment", "authorities", "plain", "roles")
        read_only_fields = fields


class SetPointSerializer(PlainSerializer):
    environment = serializers.CharField(source="machine.environment.name", read_only=True)

    class Meta:
        model = SetPoint
        fields = ("id", "machine", "environment", "tag", "low", "high", "unit")
        read_only_fields = fields
