"""Data for the API."""

from __future__ import annotations

from rest_framework import serializers

from .models import Cell, CpuClaim, Drift, Host


class ClaimSerializer(serializers.ModelSerializer):
    machine = serializers.CharField(source="machine.domain_name", read_only=True)

    class Meta:
        model = CpuClaim
        fields = ("cpu", "vcpu", "machine", "claimed_at")
        read_only_fields = fields


class HostSerializer(serializers.ModelSerializer):
    state = serializers.CharField(source="health", read_only=True)
    cpu_claims = ClaimSerializer(many=True, read_only=True)

    class Meta:
        model = Host
        fields = (
            "name",
            "uri",
            "address",
            "agent_url",
            "state",
            "health_reason",
            "administration",
            "accel",
            "kernel",
            "policy",
            "topology",
            "capabilities",
            "memory_bytes",
            "disk_bytes",
            "disk_free_bytes",
            "last_seen",
            "cpu_claims",
        )
        read_only_fields = fields


class CellSerializer(serializers.ModelSerializer):
    class Meta:
        model = Cell
        fields = (
            "slug",
            "title",
            "cidr",
            "first_address",
            "last_address",
            "bridge",
            "network_name",
            "gateway_address",
            "monitoring_address",
        )
        read_only_fields = fields


class DriftSerializer(serializers.ModelSerializer):
    host = serializers.CharField(source="host.name", read_only=True)

    class Meta:
        model = Drift
        fields = ("host", "kind", "name", "detail", "first_seen", "last_seen")
        read_only_fields = fields
