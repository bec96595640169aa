"""Requests for environments."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.models import Project
from millwright.api.bases import ProjectRows
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions
from millwright.environments.alike import decide_alike
from millwright.environments.devices import MAX_DEVICES
from millwright.environments.models import Request
from millwright.environments.placement import preview
from millwright.environments.quota import quota_after
from millwright.environments.serializers import RequestSerializer
from millwright.environments.sizes import size_of
from millwright.inventory.models import Cell
from millwright.shopfloor.models import ProgramVersion

from .environments import ReasonInput, _known


class RequestInput(serializers.Serializer):
    name = serializers.CharField(max_length=40)
    project = serializers.SlugField()
    template = serializers.SlugField()
    template_version = serializers.CharField(required=False, allow_blank=True)
    size = serializers.CharField(max_length=32)
    cell = serializers.SlugField(required=False, allow_null=True)
    program_version = serializers.UUIDField(required=False, allow_null=True)
    strict_realtime = serializers.BooleanField(default=False)
    lease_days = serializers.IntegerField(default=30, min_value=1, max_value=3660)
    devices = serializers.ListField(
        child=serializers.SlugField(max_length=64),
        required=False,
        max_length=MAX_DEVICES,
        help_text="Names of the project's devices in the cell that it is for.",
    )
    justification = serializers.CharField(
        required=False, allow_blank=True, max_length=4000, default=""
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Turn names into rows, as far as the user may see them; of a change, those that are given."""
        user = self.context["request"].user
        data = dict(attrs)
        version = data.pop("template_version", "")
        if "project" in data:
            data["project"] = _known(
                Project.objects.for_user(user), "project", slug=data["project"]
            )
        if "template" in data:
            data["template_version"] = _offered(data.pop("template"), version)
        elif version:
            raise serializers.ValidationError({"template": "name the template of this version"})
        for name, rows, key in (
            ("cell", Cell.objects, "slug"),
            ("program_version", ProgramVersion.objects.for_user(user), "pk"),
        ):
            if data.get(name):
                data[name] = _known(rows, name, **{key: data[name]})
            elif name in data or not self.partial:
                data[name] = None
        return data


def _offered(name: str, version: str) -> TemplateVersion:
    versions = TemplateVersion.objects.filter(template__name=name, template__offered=True)
    if version:
        versions = versions.filter(version=version)
    found = versions.select_related("template").first()
    if found is None:
        raise serializers.ValidationError(
            {"template": f"{name!r} {version} is not in the catalogue".replace("  ", " ")}
        )
    return found


class ApproveInput(ReasonInput):
    """What the approver grants in place of what was asked; left out: as asked."""

    size = serializers.CharField(required=False, max_length=32)
    lease_days = serializers.IntegerField(required=False, min_value=1, max_value=3660)
    strict_realtime = serializers.BooleanField(required=False)
    alike = serializers.BooleanField(
        required=False, default=False, help_text="All that were asked for together and wait."
    )


class AlikeInput(RequestInput):
    """As many alike as `copies` says, `name-1`, `name-2`, …: all of them or none."""

    copies = serializers.IntegerField(min_value=1, max_value=actions.MAX_COPIES)
    submit = serializers.BooleanField(default=False, help_text="Ask for approval at once.")


class RejectInput(ReasonInput):
    """`alike`: all that were asked for together and wait."""

    alike = serializers.BooleanField(required=False, default=False)


