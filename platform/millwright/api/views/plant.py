"""Hosts, cells, templates, projects, audit, status, service discovery."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from millwright.accounts import people
from millwright.accounts.models import Project
from millwright.accounts.permissions import may
from millwright.api.bases import PoolPermission, ProjectRows, Readable
from millwright.api.plain import PlainSerializer
from millwright.api.problems import problem
from millwright.api.saying import SaidField, SaidParts
from millwright.audit.models import AuditEntry
from millwright.balancing import draining, exporting, recovering
from millwright.balancing.pictures import Pictures
from millwright.catalog.actions import offer_template
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import HostAdministration, MachineDesired
from millwright.environments.models import Environment, Machine
from millwright.environments.serializers import status_machines
from millwright.inventory import actions, joining
from millwright.inventory.models import Cell, Drift, Host
from millwright.inventory.serializers import (
    CellSerializer,
    DriftSerializer,
    HostSerializer,
    hosts_with_claims,
)
from millwright.settings import get_settings

from .environments import ReasonInput, _reason
from .recovering import (
    BlockerOutput,
    HostRecoverySerializer,
    RecoverInput,
    RecoveryPlanOutput,
)
from .sleeping import SleepingHosts


class HostInput(serializers.Serializer):
    name = serializers.SlugField(max_length=48)
    uri = serializers.CharField(max_length=300)
    address = serializers.IPAddressField(required=False, allow_null=True, default=None)
    agent_url = serializers.CharField(required=False, allow_blank=True, default="")
    policy = serializers.DictField(required=False, default=dict)


class HostCheckInput(serializers.Serializer):
    name = serializers.SlugField(max_length=48)
    uri = serializers.CharField(max_length=300)


class FindingOfHostOutput(serializers.Serializer):
    ok = serializers.BooleanField()
    text = serializers.CharField()


class HostCheckOutput(serializers.Serializer):
    """What the host says, what it lacks, and a `policy` to begin with."""

    hostname = serializers.CharField()
    architecture = serializers.CharField()
    cpu_model = serializers.CharField(allow_blank=True)
    cpus = serializers.ListField(child=serializers.IntegerField())
    numa_nodes = serializers.IntegerField()
    memory_bytes = serializers.IntegerField()
    libvirt = serializers.CharField()
    qemu = serializers.CharField()
    kvm = serializers.BooleanField()
    findings = FindingOfHostOutput(many=True)
    policy = serializers.DictField()


class DrainInput(ReasonInput):
    """`approve`: also what moves only by a person's word."""

    approve = serializers.BooleanField(default=False)


class PlannedMoveOutput(serializers.Serializer):
    machine = serializers.CharField()
    destination = serializers.CharField()
    text = SaidField()
    text_parts = SaidParts(source="text")
    seconds = serializers.FloatField()
    approval = serializers.BooleanField()


class DrainPlanOutput(serializers.Serializer):
    """Where everything would go, and what cannot leave and why."""

    possible = serializers.BooleanField()
    seconds = serializers.FloatField()
    moves = PlannedMoveOutput(many=True)
    blockers = BlockerOutput(many=True)


class CapacityQuery(serializers.Serializer):
    """`growth`: new machines a day. `spare`: hosts that may die."""

    template = serializers.CharField(max_length=48)
    size = serializers.CharField(max_length=32)
    growth = serializers.FloatField(required=False, default=0.0)
    spare = serializers.IntegerField(required=False, default=0)


class SnapshotQuery(serializers.Serializer):
    """`at`: "now", or a time like 2026-05-04T22:00, without a zone in the plant's own."""

    at = serializers.CharField(max_length=48, required=False, default="")


class CapacityOutput(serializers.Serializer):
    """`limited_by`: on how many hosts what runs out first. `asleep`: hosts that sleep and are woken for a machine that
    has room nowhere else, `with_woken`: how many fit with all of them awake, `wake_s`: seconds until the last answers."""

    fits = serializers.IntegerField()
    per_host = serializers.DictField(child=serializers.IntegerField())
    limited_by = serializers.DictField(child=serializers.IntegerField())
    days_left = serializers.FloatField(allow_null=True)
    with_one_more = serializers.IntegerField()
    more_host = serializers.CharField()
    asleep = serializers.IntegerField()
    with_woken = serializers.IntegerField(allow_null=True)
    wake_s = serializers.FloatField(allow_null=True)
    as_of = serializers.DateTimeField()


