"""Programs: upload, check, rehearse, compare, deploy with approval."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.models import Project
from millwright.api.bases import ProjectRows
from millwright.environments.models import Machine, Operation
from millwright.environments.serializers import OperationSerializer
from millwright.shopfloor import actions, deployments, workbench
from millwright.shopfloor.models import Deployment, Program, ProgramVersion
from millwright.shopfloor.serializers import (
    DeploymentSerializer,
    ProgramSerializer,
    ProgramVersionSerializer,
)

from .environments import _known
from .inputs import valid


class FilesInput(serializers.Serializer):
    project = serializers.SlugField()
    files = serializers.DictField(
        child=serializers.CharField(trim_whitespace=False, allow_blank=True)
    )


class UploadInput(FilesInput):
    name = serializers.CharField(max_length=48)


class DeployInput(serializers.Serializer):
    machine = serializers.UUIDField()
    program_version = serializers.UUIDField()
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=500)


class RefuseInput(serializers.Serializer):
    reason = serializers.CharField(max_length=500)


class PolicyInput(serializers.Serializer):
    project = serializers.SlugField()
    approval = serializers.BooleanField()


class FindingsOutput(serializers.Serializer):
    """What the compiler says."""

    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)
    diagnostics = serializers.ListField(child=serializers.DictField())
    symbols = serializers.ListField(child=serializers.DictField())


class RehearsalOutput(serializers.Serializer):
    """Scenarios run in virtual time, each with its trace."""

    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)
    suites = serializers.ListField(child=serializers.DictField())


class ProgramViewSet(ProjectRows):
    """Control programs."""

    rows = Program.objects.select_related("project")
    serializer_class = ProgramSerializer
    filterset_fields = ("name", "project__slug")
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name",)

    def _files(self, request: HttpRequest) -> tuple[Project, dict[str, str]]:
        data = valid(FilesInput, request)
        projects = Project.objects.for_user(request.user)
        return _known(projects, "project", slug=data["project"]), data["files"]

    @extend_schema(request=UploadInput, responses={201: ProgramVersionSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Upload sources as the next version; it is compiled by the orchestrator."""
        data = valid(UploadInput, request)
        project = _known(Project.objects.for_user(request.user), "project", slug=data["project"])
        version = actions.upload_program(request.user, project, data["name"], data["files"])
        return Response(ProgramVersionSerializer(version).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=FilesInput, responses={200: FindingsOutput})
    @action(detail=False, methods=["post"])
    def check(self, request: HttpRequest) -> Response:
        """What the compiler says of files; nothing is saved."""
        project, files = self._files(request)
        return Response(workbench.check(request.user, project, files))

    @extend_schema(request=FilesInput, responses={200: RehearsalOutput})
    @action(detail=False, methods=["post"])
    def rehearse(self, request: HttpRequest) -> Response:
        """Run the scenarios of files in virtual time; nothing is saved."""
        project, files = self._files(request)
        return Response(workbench.rehearse(request.user, project, files))

    @extend_schema(
        parameters=[
            OpenApiParameter("old", OpenApiTypes.UUID, required=True),
            OpenApiParameter("new", OpenApiTypes.UUID, required=True),
        ],
        responses={200: OpenApiTypes.OBJECT},
        filters=False,
    )
    @action(detail=False, methods=["get"], pagination_class=None)
    def compare(self, request: HttpRequest) -> Response:
        """What differs between two versions, and whether a running controller can take the new one over."""
        rows = ProgramVersion.objects.for_user(request.user).select_related("program")
        old, new = (
            _known(
                rows,
                name,
                pk=serializers.UUIDField().run_validation(request.query_params.get(name, "")),
            )
            for name in ("old", "new")
        )
        return Response(
            {
                "controller": workbench.online_verdict(old, new),
                "files": {
                    path: [
                        {"kind": line.kind, "old": line.old, "new": line.new, "text": line.text}
                        for line in lines
                    ]
                    for path, lines in workbench.file_differences(old, new)
                },
            }
        )


class ProgramVersionViewSet(ProjectRows):
    """Versions with their compiler messages."""

    rows = ProgramVersion.objects.select_related("program__project", "uploaded_by")
    serializer_class = ProgramVersionSerializer
    filterset_fields = ("state", "program__name", "program__project__slug")
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    @action(detail=True, methods=["get"])
    def files(self, request: HttpRequest, pk: str) -> Response:
        """The sources: path to text."""
        return Response(self.get_object().files)


class DeploymentViewSet(ProjectRows):
    """Which version was sent to which machine."""

    rows = Deployment.objects.with_names()
    serializer_class = DeploymentSerializer
    filterset_fields = ("state", "machine")
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at",)

    @extend_schema(
        request=DeployInput, responses={202: OperationSerializer, 201: DeploymentSerializer}
    )
    def create(self, request: HttpRequest) -> Response:
        """Send a version to a machine; an older one rolls back. 201: it waits for approval."""
        data = valid(DeployInput, request)
        machine = _known(
            Machine.objects.with_names().for_user(request.user), "machine", pk=data["machine"]
        )
        version = _known(
            ProgramVersion.objects.for_user(request.user),
            "program_version",
            pk=data["program_version"],
        )
        done = deployments.deploy(request.user, machine, version, data["reason"])
        if isinstance(done, Operation):
            return Response(OperationSerializer(done).data, status=status.HTTP_202_ACCEPTED)
        return Response(DeploymentSerializer(done).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={202: OperationSerializer})
    @action(detail=True, methods=["post"])
    def approve(self, request: HttpRequest, pk: str) -> Response:
        """Agree to somebody else's deployment; it is delivered at once."""
        operation = deployments.approve(request.user, self.get_object())
        return Response(OperationSerializer(operation).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=RefuseInput, responses={200: DeploymentSerializer})
    @action(detail=True, methods=["post"])
    def refuse(self, request: HttpRequest, pk: str) -> Response:
        """Say no to a deployment, and why."""
        data = valid(RefuseInput, request)
        row = deployments.refuse(request.user, self.get_object(), data["reason"])
        return Response(DeploymentSerializer(row).data)

    @extend_schema(request=PolicyInput, responses={200: PolicyInput})
    @action(detail=False, methods=["post"])
    def policy(self, request: HttpRequest) -> Response:
        """Demand approval of deployments in a project, or no longer."""
        data = valid(PolicyInput, request)
        project = _known(Project.objects.for_user(request.user), "project", slug=data["project"])
        made = deployments.set_policy(request.user, project, approval=data["approval"])
        return Response({"project": project.slug, "approval": made.approval})
