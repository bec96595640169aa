"""Data for the API."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from millwright.api.plain import Gathered, PlainSerializer
from millwright.environments.models import domain_name

from .models import Cell, CpuClaim, Drift, Host
from .snapshot import bandwidth_reserved

_TIME = serializers.DateTimeField()


class ClaimSerializer(PlainSerializer):
    machine = serializers.CharField(source="machine.domain_name", read_only=True)

    class Meta:
        model = CpuClaim
        fields = ("cpu", "vcpu", "machine", "claimed_at")
        read_only_fields = fields


def hosts_with_claims() -> QuerySet[Host]:
    """Hosts as the serializer wants them: two queries, of each claim only what is shown."""
    shown = ("host_id", "cpu", "vcpu", "claimed_at", "machine__name", "machine__environment__name")
    claims = CpuClaim.objects.select_related("machine__environment").only(*shown)
    return Host.objects.prefetch_related(Prefetch("cpu_claims", claims.order_by("cpu")))


def _claim(cpu: int, vcpu: int, machine: str, claimed_at: dt.datetime) -> dict[str, Any]:
    return {
        "cpu": cpu,
        "vcpu": vcpu,
        "machine": machine,
        "claimed_at": _TIME.to_representation(claimed_at),
    }


def _claims(hosts: Collection[Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    rows = CpuClaim.objects.filter(host__in=hosts).order_by("cpu")
    columns = ("cpu", "vcpu", "claimed_at", "machine__name", "machine__environment__name")
    for host, cpu, vcpu, at, machine, environment in rows.values_list("host_id", *columns):
        found[host].append(_claim(cpu, vcpu, domain_name(environment, machine), at))
    return found


class HostSerializer(PlainSerializer):
    gathered: ClassVar[Gathered] = {
        "nic_reserved_bytes_s": bandwidth_reserved,
        "cpu_claims": _claims,
    }
    state = serializers.CharField(source="health", read_only=True)
    nic_reserved_bytes_s = serializers.SerializerMethodField(
        help_text="bandwidth that machines have reserved of its NICs, by their templates"
    )
    cpu_claims = serializers.SerializerMethodField()

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
            "equipment",
            "memory_bytes",
            "disk_bytes",
            "disk_free_bytes",
            "power",
            "power_since",
            "power_until",
            "power_reason",
            "last_seen",
            "nic_reserved_bytes_s",
            "cpu_claims",
        )
        read_only_fields = fields

    def get_nic_reserved_bytes_s(self, host: Host) -> int:
        """Bytes per second, over all its NICs."""
        return bandwidth_reserved([host.pk])[host.pk]

    @extend_schema_field(ClaimSerializer(many=True))
    def get_cpu_claims(self, host: Host) -> list[dict[str, Any]]:
        """Plain rows: a page of hosts has thousands, too many for a serializer each."""
        return [
            _claim(claim.cpu, claim.vcpu, claim.machine.domain_name, claim.claimed_at)
            for claim in host.cpu_claims.all()
        ]


class CellSerializer(PlainSerializer):
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


class DriftSerializer(PlainSerializer):
    host = serializers.CharField(source="host.name", read_only=True)

    class Meta:
        model = Drift
        fields = ("host", "kind", "name", "detail", "first_seen", "last_seen")
        read_only_fields = fields