class ComputingOutput(serializers.Serializer):
    """The pool is large and nothing is kept yet: ask again after `Retry-After` seconds."""

    computing = serializers.BooleanField()


def _nothing_kept(error: str) -> Response:
    """Of an answer that is not there: it is being computed, or that failed."""
    if error:
        return problem(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            "Service Unavailable",
            f"it could not be computed: {error}",
        )
    body = ComputingOutput({"computing": True}).data
    return Response(body, status=status.HTTP_202_ACCEPTED, headers={"Retry-After": "3"})


class LossOutput(serializers.Serializer):
    """A host that dies. `left`: machines that would find no room. `waits`: those that would find room and wait for
    what does not start with them, as "machine → that other one"."""

    host = serializers.CharField()
    left = serializers.ListField(child=serializers.CharField())
    waits = serializers.ListField(child=serializers.CharField())


class TogetherOutput(serializers.Serializer):
    """Hosts that die at once, those of a failure domain with its name. The first of `left` and `waits` (as of one
    host); `more` and `waits_more`: how many there are beside them."""

    hosts = serializers.ListField(child=serializers.CharField())
    domain = serializers.CharField()
    left = serializers.ListField(child=serializers.CharField())
    more = serializers.IntegerField()
    waits = serializers.ListField(child=serializers.CharField())
    waits_more = serializers.IntegerField()


class LossesOutput(serializers.Serializer):
    """`hosts`: each that is not down. `sets`: of `k` hosts, as many as the pool keeps to spare (at least 1), `checked`
    of them, `broken` of which leave somebody, and the worst of these. `domains`: how many failure domains are named,
    and those whose loss leaves somebody."""

    k = serializers.IntegerField()
    checked = serializers.IntegerField()
    complete = serializers.BooleanField()
    broken = serializers.IntegerField()
    hosts = LossOutput(many=True)
    worst = TogetherOutput(many=True)
    domains = serializers.IntegerField()
    domains_broken = TogetherOutput(many=True)
    as_of = serializers.DateTimeField()


class HeatOutput(serializers.Serializer):
    """Ratios: CPUs wanted, memory promised, own cores given, disk used."""

    host = serializers.CharField()
    state = serializers.CharField()
    cpu = serializers.FloatField(allow_null=True)
    memory = serializers.FloatField(allow_null=True)
    cores = serializers.FloatField(allow_null=True)
    disk = serializers.FloatField(allow_null=True)