class RequestViewSet(ProjectRows):
    """What engineers ask for."""

    rows = Request.objects.with_names()
    serializer_class = RequestSerializer
    filterset_fields = ("state", "name", "project__slug")
    cursor_ordering = ("-created_at", "pk")
    ordering_fields = ("created_at", "name")

    @extend_schema(request=RequestInput, responses={201: RequestSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Write a draft; submit it with `submit`."""
        made = actions.create_request(request.user, **self._input(request))
        return self._answer(made, status.HTTP_201_CREATED)

    @extend_schema(request=AlikeInput, responses={201: RequestSerializer(many=True)})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def alike(self, request: HttpRequest) -> Response:
        """Ask for several alike, which are decided as one."""
        data = AlikeInput(data=request.data, context={"request": request})
        data.is_valid(raise_exception=True)
        fields = dict(data.validated_data)
        copies, submit = fields.pop("copies"), fields.pop("submit")
        made = actions.request_copies(request.user, copies, submit=submit, **fields)
        rows = Request.objects.with_names().filter(pk__in=[row.pk for row in made])
        answer = RequestSerializer(rows.order_by("created_at"), many=True).data
        return Response(answer, status=status.HTTP_201_CREATED)

    @extend_schema(request=RequestInput, responses={200: RequestSerializer})
    def partial_update(self, request: HttpRequest, pk: str) -> Response:
        """Change a draft of one's own; what is left out stays."""
        given = self._input(request, partial=True)
        return self._answer(actions.update_request(request.user, self.get_object(), **given))

    def _input(self, request: HttpRequest, *, partial: bool = False) -> dict[str, Any]:
        data = RequestInput(data=request.data, context={"request": request}, partial=partial)
        data.is_valid(raise_exception=True)
        return dict(data.validated_data)

    def _answer(self, row: Request, code: int = status.HTTP_200_OK) -> Response:
        fresh = Request.objects.with_names().get(pk=row.pk)
        return Response(RequestSerializer(fresh).data, status=code)

    @extend_schema(request=RequestInput, responses={200: OpenApiTypes.OBJECT})
    @action(detail=False, methods=["post"])
    def preview(self, request: HttpRequest) -> Response:
        """Where it would be placed now, host by host, and the quota after it."""
        data = self._input(request)
        spec = data["template_version"].spec
        try:
            size = size_of(spec, data["size"])
            plan = preview(
                spec,
                data["size"],
                cell=data["cell"].slug if data["cell"] else "",
                strict=data["strict_realtime"],
            )
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from None
        rows = [
            {
                "resource": row.resource,
                "used": row.used,
                "after": row.after,
                "limit": row.limit,
                "exceeded": row.exceeded,
            }
            for row in quota_after(data["project"], size)
        ]
        return Response({**plan.as_dict(), "quota": rows})

    @extend_schema(request=None, responses={200: RequestSerializer})
    @action(detail=True, methods=["post"])
    def submit(self, request: HttpRequest, pk: str) -> Response:
        """Ask for approval."""
        return self._answer(actions.submit_request(request.user, self.get_object()))

    @extend_schema(request=ApproveInput, responses={200: RequestSerializer})
    @action(detail=True, methods=["post"])
    def approve(self, request: HttpRequest, pk: str) -> Response:
        """Approve, as asked or with changes: the environment is built."""
        data = ApproveInput(data=request.data)
        data.is_valid(raise_exception=True)
        granted = {
            name: value
            for name, value in data.validated_data.items()
            # A form without the box says False for it; only JSON says it on purpose.
            if name in actions.APPROVER_MAY_CHANGE and name in request.data
        }
        reason = data.validated_data["reason"]
        if data.validated_data["alike"]:
            row = self.get_object()
            decide_alike(request.user, row, approve=True, reason=reason, changes=granted)
            return self._answer(row)
        return self._answer(
            actions.approve_request(request.user, self.get_object(), reason, granted)
        )

    @extend_schema(request=RejectInput, responses={200: RequestSerializer})
    @action(detail=True, methods=["post"])
    def reject(self, request: HttpRequest, pk: str) -> Response:
        """Reject, with a reason."""
        data = RejectInput(data=request.data)
        data.is_valid(raise_exception=True)
        row, reason = self.get_object(), data.validated_data["reason"]
        if data.validated_data["alike"]:
            decide_alike(request.user, row, approve=False, reason=reason)
            return self._answer(row)
        return self._answer(actions.reject_request(request.user, row, reason))

    @extend_schema(request=None, responses={200: RequestSerializer})
    @action(detail=True, methods=["post"])
    def withdraw(self, request: HttpRequest, pk: str) -> Response:
        """Take it back."""
        return self._answer(actions.withdraw_request(request.user, self.get_object()))
