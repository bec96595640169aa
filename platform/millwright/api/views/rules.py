"""Placement rules, and what stands against one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import permissions, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from millwright.accounts.permissions import may, sees_everything
from millwright.api.bases import ProjectRows
from millwright.api.saying import KeptReason
from millwright.balancing import reporting, ruling
from millwright.balancing.models import PlacementRule

from .environments import ReasonInput, _reason


class KeepersChange(permissions.BasePermission):
    """Everyone reads the rules about machines of their projects; keepers of the pool write them."""

    def has_permission(self, request: HttpRequest, view: Any) -> bool:
        return request.method in permissions.SAFE_METHODS or may(request.user, "pool")


class BrokenOutput(KeptReason):
    """`why`: why the round does not mend it, or with `mending` the moves by which it does."""


class RuleSerializer(serializers.ModelSerializer):
    """`machines`: as "environment/machine", those of one's projects; `others`: how many it names beside.

    `gone`: hosts that it names and that have left the pool. `broken`: what the last round found of a rule that must
    hold, and why it is not mended; for those who read the whole plant.
    """

    machines = serializers.SerializerMethodField()
    others = serializers.SerializerMethodField()
    hosts = serializers.SlugRelatedField("name", many=True, read_only=True)
    gone = serializers.ListField(child=serializers.CharField(), read_only=True)
    broken = serializers.SerializerMethodField()

    class Meta:
        model = PlacementRule
        fields = (
            "name",
            "kind",
            "machines",
            "others",
            "hosts",
            "gone",
            "broken",
            "hard",
            "weight",
            "minimum",
            "enabled",
            "purpose",
            "changed_at",
        )
        read_only_fields = fields

    def _seen(self, row: PlacementRule) -> list[str]:
        user = self.context["request"].user
        rows = row.machines.all()
        if sees_everything(user):
            return [str(machine) for machine in rows]
        own = self.context.setdefault(
            "own_projects", set(user.memberships.values_list("project_id", flat=True))
        )
        return [str(machine) for machine in rows if machine.environment.project_id in own]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_machines(self, row: PlacementRule) -> list[str]:
        return self._seen(row)

    @extend_schema_field(BrokenOutput(allow_null=True))
    def get_broken(self, row: PlacementRule) -> dict[str, Any] | None:
        if not row.enabled or not sees_everything(self.context["request"].user):
            return None
        if "broken_rules" not in self.context:
            self.context["broken_rules"] = reporting.broken_rules(reporting.last())
        entry = self.context["broken_rules"].get(row.name)
        return entry and BrokenOutput(entry).data

    def get_others(self, row: PlacementRule) -> int:
        return len(row.machines.all()) - len(self._seen(row))


class RuleInput(ReasonInput):
    """A rule as it is to be. `weight`: of a soft one, in CPUs. `minimum`: domains of a spread."""

    name = serializers.CharField(max_length=48)
    kind = serializers.ChoiceField(PlacementRule.KINDS)
    machines = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=ruling.MOST_NAMES
    )
    hosts = serializers.ListField(
        child=serializers.CharField(max_length=48), max_length=ruling.MOST_NAMES, default=list
    )
    hard = serializers.BooleanField(default=True)
    weight = serializers.FloatField(default=1.0)
    minimum = serializers.IntegerField(default=None, allow_null=True)
    enabled = serializers.BooleanField(default=True)
    purpose = serializers.CharField(default="", allow_blank=True, max_length=300)


class RuleCheckInput(RuleInput):
    """`current`: the name of the rule that it would change."""

    current = serializers.CharField(max_length=48, default="", allow_blank=True)


class ConflictOutput(serializers.Serializer):
    """`level`: never (in this pool), now, stays (machines that never move), vain (soft), unknown."""

    level = serializers.CharField()
    rules = serializers.ListField(child=serializers.CharField())
    machines = serializers.ListField(child=serializers.CharField(), source="vms")
    hosts = serializers.ListField(child=serializers.CharField())
    message = serializers.CharField()


class RuleVerdictOutput(serializers.Serializer):
    """`refused`: it would not be taken while it is in force."""

    refused = serializers.BooleanField()
    errors = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    conflicts = ConflictOutput(many=True)


def _draft(data: dict[str, Any]) -> ruling.Draft:
    return ruling.Draft(
        **{name: tuple(data[name]) for name in ("machines", "hosts")},
        **{
            name: data[name]
            for name in ("name", "kind", "hard", "weight", "minimum", "enabled", "purpose")
        },
    )


class RuleViewSet(ProjectRows):
    """What keeps machines together or apart, over failure domains, near, on or off hosts."""

    rows = PlacementRule.objects.with_names()
    serializer_class = RuleSerializer
    permission_classes = (permissions.IsAuthenticated, KeepersChange)
    filterset_fields = ("kind", "hard", "enabled", "hosts__name", "machines__environment__name")
    lookup_field = "name"
    cursor_ordering = ("name", "pk")
    ordering_fields = ("name", "changed_at")

    def _told(self, row: PlacementRule) -> Any:
        made = PlacementRule.objects.with_names().get(pk=row.pk)
        return self.get_serializer(made).data

    @extend_schema(request=RuleInput, responses={201: RuleSerializer})
    def create(self, request: HttpRequest) -> Response:
        """Write a rule; the next round keeps it."""
        data = RuleInput(data=request.data)
        data.is_valid(raise_exception=True)
        row = ruling.save_rule(
            request.user, _draft(data.validated_data), reason=data.validated_data["reason"]
        )
        return Response(self._told(row), status=status.HTTP_201_CREATED)

    @extend_schema(request=RuleInput, responses={200: RuleSerializer})
    def update(self, request: HttpRequest, name: str) -> Response:
        """Change a rule: all of it, as it is to be."""
        row = self.get_object()
        data = RuleInput(data=request.data)
        data.is_valid(raise_exception=True)
        made = ruling.save_rule(
            request.user, _draft(data.validated_data), row, data.validated_data["reason"]
        )
        return Response(self._told(made))

    @extend_schema(responses={204: None})
    def destroy(self, request: HttpRequest, name: str) -> Response:
        """Remove a rule; the audit trail keeps what it said."""
        ruling.remove_rule(request.user, self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=ReasonInput, responses={200: RuleSerializer})
    @action(detail=True, methods=["post"])
    def enable(self, request: HttpRequest, name: str) -> Response:
        """Put it in force."""
        row = ruling.set_enabled(request.user, self.get_object(), True, _reason(request))
        return Response(self._told(row))

    @extend_schema(request=ReasonInput, responses={200: RuleSerializer})
    @action(detail=True, methods=["post"])
    def disable(self, request: HttpRequest, name: str) -> Response:
        """Put it out of force; it is kept."""
        row = ruling.set_enabled(request.user, self.get_object(), False, _reason(request))
        return Response(self._told(row))

    @extend_schema(request=RuleCheckInput, responses={200: RuleVerdictOutput})
    @action(detail=False, methods=["post"], pagination_class=None, filter_backends=[])
    def check(self, request: HttpRequest) -> Response:
        """What stands against a rule as it is written here. Changes nothing."""
        data = RuleCheckInput(data=request.data)
        data.is_valid(raise_exception=True)
        current = data.validated_data["current"]
        row = PlacementRule.objects.filter(name=current).first() if current else None
        return Response(RuleVerdictOutput(ruling.check(_draft(data.validated_data), row)).data)