class HostViewSet(SleepingHosts, Readable):
    """The pool."""

    queryset = hosts_with_claims()
    serializer_class = HostSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    lookup_field = "name"
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name",)

    @extend_schema(request=HostInput, responses={201: HostSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Register a host."""
        data = HostInput(data=request.data)
        data.is_valid(raise_exception=True)
        host = actions.register_host(request.user, **data.validated_data)
        return Response(HostSerializer(host).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=HostCheckInput, responses={200: HostCheckOutput})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def check(self, request: HttpRequest) -> Response:
        """Ask a host that is not registered yet what it is; nothing is changed on it."""
        data = HostCheckInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(HostCheckOutput(joining.check(request.user, **data.validated_data)).data)

    def _administer(self, request: HttpRequest, wanted: HostAdministration) -> Response:
        host = actions.administer_host(request.user, self.get_object(), wanted, _reason(request))
        return Response(HostSerializer(host).data)

    @extend_schema(request=ReasonInput, responses={200: HostSerializer})
    @action(detail=True, methods=["post"])
    def cordon(self, request: HttpRequest, name: str) -> Response:
        """Let it take nothing new."""
        return self._administer(request, HostAdministration.CORDONED)

    @extend_schema(request=ReasonInput, responses={200: HostSerializer})
    @action(detail=True, methods=["post"])
    def uncordon(self, request: HttpRequest, name: str) -> Response:
        """Let it take machines again."""
        return self._administer(request, HostAdministration.SCHEDULABLE)

    @extend_schema(request=DrainInput, responses={200: DrainPlanOutput, 202: HostSerializer})
    @action(detail=True, methods=["get", "post"])
    def drain(self, request: HttpRequest, name: str) -> Response:
        """GET: where everything would go, and what cannot leave. POST: empty it, then maintenance."""
        host = self.get_object()
        if request.method == "GET":
            plan = draining.preview(host)
            return Response(DrainPlanOutput({**asdict(plan), "possible": not plan.blockers}).data)
        data = DrainInput(data=request.data)
        data.is_valid(raise_exception=True)
        draining.start(request.user, host, **data.validated_data)
        host.refresh_from_db()
        return Response(HostSerializer(host).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        parameters=[CapacityQuery],
        responses={200: CapacityOutput, 202: ComputingOutput, 503: OpenApiTypes.OBJECT},
    )
    @action(detail=False, methods=["get"])
    def capacity(self, request: HttpRequest) -> Response:
        """How many more of a template's size fit, so that any `spare` hosts may still die.

        Of a large pool the answer is kept (`as_of`); 202 where none is yet, 503 where it cannot be computed.
        """
        asked = CapacityQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        kept = Pictures().fits(**asked.validated_data)
        if kept.value is None:
            return _nothing_kept(kept.error)
        return Response(CapacityOutput({**asdict(kept.value), "as_of": kept.as_of}).data)

    @extend_schema(responses={200: LossesOutput, 202: ComputingOutput, 503: OpenApiTypes.OBJECT})
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=())
    def losses(self, request: HttpRequest) -> Response:
        """Who would not restart if a host died, as many as are kept to spare, or a failure domain; 202 and 503 as for
        capacity."""
        pictures = Pictures()
        alone, together = pictures.losses(), pictures.together()
        if alone.value is None or together.value is None or together.as_of is None:
            return _nothing_kept(alone.error or together.error)
        body = {
            **asdict(together.value),
            "hosts": [asdict(row) for row in alone.value],
            "as_of": min(alone.as_of or together.as_of, together.as_of),
        }
        return Response(LossesOutput(body).data)

    @extend_schema(parameters=[SnapshotQuery], responses={200: OpenApiTypes.OBJECT})
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=())
    def snapshot(self, request: HttpRequest) -> Response:
        """The whole pool as the balancer's commands read it: hosts, machines, pools, rules, settings.

        With `at` as the calendar and windows have it then; without, with the calendar's lines.
        """
        asked = SnapshotQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(exporting.snapshot(exporting.moment_of(asked.validated_data["at"])))

    @extend_schema(
        responses={200: HeatOutput(many=True), 202: ComputingOutput, 503: OpenApiTypes.OBJECT}
    )
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=())
    def heat(self, request: HttpRequest) -> Response:
        """How full each host is: ratios of what it has, as they were at `Last-Modified`; 202 and 503 as for capacity."""
        kept = Pictures().heat()
        if kept.value is None or kept.as_of is None:
            return _nothing_kept(kept.error)
        headers = {"Last-Modified": http_date(kept.as_of.timestamp())}
        return Response([asdict(row) for row in kept.value], headers=headers)

    @extend_schema(
        request=RecoverInput, responses={200: RecoveryPlanOutput, 202: HostRecoverySerializer}
    )
    @action(detail=True, methods=["get", "post"])
    def recover(self, request: HttpRequest, name: str) -> Response:
        """GET (`?gone=1`): what would start where were it off. POST: make sure of it, and start them."""
        host = self.get_object()
        if request.method == "GET":
            gone = request.query_params.get("gone", "") in ("1", "true")
            return Response(RecoveryPlanOutput(asdict(recovering.preview(host, gone=gone))).data)
        data = RecoverInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = recovering.start(request.user, host, **data.validated_data)
        return Response(HostRecoverySerializer(row).data, status=status.HTTP_202_ACCEPTED)


class CellViewSet(Readable):
    """Shop-floor networks."""

    queryset = Cell.objects.all()
    serializer_class = CellSerializer
    lookup_field = "slug"
    cursor_ordering = ("slug", "pk")
    ordering_fields = ("slug",)


class DriftViewSet(Readable):
    """Differences between intent and hosts."""

    queryset = Drift.objects.select_related("host")
    serializer_class = DriftSerializer
    permission_classes = (permissions.IsAuthenticated, PoolPermission)
    cursor_ordering = ("host__name", "kind", "name", "pk")
    ordering_fields = ("name", "first_seen", "last_seen")


class TemplateSerializer(serializers.ModelSerializer):
    name = serializers.CharField(source="template.name", read_only=True)
    title = serializers.CharField(source="template.title", read_only=True)
    summary = serializers.CharField(source="template.summary", read_only=True)
    offered = serializers.BooleanField(source="template.offered", read_only=True)

    class Meta:
        model = TemplateVersion
        fields = ("id", "name", "title", "summary", "version", "spec", "image_state", "offered")
        read_only_fields = fields


class TemplateViewSet(Readable):
    """The catalogue. Administrators of the plant see with `?hidden=true` what is kept out of it, too."""

    queryset = TemplateVersion.objects.select_related("template")
    serializer_class = TemplateSerializer
    filterset_fields = ("template__name", "image_state")
    cursor_ordering = ("template__name", "-created_at", "pk")
    ordering_fields = ("created_at",)

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        wanted = self.action in ("offer", "hide") or self.request.GET.get("hidden") == "true"
        if wanted and may(self.request.user, "administer"):
            return queryset
        return queryset.filter(template__offered=True)

    def _offer(self, request: HttpRequest, offered: bool) -> Response:
        row = self.get_object()
        offer_template(request.user, row.template, offered)
        row.template.refresh_from_db()
        return Response(TemplateSerializer(row).data)

    @extend_schema(request=None, responses={200: TemplateSerializer})
    @action(detail=True, methods=["post"])
    def offer(self, request: HttpRequest, pk: str) -> Response:
        """Have the template in the catalogue."""
        return self._offer(request, True)

    @extend_schema(request=None, responses={200: TemplateSerializer})
    @action(detail=True, methods=["post"])
    def hide(self, request: HttpRequest, pk: str) -> Response:
        """Keep the template out of the catalogue; machines made from it stay."""
        return self._offer(request, False)


class ProjectSerializer(serializers.ModelSerializer):
    class Meta:
        model = Project
        fields = (
            "slug",
            "name",
            "quota_vcpus",
            "quota_realtime_cores",
            "quota_memory_bytes",
            "quota_disk_bytes",
            "quota_environments",
            "auto_approve_vcpus",
            "second_approval_vcpus",
            "decide_after_days",
            "decide_after",
            "max_lease_days",
        )
        read_only_fields = fields


class ProjectChange(serializers.Serializer):
    """Quota and policy; what is left out stays. Bounds are the action's own."""

    name = serializers.CharField(max_length=120, required=False)
    quota_vcpus = serializers.IntegerField(required=False)
    quota_realtime_cores = serializers.IntegerField(required=False)
    quota_memory_bytes = serializers.IntegerField(required=False)
    quota_disk_bytes = serializers.IntegerField(required=False)
    quota_environments = serializers.IntegerField(required=False)
    auto_approve_vcpus = serializers.IntegerField(required=False)
    second_approval_vcpus = serializers.IntegerField(required=False)
    decide_after_days = serializers.IntegerField(required=False)
    decide_after = serializers.ChoiceField(("approve", "reject"), required=False)
    max_lease_days = serializers.IntegerField(required=False)


class ProjectInput(ProjectChange):
    slug = serializers.SlugField(max_length=48)
    name = serializers.CharField(max_length=120)


class ProjectViewSet(ProjectRows):
    """Production lines and departments."""

    @extend_schema(request=ProjectInput, responses={201: ProjectSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Make a project."""
        data = ProjectInput(data=request.data)
        data.is_valid(raise_exception=True)
        made = people.create_project(request.user, **data.validated_data)
        return Response(ProjectSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ProjectChange, responses={200: ProjectSerializer})
    @action(detail=True, methods=["post"])
    def change(self, request: HttpRequest, slug: str) -> Response:
        """Change title, quota and policy."""
        data = ProjectChange(data=request.data)
        data.is_valid(raise_exception=True)
        row = people.update_project(request.user, self.get_object(), **data.validated_data)
        return Response(ProjectSerializer(row).data)

    rows = Project.objects.all()
    serializer_class = ProjectSerializer
    lookup_field = "slug"
    cursor_ordering = ("slug", "pk")
    ordering_fields = ("slug", "name")


class AuditSerializer(PlainSerializer):
    project = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)

    class Meta:
        model = AuditEntry
        fields = (
            "at",
            "actor_name",
            "action",
            "object_type",
            "object_id",
            "object_name",
            "project",
            "reason",
            "details",
            "address",
            "request_id",
        )
        read_only_fields = fields


class AuditViewSet(ProjectRows):
    """Who did what."""

    rows = AuditEntry.objects.select_related("project")
    serializer_class = AuditSerializer
    filterset_fields = ("action", "object_type", "object_id", "actor_name", "project__slug")
    cursor_ordering = ("-at", "-pk")
    ordering_fields = ("at",)


class StatusView(APIView):
    """What `millwright status` prints, as far as the user may see it."""

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: HttpRequest) -> Response:
        settings = get_settings()
        environments = list(
            Environment.objects.only("name", "state").for_user(request.user).present()[:1000]
        )
        machines = status_machines(environments)
        hosts = Host.objects.only("name", "uri", "health", "accel")
        return Response(
            {
                "portal": {"url": settings.public_url},
                "prometheus": {"url": f"http://127.0.0.1:{settings.prometheus_port}"},
                "environments": [
                    {
                        "name": row.name,
                        "state": row.state,
                        "machines": machines[row.pk],
                    }
                    for row in environments
                ],
                "hosts": [
                    {"name": host.name, "uri": host.uri, "state": host.health, "accel": host.accel}
                    for host in (hosts if may(request.user, "pool") else hosts.none())
                ],
            }
        )


class DiscoveryPermission(permissions.BasePermission):
    """Tokens of scope "discovery", and operators."""

    def has_permission(self, request: HttpRequest, view: Any) -> bool:
        return getattr(request.auth, "scope", "") == "discovery" or may(request.user, "pool")


class TargetSerializer(serializers.Serializer):
    targets = serializers.ListField(child=serializers.CharField())
    labels = serializers.DictField(child=serializers.CharField())


class TargetsView(APIView):
    """Prometheus' HTTP service discovery: host agents and vPLCs."""

    permission_classes = (permissions.IsAuthenticated, DiscoveryPermission)

    @extend_schema(responses={200: TargetSerializer(many=True)})
    def get(self, request: HttpRequest) -> Response:
        targets = [
            {
                "targets": [host.agent_url.removeprefix("http://").removesuffix("/metrics")],
                "labels": {"job": "millwright-agent", "host": host.name},
            }
            for host in Host.objects.only("name", "agent_url").exclude(agent_url="")
        ]
        ports = {
            row.pk: outputs.get("metrics")
            for row in TemplateVersion.objects.only("spec")
            if isinstance(outputs := row.spec.get("outputs", {}), dict)
        }
        # Prometheus asks for the whole plant every few seconds: columns, no objects.
        machines = (
            Machine.objects.present()
            .filter(desired=MachineDesired.RUNNING, address_claim__isnull=False)
            .order_by("environment__name", "name")
            .values_list(
                "template_version_id",
                "address_claim__address",
                "environment__name",
                "name",
                "environment__project__slug",
                "host__name",
            )
        )
        for version, address, environment, machine, project, host in machines.iterator():
            if port := ports.get(version):
                labels = {
                    "job": "vplc",
                    "environment": environment,
                    "machine": machine,
                    "project": project,
                    "host": host or "",
                }
                targets.append({"targets": [f"{address}:{port}"], "labels": labels})
        return Response(targets)
